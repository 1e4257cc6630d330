//! `cargo xtask bench`: numbers that can be compared with each other. Everything is built for release, every subject
//! has the same client in the same run, rounds alternate between subjects, and medians are shown.
//!
//! - `rounds`: what is measured, in which order
//! - `ledger`: the rows of recorded usage; `bare`: the tables without the ledger, their ceiling
//! - `report`: medians and tables
//! - `summaries`, `due`: what takes long and runs only where it is asked for
//! - `which`: the command line
//! - `kept`: the JSON file under `target/bench`; `machine`: on what it was measured

mod bare;
mod due;
mod kept;
mod ledger;
mod machine;
mod report;
mod rounds;
mod summaries;
mod which;

pub(crate) use which::{Args, run};
