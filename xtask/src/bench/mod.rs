//! `cargo xtask bench`: numbers that can be compared with each other. Everything is built for release, every subject
//! has the same client in the same run, rounds alternate between subjects, and medians are shown.
//!
//! - `rounds`: what is measured, in which order
//! - `report`: medians, the table, the JSON file under `target/bench`
//! - `machine`: on what it was measured

mod machine;
mod report;
mod rounds;

pub(crate) use rounds::{Args, run};
