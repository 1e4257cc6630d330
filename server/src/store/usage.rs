//! Usage events that were recorded before: what a repeat is answered from, and lists of them.

use std::collections::{BTreeMap, HashMap};

use quotastack_core::credits::Credits;
use quotastack_core::ids::{AccountId, EndUserId, FeatureKey, IdempotencyKey, ReservationId, UsageId};
use quotastack_core::ledger::entry::Allocation;
use quotastack_core::ledger::outcome::UsageRecord;
use quotastack_core::ledger::wallet::Totals;
use quotastack_core::time::Timestamp;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::store::entries::allocations_from_json;
use crate::store::tx::Tx;
use crate::store::types::{
    LaneId, Ts, bytes, credits, end_user_id, feature_key, from_json, idempotency_key, signed, units, unsigned,
};

/// The first 16 bytes of BLAKE3 over a key: what usage is unique by, within an account.
pub type KeyHash = [u8; 16];

/// The hash of a usage event's key.
pub fn key_hash(key: &IdempotencyKey) -> KeyHash {
    let mut hash = [0; 16];
    hash.copy_from_slice(&blake3::hash(key.as_str().as_bytes()).as_bytes()[..16]);
    hash
}

macro_rules! select_usage {
    ($from:literal) => {
        concat!(
            "select u.account_id, u.key_hash, u.usage_id, u.idempotency_key, u.fingerprint, u.feature_key, u.units,
               u.properties, u.cost, u.charged, u.owed, u.priced_by, u.counter, u.reservation_id, u.effective_at,
               u.recorded_at, u.seq, u.version, u.balance_after, u.reserved_after, u.debt_after, u.feed_seq, e.allocations ",
            $from
        )
    };
}

/// Which events a reader wants; what is `None` leaves nothing out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// Of this feature.
    pub feature_key: Option<FeatureKey>,
    /// Of this reservation.
    pub reservation_id: Option<ReservationId>,
    /// With an `effective_at` of this instant or later.
    pub from: Option<Timestamp>,
    /// With an `effective_at` before this instant.
    pub to: Option<Timestamp>,
}

/// A place in the order in which a lane recorded usage: of the feed, and in the account that stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UsagePlace {
    /// Of the feed.
    pub feed_seq: u64,
    /// Of the event's entry.
    pub seq: u64,
}

/// An event in a list.
#[derive(Debug, Clone)]
pub struct ListedUsage {
    /// Its account.
    pub account_id: AccountId,
    /// Its place.
    pub place: UsagePlace,
    /// The event.
    pub record: UsageRecord,
}

impl Tx {
    /// Which of these `(account, key)` pairs were recorded before.
    pub async fn load_known_usage(
        &mut self,
        lane_id: LaneId,
        keys: &[(AccountId, KeyHash)],
    ) -> sqlx::Result<HashMap<(AccountId, KeyHash), UsageRecord>> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let accounts: Vec<Uuid> = keys.iter().map(|(account, _)| account.uuid()).collect();
        let hashes: Vec<&[u8]> = keys.iter().map(|(_, hash)| hash.as_slice()).collect();
        let rows = sqlx::query(select_usage!(
            "from unnest($2::uuid[], $3::bytea[]) as wanted (account_id, key_hash)
             join usage_events u on u.lane_id = $1 and u.account_id = wanted.account_id and u.key_hash = wanted.key_hash
             join entries e on e.lane_id = $1 and e.account_id = u.account_id and e.seq = u.seq"
        ))
        .bind(lane_id.0)
        .bind(accounts)
        .bind(hashes)
        .fetch_all(self.connection())
        .await?;
        let known = rows.iter().map(|row| {
            let account = AccountId::from_uuid(row.try_get("account_id")?);
            Ok(((account, bytes("key_hash", row.try_get("key_hash")?)?), record_from_row(row)?))
        });
        known.collect()
    }

    /// Usage events by their ids, each with its account.
    pub async fn load_usage(
        &mut self,
        lane_id: LaneId,
        ids: &[UsageId],
    ) -> sqlx::Result<Vec<(AccountId, UsageRecord)>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
        let rows = sqlx::query(select_usage!(
            "from usage_events u
             join entries e on e.lane_id = $1 and e.account_id = u.account_id and e.seq = u.seq
             where u.lane_id = $1 and u.usage_id = any ($2)"
        ))
        .bind(lane_id.0)
        .bind(ids)
        .fetch_all(self.connection())
        .await?;
        let found =
            rows.iter().map(|row| Ok((AccountId::from_uuid(row.try_get("account_id")?), record_from_row(row)?)));
        found.collect()
    }

    /// Up to `limit` events of an account with a `seq` in `[after, before)` that pass the filter, the latest first.
    pub async fn list_usage_of_account(
        &mut self,
        lane_id: LaneId,
        account_id: AccountId,
        (after, before): (u64, u64),
        filter: &UsageFilter,
        limit: i64,
    ) -> sqlx::Result<Vec<ListedUsage>> {
        let rows = sqlx::query(select_usage!(
            "from entries e
             join usage_events u on u.lane_id = $1 and u.usage_id = e.cause_id and u.seq = e.seq
             where e.lane_id = $1 and e.account_id = $2 and e.seq >= $3 and e.seq < $4 and e.kind in ('usage', 'commit')
               and ($5::text is null or u.feature_key = $5) and ($6::uuid is null or u.reservation_id = $6)
               and ($7::timestamptz is null or u.effective_at >= $7) and ($8::timestamptz is null or u.effective_at < $8)
             order by e.seq desc limit $9"
        ))
        .bind(lane_id.0)
        .bind(account_id.uuid())
        .bind(signed(after))
        .bind(signed(before))
        .bind(filter.feature_key.as_ref().map(FeatureKey::as_str))
        .bind(filter.reservation_id.map(ReservationId::uuid))
        .bind(filter.from.map(Ts))
        .bind(filter.to.map(Ts))
        .bind(limit)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(listed_from_row).collect()
    }

    /// Up to `limit` events that pass the filter, the latest first, among the `window` events of a lane before a place.
    pub async fn list_usage_of_lane(
        &mut self,
        lane_id: LaneId,
        before: UsagePlace,
        window: i64,
        filter: &UsageFilter,
        limit: i64,
    ) -> sqlx::Result<Vec<ListedUsage>> {
        let rows = sqlx::query(select_usage!(
            "from (select * from usage_events where lane_id = $1 and (feed_seq, seq) < ($2, $3)
               order by feed_seq desc, seq desc limit $4) as u
             join entries e on e.lane_id = $1 and e.account_id = u.account_id and e.seq = u.seq
             where ($5::text is null or u.feature_key = $5) and ($6::uuid is null or u.reservation_id = $6)
               and ($7::timestamptz is null or u.effective_at >= $7) and ($8::timestamptz is null or u.effective_at < $8)
             order by u.feed_seq desc, u.seq desc limit $9"
        ))
        .bind(lane_id.0)
        .bind(signed(before.feed_seq))
        .bind(signed(before.seq))
        .bind(window)
        .bind(filter.feature_key.as_ref().map(FeatureKey::as_str))
        .bind(filter.reservation_id.map(ReservationId::uuid))
        .bind(filter.from.map(Ts))
        .bind(filter.to.map(Ts))
        .bind(limit)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(listed_from_row).collect()
    }

    /// The last of the `window` events of a lane before a place, and when it was recorded; `None` if there are fewer.
    pub async fn usage_window_end(
        &mut self,
        lane_id: LaneId,
        before: UsagePlace,
        window: i64,
    ) -> sqlx::Result<Option<(UsagePlace, Timestamp)>> {
        let row = sqlx::query(
            "select feed_seq, seq, recorded_at from usage_events where lane_id = $1 and (feed_seq, seq) < ($2, $3)
             order by feed_seq desc, seq desc offset $4 limit 1",
        )
        .bind(lane_id.0)
        .bind(signed(before.feed_seq))
        .bind(signed(before.seq))
        .bind(window - 1)
        .fetch_optional(self.connection())
        .await?;
        row.map(|row| Ok((place_from_row(&row)?, row.try_get::<Ts, _>("recorded_at")?.0))).transpose()
    }

    /// Whose a usage event is.
    pub async fn find_usage_owner(&mut self, lane_id: LaneId, id: UsageId) -> sqlx::Result<Option<EndUserId>> {
        let name: Option<String> = sqlx::query_scalar(
            "select a.end_user_id from usage_events u join accounts a using (lane_id, account_id)
             where u.lane_id = $1 and u.usage_id = $2",
        )
        .bind(lane_id.0)
        .bind(id.uuid())
        .fetch_optional(self.connection())
        .await?;
        name.as_deref().map(end_user_id).transpose()
    }
}

