//! A whole QuotaStack on this machine, started and stopped by us: the server with its private Postgres, a sidecar
//! beside it, and a catalogue to work with. The demo, the benchmarks and the tests of the examples run on it.
//!
//! - `binaries`: which programs, built how
//! - `service`: one process with a ready line
//! - `running`: server and sidecar together; `lone`: a server without a sidecar, or several
//! - `api`: REST calls
//! - `catalogue`: the feature, the plan and the subscription that the examples use

mod api;
mod binaries;
mod catalogue;
mod lone;
mod running;
mod service;

pub(crate) use api::Api;
pub(crate) use binaries::Binaries;
pub(crate) use catalogue::{END_USER, FEATURE, GRANTED, create, subscribe};
pub(crate) use lone::Lone;
pub(crate) use running::{ServerReady, Stack};
pub(crate) use service::Service;
