//! The QuotaStack server: the ledger of every end user over Postgres, its REST API, and the feed to sidecars.
//!
//! Layers, each calling only what is below it: [`http`] and [`sync`] translate, [`workers`] do what nobody asks for,
//! [`app`] owns transactions and the clock, [`store`] is the only place with SQL. [`postgres`] runs a private database
//! where none is given; [`serve`] puts it all together; [`cli`] is what an operator types; [`fault`] is where tests make
//! a debug build die.

pub mod app;
pub mod cli;
pub mod fault;
pub mod http;
pub mod postgres;
pub mod serve;
pub mod store;
pub mod sync;
pub mod workers;
