//! Entries as they are kept and read back.

use quotastack_core::credits::Credits;
use quotastack_core::ids::{AccountId, BlockId, FeatureKey, KeyId, ReservationId, SubscriptionId, TopupId, UsageId};
use quotastack_core::ledger::block::{Ending, Reschedule};
use quotastack_core::ledger::counter::CounterKey;
use quotastack_core::ledger::debt::DebtOf;
use quotastack_core::ledger::entry::{Actor, Allocation, Cause, Entry, EntryBody, EntryKind, Hash, HoldTerms};
use quotastack_core::ledger::settled::Settled;
use quotastack_core::time::Timestamp;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::store::tx::Tx;
use crate::store::types::{
    LaneId, Ts, bytes, credits, feature_key, from_json, named, signed, to_json_text, units, unsigned,
};

/// `[block, amount]`, `[block, amount, held]` or `[block, amount, held, debt]`.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
enum StoredAllocation {
    Plain(BlockId, Credits),
    OfHold(BlockId, Credits, Credits),
    OfDebt(BlockId, Credits, Credits, DebtOf),
}

/// What only some kinds of entries say.
#[derive(Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
struct Detail {
    #[serde(skip_serializing_if = "Option::is_none")]
    ends: Option<Ending>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owed: Option<(DebtOf, Credits)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<HoldTerms>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counted: Option<(CounterKey, i64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reschedule: Option<Reschedule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    billed: Vec<(FeatureKey, Credits)>,
}

pub(super) fn allocations_to_json_text(allocations: &[Allocation]) -> String {
    let stored = allocations.iter().map(|part| match &part.debt {
        Some(debt) => StoredAllocation::OfDebt(part.block_id, part.amount, part.held, debt.clone()),
        None if part.held.is_zero() => StoredAllocation::Plain(part.block_id, part.amount),
        None => StoredAllocation::OfHold(part.block_id, part.amount, part.held),
    });
    to_json_text(&stored.collect::<Vec<_>>())
}

pub(super) fn allocations_from_json(value: serde_json::Value) -> sqlx::Result<Vec<Allocation>> {
    let stored: Vec<StoredAllocation> = from_json("allocations", value)?;
    let parts = stored.into_iter().map(|part| match part {
        StoredAllocation::Plain(block_id, amount) => Allocation::of(block_id, amount),
        StoredAllocation::OfHold(block_id, amount, held) => Allocation { block_id, amount, held, debt: None },
        StoredAllocation::OfDebt(block_id, amount, held, debt) => {
            Allocation { block_id, amount, held, debt: Some(debt) }
        }
    });
    Ok(parts.collect())
}

/// What only some kinds of entries say, as text; `None` where it is nothing.
pub(super) fn detail_to_json_text(body: &EntryBody) -> Option<String> {
    let EntryBody { ends, owed, hold, counted, reschedule, billed, .. } = body;
    let detail = Detail {
        ends: *ends,
        owed: owed.clone(),
        hold: hold.clone(),
        counted: counted.clone(),
        reschedule: *reschedule,
        billed: billed.clone(),
    };
    (detail != Detail::default()).then(|| to_json_text(&detail))
}

/// A cause as columns.
#[derive(Default)]
pub(super) struct CauseColumns<'a> {
    pub(super) name: &'static str,
    pub(super) id: Option<Uuid>,
    pub(super) reservation_id: Option<Uuid>,
    pub(super) feature_key: Option<&'a str>,
    pub(super) units: Option<i64>,
}

