//! `cargo xtask demo`: the whole loop on this machine. A server with its own Postgres, a sidecar beside it, the quick
//! start as a Rust app and as a JavaScript app, and a plain REST call; then what they cost, and how fast a check is.
//!
//! - `show`: the demo itself, on a running stack
//! - `apps`: the two quick starts as processes
//! - `run`: what surrounds it: building, starting, Ctrl-C, stopping

mod apps;
mod run;
mod show;

pub(crate) use run::{Args, run, run_once};
