//! The link to sidecars, over QUIC. Source: docs/sync.md, "The link".
//!
//! - [`listener`]: the endpoint
//! - [`tls`]: what the server shows a sidecar

pub mod listener;
pub mod tls;
