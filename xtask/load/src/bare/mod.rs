//! The ledger's tables without the ledger: as many rows of the same columns in plain SQL, which no writer over this
//! Postgres can be faster than.
//!
//! - `prepare`: a database of its own in the server's Postgres, and the accounts in it
//! - `insert`: batches of events, each one statement
//! - `columns`: what is in them

mod columns;
mod insert;
mod prepare;

pub(crate) use insert::{Args as InsertArgs, run as insert};
pub(crate) use prepare::{CreateArgs, FillArgs, create, fill};
