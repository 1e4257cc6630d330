//! How a sidecar is, for people and their tools. Source: docs/sync.md, "The local API".

use quotastack_core::ids::{EndUserId, FeatureKey, IdempotencyKey, SidecarId, UsageId};
use quotastack_core::time::Timestamp;
use quotastack_core::wire::Mode;
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, LinkState};

/// Refused events that a status lists.
const REFUSED_LISTED_MAX: usize = 100;

/// How a sidecar is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its id, minted once per data directory.
    pub id: SidecarId,
    /// Its version, for people.
    pub software: String,
    /// Which accounts it holds: `all` or `on_demand`.
    pub mode: String,
    /// The server's HTTP address.
    pub upstream: String,
    /// The link to the server: `starting`, `up` or `down`.
    pub link: String,
    /// What it holds of the ledger.
    pub replica: ReplicaStatus,
    /// What it has acknowledged and not handed over.
    pub outbox: OutboxState,
    /// Up to 100 events that the ledger refused for good, the oldest first.
    pub refused: Vec<RefusedEvent>,
}

/// What a sidecar holds of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// The catalogue's version; 0 = none yet.
    pub catalogue_version: u64,
    /// Accounts in memory.
    pub accounts: u64,
    /// The instant up to which everything is known.
    pub as_of: Timestamp,
    /// How long ago that is, in milliseconds.
    pub staleness_ms: u64,
}

/// What a sidecar has acknowledged and not handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxState {
    /// Events that wait for the server.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Beyond so many of them usage is refused.
    pub bytes_max: u64,
    /// How long the oldest of them has waited, in milliseconds.
    pub oldest_ms: u64,
    /// Events that the ledger refused for good and that are kept.
    pub refused_events: u64,
}

/// An event that the ledger refused for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedEvent {
    /// The event.
    pub id: UsageId,
    /// Whose.
    pub end_user_id: EndUserId,
    /// Of what.
    pub feature_key: FeatureKey,
    /// Its key, which may be used again.
    pub idempotency_key: IdempotencyKey,
    /// The stable code of why.
    pub code: String,
    /// Why, for people.
    pub detail: String,
}

impl Status {
    pub(crate) fn of(engine: &Engine, id: SidecarId, upstream: &str) -> Self {
        let report = engine.report();
        let core = engine.lock();
        let refused =
            core.machine.refused().take(REFUSED_LISTED_MAX).map(|(_, admission, code, detail)| RefusedEvent {
                id: admission.usage.id,
                end_user_id: admission.end_user_id.clone(),
                feature_key: admission.usage.feature_key.clone(),
                idempotency_key: admission.usage.key.clone(),
                code: code.to_owned(),
                detail: detail.to_owned(),
            });
        Self {
            id,
            software: concat!("quotastack-sidecar ", env!("CARGO_PKG_VERSION")).to_owned(),
            mode: match engine.mode {
                Mode::All => "all",
                Mode::OnDemand => "on_demand",
            }
            .to_owned(),
            upstream: upstream.to_owned(),
            link: match *engine.link_state.borrow() {
                LinkState::Starting => "starting",
                LinkState::Up => "up",
                LinkState::Down => "down",
            }
            .to_owned(),
            replica: ReplicaStatus {
                catalogue_version: core.machine.catalogue_version(),
                accounts: report.accounts,
                as_of: engine.as_of(),
                staleness_ms: report.staleness_ms,
            },
            outbox: OutboxState {
                events: report.outbox_events,
                bytes: report.outbox_bytes,
                bytes_max: engine.limits.outbox_bytes_max,
                oldest_ms: report.outbox_oldest_ms,
                refused_events: report.refused_events,
            },
            refused: refused.collect(),
        }
    }
}
