//! A whole QuotaStack on this machine, started and stopped by us: the server with its private Postgres, a sidecar
//! beside it, and a catalogue to work with. The demo, the benchmarks and the tests of the examples run on it.
//!
//! - `binaries`: which programs, built how
//! - `service`: one process with a ready line
//! - `running`: server and sidecar together
//! - `api`: REST calls
//! - `catalogue`: the feature, the plan and the subscription that the examples use

mod api;
mod binaries;
mod catalogue;
mod running;
mod service;

pub(crate) use api::Api;
pub(crate) use binaries::Binaries;
pub(crate) use catalogue::{END_USER, FEATURE, GRANTED, create, subscribe};
pub(crate) use running::Stack;
pub(crate) use service::Service;
