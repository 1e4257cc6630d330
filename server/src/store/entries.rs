//! Entries as they are kept and read back.

use quotastack_core::credits::Credits;
use quotastack_core::ids::{AccountId, BlockId, FeatureKey, KeyId, SubscriptionId, UsageId};
use quotastack_core::ledger::entry::{Actor, Allocation, Cause, Entry, EntryBody, Hash};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::store::tx::Tx;
use crate::store::types::{
    LaneId, Ts, bytes, credits, feature_key, from_json, named, signed, to_json, units, unsigned,
};

/// `[block, amount]` or `[block, amount, feature]`.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
enum StoredAllocation {
    Plain(BlockId, Credits),
    OfDebt(BlockId, Credits, FeatureKey),
}

pub(super) fn allocations_to_json(allocations: &[Allocation]) -> serde_json::Value {
    let stored = allocations.iter().map(|part| match &part.feature_key {
        None => StoredAllocation::Plain(part.block_id, part.amount),
        Some(feature) => StoredAllocation::OfDebt(part.block_id, part.amount, feature.clone()),
    });
    to_json(&stored.collect::<Vec<_>>())
}

pub(super) fn allocations_from_json(value: serde_json::Value) -> sqlx::Result<Vec<Allocation>> {
    let stored: Vec<StoredAllocation> = from_json("allocations", value)?;
    let parts = stored.into_iter().map(|part| match part {
        StoredAllocation::Plain(block_id, amount) => Allocation::of(block_id, amount),
        StoredAllocation::OfDebt(block_id, amount, feature) => {
            Allocation { feature_key: Some(feature), ..Allocation::of(block_id, amount) }
        }
    });
    Ok(parts.collect())
}

/// A cause as columns: its name, and what it was about.
pub(super) fn cause_columns(cause: &Cause) -> (&'static str, Option<Uuid>, Option<&str>, Option<i64>) {
    match cause {
        Cause::Grant => ("grant", None, None, None),
        Cause::Usage { id, feature_key, units } => {
            ("usage", Some(id.uuid()), Some(feature_key.as_str()), Some(units.get()))
        }
        Cause::Subscription(id) => ("subscription", Some(id.uuid()), None, None),
        Cause::Time => ("time", None, None, None),
    }
}

impl Tx {
    /// Up to `limit` entries of an account after `after_seq`, in order.
    pub async fn list_entries(
        &mut self,
        lane_id: LaneId,
        account_id: AccountId,
        after_seq: u64,
        limit: i64,
    ) -> sqlx::Result<Vec<Entry>> {
        // One row more at the start: its hash is the first one's `prev_hash`.
        let rows = sqlx::query(
            "select seq, kind, amount, balance_after, reserved_after, debt_after, allocations, granted, cause, cause_id,
               feature_key, units, effective_at, recorded_at, actor, hash
             from entries where lane_id = $1 and account_id = $2 and seq >= $3 order by seq limit $4",
        )
        .bind(lane_id.0)
        .bind(account_id.uuid())
        .bind(signed(after_seq))
        .bind(limit.saturating_add(i64::from(after_seq > 0)))
        .fetch_all(self.connection())
        .await?;
        let mut prev_hash = Hash::ZERO;
        let mut entries = Vec::with_capacity(rows.len());
        for row in &rows {
            let entry = entry_from_row(row, prev_hash)?;
            prev_hash = entry.hash;
            if entry.seq > after_seq {
                entries.push(entry);
            }
        }
        Ok(entries)
    }
}

fn entry_from_row(row: &PgRow, prev_hash: Hash) -> sqlx::Result<Entry> {
    let granted: Option<serde_json::Value> = row.try_get("granted")?;
    let actor: Option<Uuid> = row.try_get("actor")?;
    Ok(Entry {
        seq: unsigned("seq", row.try_get("seq")?)?,
        body: EntryBody {
            kind: named("kind", row.try_get("kind")?)?,
            amount: credits("amount", row.try_get("amount")?)?,
            allocations: allocations_from_json(row.try_get("allocations")?)?,
            granted: granted.map_or(Ok(Vec::new()), |value| from_json("granted", value))?,
            cause: cause_from_row(row)?,
            effective_at: row.try_get::<Ts, _>("effective_at")?.0,
        },
        balance_after: credits("balance_after", row.try_get("balance_after")?)?,
        reserved_after: credits("reserved_after", row.try_get("reserved_after")?)?,
        debt_after: credits("debt_after", row.try_get("debt_after")?)?,
        recorded_at: row.try_get::<Ts, _>("recorded_at")?.0,
        actor: actor.map_or(Actor::System, |id| Actor::Key(KeyId::from_uuid(id))),
        prev_hash,
        hash: Hash(bytes("hash", row.try_get("hash")?)?),
    })
}

fn cause_from_row(row: &PgRow) -> sqlx::Result<Cause> {
    let id = || row.try_get::<Uuid, _>("cause_id");
    Ok(match row.try_get("cause")? {
        "grant" => Cause::Grant,
        "usage" => Cause::Usage {
            id: UsageId::from_uuid(id()?),
            feature_key: feature_key(row.try_get("feature_key")?)?,
            units: units("units", row.try_get("units")?)?,
        },
        "subscription" => Cause::Subscription(SubscriptionId::from_uuid(id()?)),
        "time" => Cause::Time,
        other => {
            return Err(sqlx::Error::ColumnDecode {
                index: "cause".to_owned(),
                source: format!("unknown cause {other}").into(),
            });
        }
    })
}
