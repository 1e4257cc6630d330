//! The QuotaStack server: the ledger of every end user over Postgres, its REST API, and the feed to sidecars.
//!
//! Layers, each calling only what is below it: [`http`] and [`sync`] translate, [`app`] owns transactions and the
//! clock, [`store`] is the only place with SQL. [`postgres`] runs a private database where none is given.

pub mod app;
pub mod http;
pub mod postgres;
pub mod store;
