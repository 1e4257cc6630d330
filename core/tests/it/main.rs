//! Tests of the pure rules, in one binary.
//!
//! - `cases`: the shared cases of docs/cases, which `case_file` reads and `case_commands` puts into commands
//! - `time_table`, `subscribe_table`, `correction_table`, `decision_table`: bank statements and answers, one line per step
//! - `publish_table`: what replicas are told of an account
//! - `docs`: tables of the documents that repeat the code's
//! - `golden`: bytes that may never change
//! - `edges`: the ends of every range
//! - `explained`: why an answer is what it is
//! - `leases`: credit that sidecars may spend without asking
//! - `refold`: what a verifier finds in tampered histories
//! - `second_opinion`: random histories against `reference`, a model written from the page alone; `translated` puts its
//!   words into the ledger's
//! - `parity`: server, ledger, sidecar and WebAssembly decide alike
//! - `plans`: subscriptions over time
//! - `properties`: random histories against the naive ledger of `model`

#![expect(clippy::unwrap_used, reason = "clippy takes the helpers of a test binary for code that is no test")]

mod case_commands;
mod case_file;
mod cases;
mod correction_table;
mod decision_table;
mod docs;
mod edges;
mod explained;
mod golden;
mod leases;
mod model;
mod parity;
mod plans;
mod properties;
mod publish_table;
mod reference;
mod refold;
mod second_opinion;
mod subscribe_table;
mod support;
mod time_table;
mod translated;
