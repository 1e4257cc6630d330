//! `cargo xtask test`: everything that CI checks, in one order, from nothing but Rust and Node.
//!
//! - `steps`: the steps, cheap ones first
//! - `runner`: runs them with a headline and a time each, and stops at the first failure
//! - `live`: steps that need a running server and sidecar

mod live;
mod runner;
mod steps;

pub(crate) use runner::{Args, run};
