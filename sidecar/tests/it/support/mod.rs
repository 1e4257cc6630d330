//! What the tests share.
//!
//! - `seed`: a data directory as a sidecar leaves it that had a link once
//! - `process`: the sidecar's binary as a child process
//! - `server`: a real server with its Postgres
//! - `relay`: a network between the two that can be cut
//! - `http`: calls to the local API

mod http;
mod process;
mod relay;
mod seed;
mod server;

pub(crate) use http::Client;
pub(crate) use process::{Options, Process, ca_file, eventually};
pub(crate) use relay::Relay;
pub(crate) use seed::{Seed, end_user, feature_key, units};
pub(crate) use server::Server;
