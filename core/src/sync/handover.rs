//! What passes between the [`machine`](super::machine) of a sidecar and the glue around it.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::credits::Credits;
use crate::ids::EndUserId;
use crate::ledger::refusal::Refusal;
use crate::state::AccountState;
use crate::sync::record::{Admission, Meta, Record};
use crate::wire::{Mode, WireError};

/// The limits and the mode of a sidecar.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Which accounts it holds.
    pub mode: Mode,
    /// Bytes of events that wait; beyond, nothing is admitted. As many again of refused ones are kept; beyond, the
    /// oldest of those go ([`super::machine::Machine::take_dropped`]).
    pub outbox_bytes_max: usize,
    /// Answered events that are kept for repeats (at most an hour); beyond, the oldest go first.
    pub answered_kept_max: usize,
}

/// What the disk held at the start.
#[derive(Debug, Default)]
pub struct Stored {
    /// The environment that the outbox belongs to.
    pub environment: Option<String>,
    /// All records of the outbox, in order of `seq`.
    pub records: Vec<Record>,
    /// Of the replica.
    pub meta: Option<Meta>,
    /// Of the replica ([`super::catalogue::decode`]).
    pub catalogue: Option<Arc<Catalogue>>,
}

/// The link must be closed and opened again; nothing is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// The server's environment is not the one that this outbox was filled for.
    #[error(
        "this data directory belongs to {expected}, the key is for {found}; use a key of that environment or another data directory"
    )]
    WrongEnvironment {
        /// Of the outbox.
        expected: String,
        /// Of the key.
        found: String,
    },
    /// Too many states came that need a catalogue which did not come.
    #[error("too many states wait for a newer catalogue")]
    CatalogueMissing,
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(&'static str),
    /// A catalogue could not be read.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Why usage was not admitted. Nothing was recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// By the ledger's rules.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The outbox is full.
    #[error("the outbox is full: the server has not been reached for long; nothing was recorded")]
    OutboxFull,
    /// No state of the end user is held: fetch it first.
    #[error("the end user's state is not known here")]
    NoState,
    /// No lease has this much: ask the server for one.
    #[error("no lease has {} credits", need.get())]
    NoLease {
        /// What the event costs.
        need: Credits,
    },
    /// Only the server can charge it: usage of a strict feature without a lease, or a price that others move too.
    #[error("only the server can charge usage of the feature like this")]
    ServerOnly,
    /// Only the server can answer for this account.
    #[error("the account is too large to be replicated")]
    Partial,
}

/// Admitted usage.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Its answer, or the first one for a repeat.
    pub admission: Arc<Admission>,
    /// Acknowledge it when this ticket is committed.
    pub ticket: u64,
    /// Whether it was admitted before under this key.
    pub replayed: bool,
    /// What checks must see from now on; `None` for a repeat.
    pub state: Option<Arc<AccountState>>,
    /// Whether little is left of the leases that paid it: ask for another one.
    pub is_low: bool,
}

/// What checks must see from now on; put into the glue's map before the mutex is released.
#[derive(Debug, Clone)]
pub enum Shown {
    /// The state of an account, with pending usage taken from it.
    State(Arc<AccountState>),
    /// The catalogue.
    Catalogue(Arc<Catalogue>),
    /// Nothing is known any more: forget all states and the catalogue.
    Reset,
}

/// One transaction of the replica file: all of it or nothing, in order of `generation`.
#[derive(Debug)]
pub struct ReplicaWrites {
    /// Hand it back to [`super::machine::Machine::replica_committed`].
    pub generation: u64,
    /// Delete everything first.
    pub reset: bool,
    /// States to store, and ids to remove (`None`).
    pub accounts: Vec<(EndUserId, Option<Arc<AccountState>>)>,
    /// The catalogue, if it changed.
    pub catalogue: Option<Arc<Catalogue>>,
    /// The cursor that the states lead to.
    pub meta: Meta,
}

/// Numbers for status and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxStatus {
    /// Events that wait for an answer.
    pub waiting: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Events that the ledger refused for good and that are kept.
    pub refused: usize,
    /// Their bytes.
    pub refused_bytes: usize,
}
