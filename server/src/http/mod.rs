//! The REST API. Translates between HTTP and [`crate::app`]; a noun has one file.
//!
//! - [`listen`]: connections; [`router`]: every path, and what wraps them; [`state`]: what handlers share
//! - [`caller`]: who asks; [`body`]: what they sent; [`query`]: what they asked for; [`error`]: what they are told
//! - the nouns: [`entitlements`], [`usage`], [`reservations`], [`credits`], [`corrections`], [`topups`], [`ledger`],
//!   [`proof`], [`features`], [`prices`], [`packages`], [`plans`], [`variants`] (sent as [`variant_body`] says), [`migration`],
//!   [`subscriptions`], [`subscription_orders`], [`overrides`], [`sidecars`], [`sandbox`]; what several of them answer is in `account`
//! - [`service`]: health, readiness, metrics, the contract

mod account;
pub mod body;
pub mod caller;
pub mod corrections;
pub mod credits;
pub mod entitlements;
pub mod error;
pub mod features;
pub mod ledger;
pub mod listen;
pub mod migration;
pub mod overrides;
pub mod packages;
pub mod plans;
pub mod prices;
pub mod proof;
pub mod query;
pub mod reservations;
pub mod router;
pub mod sandbox;
pub mod service;
pub mod sidecars;
pub mod state;
pub mod subscription_orders;
pub mod subscriptions;
pub mod topups;
pub mod usage;
pub mod usage_list;
pub mod usage_summary;
pub mod variant_body;
pub mod variants;