fn place_from_row(row: &PgRow) -> sqlx::Result<UsagePlace> {
    Ok(UsagePlace {
        feed_seq: unsigned("feed_seq", row.try_get("feed_seq")?)?,
        seq: unsigned("seq", row.try_get("seq")?)?,
    })
}

fn listed_from_row(row: &PgRow) -> sqlx::Result<ListedUsage> {
    Ok(ListedUsage {
        account_id: AccountId::from_uuid(row.try_get("account_id")?),
        place: place_from_row(row)?,
        record: record_from_row(row)?,
    })
}

fn record_from_row(row: &PgRow) -> sqlx::Result<UsageRecord> {
    let properties: Option<serde_json::Value> = row.try_get("properties")?;
    let counter: Option<serde_json::Value> = row.try_get("counter")?;
    let reservation_id: Option<Uuid> = row.try_get("reservation_id")?;
    let taken = allocations_from_json(row.try_get("allocations")?)?;
    Ok(UsageRecord {
        id: UsageId::from_uuid(row.try_get("usage_id")?),
        key: idempotency_key(row.try_get("idempotency_key")?)?,
        fingerprint: bytes("fingerprint", row.try_get("fingerprint")?)?,
        feature_key: feature_key(row.try_get("feature_key")?)?,
        units: units("units", row.try_get("units")?)?,
        properties: properties.map_or(Ok(BTreeMap::new()), |value| from_json("properties", value))?,
        cost: credits("cost", row.try_get("cost")?)?,
        charged: credits("charged", row.try_get("charged")?)?,
        owed: credits("owed", row.try_get("owed")?)?,
        priced_by: from_json("priced_by", row.try_get("priced_by")?)?,
        counter: counter.map(|value| from_json("counter", value)).transpose()?,
        reservation_id: reservation_id.map(ReservationId::from_uuid),
        effective_at: row.try_get::<Ts, _>("effective_at")?.0,
        recorded_at: row.try_get::<Ts, _>("recorded_at")?.0,
        seq: unsigned("seq", row.try_get("seq")?)?,
        totals: totals_from_row(row)?,
        version: unsigned("version", row.try_get("version")?)?,
        allocations: taken.into_iter().map(|part| Allocation::of(part.block_id, -part.amount)).collect(),
    })
}

/// The account's totals as an answer named them.
pub(super) fn totals_from_row(row: &PgRow) -> sqlx::Result<Totals> {
    let balance: Credits = credits("balance_after", row.try_get("balance_after")?)?;
    let reserved = credits("reserved_after", row.try_get("reserved_after")?)?;
    let debt = credits("debt_after", row.try_get("debt_after")?)?;
    Ok(Totals { balance, reserved, available: balance - reserved, debt })
}
