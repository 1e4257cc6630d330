//! The link to sidecars, over QUIC. Source: docs/sync.md, "The link".
//!
//! - [`listener`]: the endpoint: who may connect, and how many
//! - [`tls`]: what the server shows a sidecar
//! - [`session`]: one sidecar: hello, the control stream, the key looked at again
//! - [`deltas`]: what flows to its replica; [`requests`]: what it asks and reports
//! - [`stream`]: messages on QUIC streams

pub mod deltas;
pub mod listener;
pub mod requests;
pub mod session;
mod shared;
pub mod stream;
pub mod tls;
