//! Why a link ended, or was not made.

use std::io;

use quotastack_core::sync::machine::SyncError;
use quotastack_core::wire::WireError;

/// Why a link ended, or was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the server's address cannot be found: {0}")]
    Resolve(io::Error),
    #[error("the server's name has no address")]
    NoAddress,
    #[error("no UDP socket: {0}")]
    Socket(io::Error),
    #[error("the connection cannot be set up: {0}")]
    Setup(String),
    #[error("no answer")]
    ConnectTimeout,
    #[error("{0}")]
    Connection(#[from] quinn::ConnectionError),
    #[error("a stream broke: {0}")]
    Read(#[from] quinn::ReadError),
    #[error("a stream broke: {0}")]
    Write(#[from] quinn::WriteError),
    #[error("a stream ended in the middle of a message")]
    Truncated,
    #[error("the server ended the {0}")]
    Ended(&'static str),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error("the server refused the sidecar ({code}): {reason}")]
    Refused { code: String, reason: String },
    #[error("the server does not answer heartbeats")]
    Silent,
}
