//! Messages, by stream. Enums are only ever appended to.
//!
//! - control stream (bidirectional, opened by the sidecar): [`SidecarControl`] and [`ServerControl`]
//! - deltas (one unidirectional stream from the server): [`Delta`]
//! - one bidirectional stream per request: [`Request`], answered with [`Response`]s
//!
//! Order on the control stream: `Hello`, `Welcome` or `Refused`, then (mode on demand) `Follow` until `complete`;
//! only then do deltas flow. Times are real server time; an environment's own clock is in its catalogue.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::ids::{EndUserId, FeatureKey, LaneCount, ReservationId, SidecarId};
use crate::ledger::command::Usage;
use crate::state::AccountState;
use crate::time::Timestamp;
use crate::wire::Blob;

/// A text that no log may show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Which accounts a sidecar holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// The whole environment.
    All,
    /// Those that were asked for.
    OnDemand,
}

/// How far a replica has come in each lane of one history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The history that it belongs to.
    pub epoch: [u8; 16],
    /// The last `feed_seq` seen, by lane.
    pub lanes: Vec<u64>,
}

/// The first message: who the sidecar is and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// An API key with the scope `sidecar`; its environment is the session's.
    pub key: Secret,
    /// Minted once per data directory.
    pub sidecar_id: SidecarId,
    /// Random at each start.
    pub run_id: [u8; 16],
    /// Of the sidecar, for people.
    pub software: String,
    /// Which accounts it holds.
    pub mode: Mode,
    /// Where to go on; `None` for an empty replica.
    pub cursor: Option<Cursor>,
    /// The catalogue it has; 0 = none.
    pub catalogue_version: u64,
}

/// What a sidecar says on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SidecarControl {
    /// The first message.
    Hello(Hello),
    /// Mode on demand: accounts that it holds, as [`super::follow_hash`] values. Accounts that it fetches or
    /// charges later are followed without being named here.
    Follow {
        /// At most [`crate::limits::FOLLOW_HASHES_MAX`] in one message.
        hashes: Vec<u64>,
        /// The last part: deltas may begin.
        complete: bool,
    },
    /// Answered with the same `sent_at`.
    Heartbeat {
        /// The sidecar's clock, never read by the server.
        sent_at: Timestamp,
        /// How the sidecar is, for people.
        report: Report,
    },
}

/// How a sidecar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// How old its replica may be, in milliseconds.
    pub staleness_ms: u64,
    /// Accounts in its memory.
    pub accounts: u64,
    /// Usage events that wait for the server.
    pub outbox_events: u64,
    /// Their bytes.
    pub outbox_bytes: u64,
    /// How long the oldest of them has waited, in milliseconds.
    pub outbox_oldest_ms: u64,
    /// Usage events that the ledger refused for good.
    pub refused_events: u64,
}

/// The server takes the sidecar in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The history that the server's stamps belong to.
    pub epoch: [u8; 16],
    /// Tenant and environment of the key, for comparing and for people.
    pub environment: String,
    /// How many lanes the environment has.
    pub lanes: LaneCount,
    /// Real server time.
    pub server_now: Timestamp,
    /// How many usage batches may be unanswered at a time; at most one per lane.
    pub in_flight_max: u16,
    /// Whether the cursor of the hello was good. If not, the replica must be dropped.
    pub resume: bool,
}

/// What the server says on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerControl {
    /// The sidecar is taken in.
    Welcome(Welcome),
    /// It is not, or no longer.
    Refused {
        /// A stable error code ([`crate::problem::Code`]).
        code: String,
        /// For people.
        reason: String,
    },
    /// The answer to a heartbeat.
    Heartbeat {
        /// As the sidecar sent it.
        sent_at: Timestamp,
        /// Real server time.
        server_now: Timestamp,
    },
}

/// What flows to the replica, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delta {
    /// Whole new states of accounts.
    States(Vec<AccountState>),
    /// All states up to here were sent.
    Progress {
        /// `feed_seq` by lane.
        lanes: Vec<u64>,
        /// The last instant at which the server knew this to be everything; `None` until all was sent once.
        as_of: Option<Timestamp>,
    },
    /// A part of an encoded catalogue ([`crate::sync::catalogue`]).
    Catalogue {
        /// The catalogue's version.
        version: u64,
        /// Which part, from 0.
        index: u32,
        /// How many parts there are.
        count: u32,
        /// The part.
        bytes: Blob,
    },
}

/// One usage event that the sidecar has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageEvent {
    /// Whose.
    pub end_user_id: EndUserId,
    /// The event, with id, key and `admitted_at`.
    pub usage: Usage,
}

/// What is asked on a stream of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Record events of one lane, in order, in one transaction; the server follows their accounts from now on.
    Usage {
        /// The lane.
        lane: u16,
        /// The events.
        events: Vec<UsageEvent>,
    },
    /// Read one account and follow it from now on.
    Fetch {
        /// Whose.
        end_user_id: EndUserId,
    },
    /// Set credit aside that this run of the sidecar may spend without asking; the server follows the account from now on.
    Lease {
        /// Whose.
        end_user_id: EndUserId,
        /// For what.
        feature_key: FeatureKey,
        /// Its id, minted by the sidecar: a repeat opens no second one.
        id: ReservationId,
        /// Of less there is no use.
        need: Credits,
        /// More is not needed.
        want: Credits,
    },
    /// Give credit of a lease back.
    Return {
        /// Whose.
        end_user_id: EndUserId,
        /// The lease.
        id: ReservationId,
        /// How much in all since it was opened: a repeat gives nothing more.
        returned: Credits,
    },
}

/// What became of one event of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventResult {
    /// It is in the ledger.
    Recorded {
        /// By an earlier attempt.
        replayed: bool,
        /// What was taken or is owed.
        charged: Credits,
    },
    /// The ledger will never take it.
    Refused {
        /// A stable error code ([`crate::problem::Code`]).
        code: String,
        /// For people.
        detail: String,
    },
    /// It failed by a fault of the server and may be sent again later; the others of the batch are done.
    Failed,
}

/// An answer on a request's stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To `Usage`, before `Recorded`: states of the batch's accounts as of its commit; as often as needed.
    States(Vec<AccountState>),
    /// To `Usage`: one result per event, in order. Ends the answer.
    Recorded(Vec<EventResult>),
    /// Nothing was done; send it again after the delay.
    Busy {
        /// How long to wait.
        delay_ms: u32,
    },
    /// To `Fetch`: the account; an end user without account has stamp 0.
    State(Box<AccountState>),
    /// To `Lease`.
    Leased {
        /// How much may be spent,
        granted: Credits,
        /// and until when, in the environment's time.
        until: Timestamp,
    },
    /// To `Return`: the ledger has it, or knows no such lease.
    Returned,
    /// To `Lease`: there is none.
    Refused {
        /// A stable error code ([`crate::problem::Code`]).
        code: String,
        /// For people.
        detail: String,
    },
}
