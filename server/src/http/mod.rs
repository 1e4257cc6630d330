//! The REST API. Translates between HTTP and [`crate::app`]; a noun has one file.
//!
//! - [`listen`]: connections; [`router`]: every path, and what wraps them; [`state`]: what handlers share
//! - [`caller`]: who asks; [`body`]: what they sent; [`query`]: what they asked for; [`error`]: what they are told
//! - the nouns: [`entitlements`], [`usage`], [`credits`], [`features`], [`plans`], [`subscriptions`], [`sandbox`]
//! - [`service`]: health, readiness, metrics, the contract

pub mod body;
pub mod caller;
pub mod credits;
pub mod entitlements;
pub mod error;
pub mod features;
pub mod listen;
pub mod plans;
pub mod query;
pub mod router;
pub mod sandbox;
pub mod service;
pub mod state;
pub mod subscriptions;
pub mod usage;
