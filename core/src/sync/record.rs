//! What a sidecar keeps of each usage event that it acknowledged, and what it writes to its disk.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::ids::EndUserId;
use crate::ledger::command::Usage;
use crate::ledger::wallet::Totals;
use crate::state::AccountState;
use crate::time::Timestamp;
use crate::wire::{Mode, WireError};

/// The first byte of stored records, states and metadata. A file with another one is of another release.
pub const STORED_FORMAT: u8 = 3;

/// What the client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageAnswer {
    /// The event's price.
    pub cost: Credits,
    /// What was taken or is owed.
    pub charged: Credits,
    /// The account's totals with it.
    pub totals: Totals,
}

/// An acknowledged event, as it was admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// Whose.
    pub end_user_id: EndUserId,
    /// The event, with id, key and `admitted_at`.
    pub usage: Usage,
    /// What the client was told.
    pub answer: UsageAnswer,
}

/// How far an event has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// On its way to the ledger.
    Waiting,
    /// In the ledger, and in every state of the account from `stamp` on.
    Answered {
        /// When the answer came (real time).
        at: Timestamp,
        /// The history that the answer belongs to: another one may not know the event.
        epoch: [u8; 16],
        /// Stamp of the state that came with the answer.
        stamp: u64,
    },
    /// The ledger will never take it: kept for an operator.
    Refused {
        /// When the answer came (real time).
        at: Timestamp,
        /// Stable error code.
        code: String,
        /// For people.
        detail: String,
    },
}

impl Status {
    /// From which stamp on states hold the event, if it was answered.
    pub(crate) const fn answered_stamp(&self) -> Option<u64> {
        match self {
            Self::Answered { stamp, .. } => Some(*stamp),
            Self::Waiting | Self::Refused { .. } => None,
        }
    }
}

/// One row of the outbox, under its `seq`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The order of admission.
    pub seq: u64,
    /// The event.
    pub admission: Arc<Admission>,
    /// How far it has come.
    pub status: Status,
}

/// One change of the outbox file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboxWrite {
    /// Store the record under its `seq`, over what may be there.
    Put(Record),
    /// Delete the record with this `seq`.
    Remove(u64),
    /// Store the name of the environment that the outbox belongs to.
    Environment(String),
}

/// What is stored of a replica beside its states, in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The history that stamps belong to.
    pub epoch: [u8; 16],
    /// How far all states are stored, by lane.
    pub lanes: Vec<u64>,
    /// When that was everything; `None` until all was heard once.
    pub as_of: Option<Timestamp>,
    /// Which accounts were listened for: who is missing from a replica on demand may exist all the same.
    pub mode: Mode,
}

macro_rules! stored {
    ($($name:ty),*) => {$(
        impl $name {
            /// The bytes to store.
            pub fn encode(&self) -> Vec<u8> {
                postcard::to_extend(self, vec![STORED_FORMAT]).expect("what is stored has no form that postcard refuses")
            }

            /// From stored bytes. Fails if they are of another release or damaged.
            pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
                let (format, body) = bytes.split_first().ok_or(WireError::Malformed)?;
                if *format != STORED_FORMAT {
                    return Err(WireError::Version(*format));
                }
                match postcard::take_from_bytes(body) {
                    Ok((value, [])) => Ok(value),
                    _ => Err(WireError::Malformed),
                }
            }
        }
    )*};
}

stored!(Record, Meta, AccountState);
