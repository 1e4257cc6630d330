//! The QuotaStack sidecar: answers entitlement checks from a local replica in microseconds and records usage
//! durably, beside the app that asks. Source: docs/sync.md.
//!
//! Runs as the binary `quotastack-sidecar`, or inside a Rust process: [`Sidecar::start`], [`Sidecar::check`],
//! [`Sidecar::record_usage`], [`Sidecar::shutdown`]; [`LocalApi`] is the HTTP server on top.
//!
//! - [`check`], [`usage`]: what callers ask
//! - `engine`: the pure state machine of `quotastack-core` with its memory, files and clock
//! - [`outbox`], [`replica`]: the two files and their writers
//! - `damage`: files that cannot be read
//! - `fetch`: asking for an account that is not held
//! - `link`: the QUIC connection to the server
//! - `status`: how it is
//! - `http`: the local API; `upstream`: the server's HTTP address

pub mod check;
mod clock;
mod config;
mod damage;
mod data_dir;
mod engine;
mod fetch;
mod http;
mod lease;
mod limits;
mod link;
pub mod metrics;
pub mod outbox;
mod random;
pub mod replica;
mod sidecar;
mod signal;
mod status;
mod upstream;
pub mod usage;

pub use check::{CheckAnswer, CheckError};
pub use config::{Config, Durability, Listen, Replicate};
pub use data_dir::{DataDir, DataDirError};
pub use http::{ListenError, LocalApi};
pub use limits::Limits;
pub use link::TrustError;
pub use quotastack_core::api::check::CheckQuery;
pub use quotastack_core::api::usage::UsageRequest;
pub use sidecar::{Sidecar, StartError};
pub use status::{OutboxState, RefusedEvent, ReplicaStatus, Status};
pub use upstream::UpstreamError;
pub use usage::{Receipt, UsageError};
