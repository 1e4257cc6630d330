//! What the server does, without HTTP and without SQL: it owns transactions, the clock and the lane writers.
//!
//! - [`App`]: the whole, handed to [`crate::http`] and [`crate::sync`]
//! - [`auth`], [`secret`]: keys, scopes, principals
//! - [`environment`]: what is kept in memory of an environment: lanes, rings, the cached catalogue; [`environments`]:
//!   all of them, each with its writers
//! - [`writer`], [`needs`], [`decide`]: group commit: many commands of a lane in one transaction, what they need to
//!   know, and the pure part of it
//! - [`residents`]: accounts that need not be read again; [`retry`]: how often, for how long and with what
//!   knowledge a transaction is run again
//! - [`feed`]: the rings that sessions read; [`follow`]: what keeps them up with the database
//! - [`fleet`]: the sidecars and how they are
//! - [`idempotency`]: what makes a repeated request the same one
//! - [`catalogue`]: changes of features, plans, variants and the sandbox clock; [`variants`]: versions of variants;
//!   [`migration`]: moving subscribers to the newest one; [`sandbox`]: that clock
//! - [`due`]: writing down what time has done to accounts that nobody touches
//! - [`retention`]: forgetting requests that are older than 30 days
//! - [`ledger`]: reading accounts, entries, blocks, subscriptions, and checks; [`entitlements`]: all that an end user
//!   may do, and why
//! - [`preview`]: what commands would come to
//! - [`past`]: accounts as of earlier; [`proof`]: segments of their chains
//! - [`named`]: what is found by an id of its own: usage, reservations, top-ups, blocks
//! - [`usage_list`]: lists of usage; [`usage_summary`], [`usage_range`]: sums of it; [`usage_rollups`]: what keeps them
//! - [`verify`]: the whole ledger held against its entries
//! - [`operator`]: tenants and keys for the operator's commands
//! - [`clock`], [`error`]

pub mod auth;
pub mod catalogue;
pub mod clock;
pub mod decide;
pub mod due;
pub mod entitlements;
pub mod environment;
pub mod environments;
pub mod error;
pub mod feed;
pub mod fleet;
pub mod follow;
pub mod idempotency;
pub mod ledger;
pub mod migration;
pub mod named;
pub mod needs;
pub mod operator;
pub mod past;
pub mod preview;
pub mod proof;
pub mod residents;
pub mod retention;
pub mod retry;
mod root;
pub mod sandbox;
pub mod secret;
pub mod usage_list;
pub mod usage_range;
pub mod usage_rollups;
pub mod usage_summary;
pub mod variants;
pub mod verify;
pub mod writer;

pub use root::{App, AppConfig, Carried, Readiness, submission};
