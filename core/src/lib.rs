//! The pure rules of QuotaStack, the same in server, sidecar and WebAssembly.
//!
//! No I/O, no async, no clock, no randomness, no floats: time, ids and seeds are arguments. Start with
//! [`ledger`] (what the numbers mean), [`entitlement`] (may this user do this?) and [`state`] (what is published).

pub mod api;
pub mod catalogue;
pub mod credits;
pub mod entitlement;
pub mod ids;
pub mod ledger;
pub mod limits;
pub mod pricing;
pub mod problem;
pub mod state;
pub mod subscription;
pub mod sync;
pub mod time;
pub mod wire;