impl<'a> CauseColumns<'a> {
    pub(super) fn of(cause: &'a Cause) -> Self {
        let named = Self { name: cause.name(), ..Self::default() };
        match cause {
            Cause::Grant | Cause::Time | Cause::Adjustment => named,
            Cause::Subscription(id) => Self { id: Some(id.uuid()), ..named },
            Cause::Void(id) => Self { id: Some(id.uuid()), ..named },
            Cause::BlockVoid(id) => Self { id: Some(id.uuid()), ..named },
            Cause::Topup(id) | Cause::Refund(id) => Self { id: Some(id.uuid()), ..named },
            Cause::Usage { id, feature_key, units } => {
                Self { id: Some(id.uuid()), feature_key: Some(feature_key.as_str()), units: Some(units.get()), ..named }
            }
            Cause::Commit { id, reservation_id, feature_key, units } => Self {
                id: Some(id.uuid()),
                reservation_id: Some(reservation_id.uuid()),
                feature_key: Some(feature_key.as_str()),
                units: Some(units.get()),
                ..named
            },
            Cause::Reservation { id, feature_key, units } => Self {
                reservation_id: Some(id.uuid()),
                feature_key: Some(feature_key.as_str()),
                units: Some(units.get()),
                ..named
            },
        }
    }
}

macro_rules! select_entries {
    ($condition:literal) => {
        concat!(
            "select seq, kind, amount, balance_after, reserved_after, debt_after, allocations, granted, cause, cause_id,
               reservation_id, feature_key, units, effective_at, recorded_at, actor, hash, detail, account_id
             from entries where lane_id = $1 and ",
            $condition
        )
    };
}

/// Which entries a reader wants; what is `None` leaves nothing out.
#[derive(Debug, Clone, Default)]
pub struct EntryFilter {
    /// Of one of these kinds.
    pub kinds: Option<Vec<EntryKind>>,
    /// About this feature.
    pub feature_key: Option<FeatureKey>,
    /// About the usage event, top-up or subscription with this id.
    pub cause_id: Option<Uuid>,
    /// About this reservation.
    pub reservation_id: Option<ReservationId>,
    /// Written at this instant or later.
    pub recorded_from: Option<Timestamp>,
    /// Written before this instant.
    pub recorded_to: Option<Timestamp>,
}

impl Tx {
    /// Up to `limit` entries of an account after `after_seq` up to `up_to_seq` that pass the filter, in order, each with
    /// the reason that a person gave for it. Their `prev_hash` is not read.
    pub async fn list_filtered_entries(
        &mut self,
        lane_id: LaneId,
        account_id: AccountId,
        (after_seq, up_to_seq): (u64, u64),
        filter: &EntryFilter,
        limit: i64,
    ) -> sqlx::Result<Vec<(Entry, Option<String>)>> {
        let kinds: Option<Vec<&str>> =
            filter.kinds.as_ref().map(|kinds| kinds.iter().map(|kind| kind.name()).collect());
        let rows = sqlx::query(
            "select e.seq, kind, amount, balance_after, reserved_after, debt_after, allocations, granted, cause, cause_id,
               reservation_id, feature_key, units, effective_at, recorded_at, actor, hash, detail, r.reason
             from entries e left join entry_reasons r
               on r.lane_id = $1 and r.account_id = e.account_id and r.seq = e.seq
             where e.lane_id = $1 and e.account_id = $2 and e.seq > $3 and e.seq <= $11
               and ($4::text[] is null or kind = any ($4)) and ($5::text is null or feature_key = $5)
               and ($6::uuid is null or cause_id = $6) and ($7::uuid is null or reservation_id = $7)
               and ($8::timestamptz is null or recorded_at >= $8) and ($9::timestamptz is null or recorded_at < $9)
             order by e.seq limit $10",
        )
        .bind(lane_id.0)
        .bind(account_id.uuid())
        .bind(signed(after_seq))
        .bind(kinds)
        .bind(filter.feature_key.as_ref().map(FeatureKey::as_str))
        .bind(filter.cause_id)
        .bind(filter.reservation_id.map(ReservationId::uuid))
        .bind(filter.recorded_from.map(Ts))
        .bind(filter.recorded_to.map(Ts))
        .bind(limit)
        .bind(signed(up_to_seq))
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(|row| Ok((entry_from_row(row, Hash::ZERO)?, row.try_get("reason")?))).collect()
    }

