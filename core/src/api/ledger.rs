//! Entries as answers name them: `GET .../ledger` of the server, and what a verified proof shows.

use serde::Serialize;

use crate::credits::{Credits, Units};
use crate::ids::{BlockId, FeatureKey, KeyId, ReservationId, UsageId};
use crate::ledger::entry::{Actor, Cause, Entry, EntryKind};
use crate::time::Timestamp;

/// An entry.
#[derive(Debug, Serialize)]
pub struct EntryJson<'a> {
    seq: u64,
    kind: EntryKind,
    amount: Credits,
    balance_after: Credits,
    reserved_after: Credits,
    debt_after: Credits,
    allocations: Vec<AllocationJson<'a>>,
    cause: CauseJson,
    feature_key: Option<&'a FeatureKey>,
    usage_id: Option<UsageId>,
    reservation_id: Option<ReservationId>,
    reason: Option<&'a str>,
    actor: Option<KeyId>,
    effective_at: Timestamp,
    recorded_at: Timestamp,
    hash: String,
}

#[derive(Debug, Serialize)]
struct CauseJson {
    r#type: &'static str,
    id: Option<String>,
    units: Option<Units>,
}

#[derive(Debug, Serialize)]
struct AllocationJson<'a> {
    block_id: BlockId,
    amount: Credits,
    held: Credits,
    /// The feature whose debt it paid.
    feature_key: Option<&'a FeatureKey>,
}

impl<'a> EntryJson<'a> {
    /// An entry with the reason that a person gave for it, which is not in the chain.
    pub fn new(entry: &'a Entry, reason: Option<&'a str>) -> Self {
        let cause = &entry.body.cause;
        let (id, units) = match cause {
            Cause::Grant | Cause::Time | Cause::Adjustment => (None, None),
            Cause::Usage { id, units, .. } | Cause::Commit { id, units, .. } => (Some(id.to_string()), Some(*units)),
            Cause::Reservation { id, units, .. } => (Some(id.to_string()), Some(*units)),
            Cause::Subscription(id) => (Some(id.to_string()), None),
            Cause::Void(id) => (Some(id.to_string()), None),
            Cause::BlockVoid(id) => (Some(id.to_string()), None),
            Cause::Topup(id) | Cause::Refund(id) => (Some(id.to_string()), None),
        };
        let (feature_key, usage_id, reservation_id) = match cause {
            Cause::Usage { id, feature_key, .. } => (Some(feature_key), Some(*id), None),
            Cause::Commit { id, reservation_id, feature_key, .. } => {
                (Some(feature_key), Some(*id), Some(*reservation_id))
            }
            Cause::Reservation { id, feature_key, .. } => (Some(feature_key), None, Some(*id)),
            Cause::Void(id) => (None, Some(*id), None),
            _ => (None, None, None),
        };
        let allocations = entry.body.allocations.iter().map(|part| AllocationJson {
            block_id: part.block_id,
            amount: part.amount,
            held: part.held,
            feature_key: part.debt.as_ref().and_then(|debt| debt.feature()),
        });
        Self {
            seq: entry.seq,
            kind: entry.body.kind,
            amount: entry.body.amount,
            balance_after: entry.balance_after,
            reserved_after: entry.reserved_after,
            debt_after: entry.debt_after,
            allocations: allocations.collect(),
            cause: CauseJson { r#type: cause.name(), id, units },
            feature_key,
            usage_id,
            reservation_id,
            reason,
            actor: match entry.actor {
                Actor::Key(id) => Some(id),
                Actor::System => None,
            },
            effective_at: entry.body.effective_at,
            recorded_at: entry.recorded_at,
            hash: entry.hash.to_string(),
        }
    }
}
