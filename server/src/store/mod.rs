//! The only place with SQL. Every statement runs inside a [`tx::Tx`] that has named its environment, so row
//! security applies to all of it.
//!
//! - [`tx`]: transactions and which errors are worth another run
//! - [`migrate`]: the schema
//! - [`operator`]: tenants, environments, keys: what the operator's commands do
//! - [`keys`]: whose key a request carries
//! - [`catalogue`], [`features`], [`packages`], [`plans`]: the catalogue and its parts
//! - [`lanes`], [`accounts`], [`usage`], [`voids`], [`reservations`], [`topups`], [`requests`]: what the lane writer
//!   loads
//! - [`batch`]: what it writes, as one [`statement`]
//! - [`due`]: when time alone will next change an account; leases of workers
//! - [`subscribers`]: who has an earlier version of a variant
//! - [`sidecars`]: which ones were linked, and how they were
//! - [`retention`]: how old requests go
//! - [`entries`], [`feed`], [`usage_sums`], [`verify`]: what readers read; [`verify_records`], [`verify_sums`]:
//!   what a verifier asks beside accounts
//! - [`usage_rollups`]: what adds usage up for them
//! - [`checkpoints`]: what those who look back leave for the next ones
//! - [`types`]: how values cross

pub mod accounts;
pub mod batch;
pub mod catalogue;
pub mod checkpoints;
pub mod due;
pub mod entries;
pub mod features;
pub mod feed;
pub mod keys;
pub mod lanes;
pub mod migrate;
pub mod operator;
pub mod packages;
pub mod plans;
pub mod requests;
pub mod reservations;
pub mod retention;
pub mod sidecars;
mod statement;
pub mod subscribers;
pub mod topups;
pub mod tx;
pub mod types;
pub mod usage;
pub mod usage_rollups;
pub mod usage_sums;
pub mod verify;
pub mod verify_records;
pub mod verify_sums;
pub mod voids;
