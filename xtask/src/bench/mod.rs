//! `cargo xtask bench`: numbers that can be compared with each other. Everything is built for release, every subject
//! has the same client in the same run, rounds alternate between subjects, and medians are shown.
//!
//! - `rounds`: what is measured, in which order
//! - `ledger`: the rows of recorded usage; `bare`: the tables without the ledger, their ceiling
//! - `report`: medians, the table, the JSON file under `target/bench`
//! - `machine`: on what it was measured

mod bare;
mod ledger;
mod machine;
mod report;
mod rounds;

pub(crate) use rounds::{Args, run};
