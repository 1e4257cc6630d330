//! The link to the server: one QUIC connection, made again whenever it breaks.
//!
//! - `tls`: whom to trust
//! - `endpoint`: socket, settings, one attempt to connect
//! - `stream`: messages on streams
//! - `session`: what happens over one connection
//! - `requests`: usage batches and fetches, each on a stream of its own
//! - `run`: attempt after attempt, with backoff

mod backoff;
mod endpoint;
mod error;
mod requests;
mod run;
mod session;
mod stream;
pub(crate) mod tls;

pub(crate) use endpoint::Dialer;
pub(crate) use error::LinkError;
pub(crate) use run::{Identity, Link};
pub use tls::TrustError;
