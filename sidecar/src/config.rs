//! What a sidecar is told when it starts. The binary fills it from flags and environment, an embedding process from
//! code.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::SecretString;

use crate::limits::Limits;

/// Which accounts the replica holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replicate {
    /// The whole environment.
    All,
    /// Those that somebody asked about.
    OnDemand,
}

/// When usage is acknowledged. Usage of strict features always waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When it is on disk: nothing acknowledged is ever lost.
    #[default]
    Disk,
    /// At once: a crash of the process or the machine loses what was acknowledged since the last commit, as a rule some
    /// milliseconds of it.
    Memory,
}

/// How a sidecar reaches its server, and where it keeps what it must not lose.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server's HTTP address, for calls that are passed through: `http://127.0.0.1:8080`.
    pub upstream_http: String,
    /// The server's QUIC address, `host:port`.
    pub upstream_quic: String,
    /// PEM file of the authority that signed the server's certificate; `None` = the system's roots.
    pub ca_file: Option<PathBuf>,
    /// An API key with the scope `sidecar`.
    pub key: SecretString,
    /// Directory of outbox and replica; one process at a time.
    pub data_dir: PathBuf,
    /// Which accounts the replica holds.
    pub replicate: Replicate,
    /// When usage is acknowledged.
    pub durability: Durability,
    /// Limits.
    pub limits: Limits,
}

/// Where the local API listens.
#[derive(Debug, Clone, Default)]
pub struct Listen {
    /// TCP address; loopback, or any other with a token. Port 0 = any free one.
    pub tcp: Option<SocketAddr>,
    /// Path of a Unix socket, created with mode 0660.
    pub uds: Option<PathBuf>,
    /// What callers from other addresses must send as `Quotastack-Sidecar-Token`.
    pub token: Option<SecretString>,
}
