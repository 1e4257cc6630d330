//! Every limit of the sidecar with its default, in one place.
//!
//! What an operator may want to turn is a field of [`Limits`]; what follows from the contract or from another limit
//! is a constant beside the code that needs it.

use std::time::Duration;

/// Limits that an operator can set.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of events that wait in the outbox; beyond it usage is answered 503 `outbox_full`.
    pub outbox_bytes_max: u64,
    /// Accounts that an `on_demand` replica follows; the least recently used ones go.
    pub accounts_max: usize,
    /// Accounts kept decoded in memory.
    pub memory_accounts_max: usize,
    /// Age of the replica beyond which `allow_until_stale` features are denied.
    pub staleness_max: Duration,
    /// How long a check of an unknown end user waits for the server.
    pub fetch_timeout: Duration,
    /// Fetches under way at one time.
    pub fetches_max: usize,
    /// Connections to the local API.
    pub connections_max: usize,
    /// How long a stop may take: requests under way, then the last commits.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            outbox_bytes_max: 256 << 20,
            accounts_max: 100_000,
            memory_accounts_max: 100_000,
            staleness_max: Duration::from_secs(300),
            fetch_timeout: Duration::from_secs(2),
            fetches_max: 256,
            connections_max: 10_000,
            drain_timeout: Duration::from_secs(10),
        }
    }
}