    /// When an entry was recorded.
    pub async fn entry_recorded_at(
        &mut self,
        lane_id: LaneId,
        account_id: AccountId,
        seq: u64,
    ) -> sqlx::Result<Option<Timestamp>> {
        let found: Option<Ts> =
            sqlx::query_scalar("select recorded_at from entries where lane_id = $1 and account_id = $2 and seq = $3")
                .bind(lane_id.0)
                .bind(account_id.uuid())
                .bind(signed(seq))
                .fetch_optional(self.connection())
                .await?;
        Ok(found.map(|at| at.0))
    }

    /// Up to `limit` entries of an account after `after_seq`, in order.
    pub async fn list_entries(
        &mut self,
        lane_id: LaneId,
        account_id: AccountId,
        after_seq: u64,
        limit: i64,
    ) -> sqlx::Result<Vec<Entry>> {
        // One row more at the start: its hash is the first one's `prev_hash`.
        let rows = sqlx::query(select_entries!("account_id = $2 and seq >= $3 order by seq limit $4"))
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

impl Tx {
    /// What paid debts of an account, and what voids have given back of it.
    pub async fn load_settled(&mut self, lane_id: LaneId, account_id: AccountId) -> sqlx::Result<Settled> {
        let rows = sqlx::query(select_entries!(
            "account_id = $2 and kind in ('debt_settled', 'debt_billed', 'void') order by seq"
        ))
        .bind(lane_id.0)
        .bind(account_id.uuid())
        .fetch_all(self.connection())
        .await?;
        let entries = rows.iter().map(|row| entry_from_row(row, Hash::ZERO)).collect::<sqlx::Result<Vec<_>>>()?;
        Ok(Settled::read(&entries))
    }
}

fn entry_from_row(row: &PgRow, prev_hash: Hash) -> sqlx::Result<Entry> {
    let granted: Option<serde_json::Value> = row.try_get("granted")?;
    let detail: Option<serde_json::Value> = row.try_get("detail")?;
    let detail: Detail = detail.map_or(Ok(Detail::default()), |value| from_json("detail", value))?;
    let actor: Option<Uuid> = row.try_get("actor")?;
    Ok(Entry {
        seq: unsigned("seq", row.try_get("seq")?)?,
        body: EntryBody {
            kind: named("kind", row.try_get("kind")?)?,
            amount: credits("amount", row.try_get("amount")?)?,
            allocations: allocations_from_json(row.try_get("allocations")?)?,
            granted: granted.map_or(Ok(Vec::new()), |value| from_json("granted", value))?,
            ends: detail.ends,
            reschedule: detail.reschedule,
            billed: detail.billed,
            owed: detail.owed,
            hold: detail.hold,
            counted: detail.counted,
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
    let reservation_id = || row.try_get("reservation_id").map(ReservationId::from_uuid);
    let feature = || feature_key(row.try_get("feature_key")?);
    let count = || units("units", row.try_get("units")?);
    Ok(match row.try_get("cause")? {
        "grant" => Cause::Grant,
        "usage" => Cause::Usage { id: UsageId::from_uuid(id()?), feature_key: feature()?, units: count()? },
        "subscription" => Cause::Subscription(SubscriptionId::from_uuid(id()?)),
        "time" => Cause::Time,
        "commit" => Cause::Commit {
            id: UsageId::from_uuid(id()?),
            reservation_id: reservation_id()?,
            feature_key: feature()?,
            units: count()?,
        },
        "reservation" => Cause::Reservation { id: reservation_id()?, feature_key: feature()?, units: count()? },
        "void" => Cause::Void(UsageId::from_uuid(id()?)),
        "adjustment" => Cause::Adjustment,
        "block_void" => Cause::BlockVoid(BlockId::from_uuid(id()?)),
        "topup" => Cause::Topup(TopupId::from_uuid(id()?)),
        "refund" => Cause::Refund(TopupId::from_uuid(id()?)),
        other => {
            return Err(sqlx::Error::ColumnDecode {
                index: "cause".to_owned(),
                source: format!("unknown cause {other}").into(),
            });
        }
    })
}
