//! Sums of usage by hour, day and month: how what a lane recorded gets into them. They are read in
//! [`crate::store::usage_sums`].
//!
//! Each lane has a head: the place of its feed up to which its usage is in the sums. A page of what follows is added in
//! one transaction that has locked the head, so each event is added once, whoever does it and wherever it is killed.

use sqlx::Row;
use uuid::Uuid;

use crate::store::tx::Tx;
use crate::store::types::{EnvironmentId, LaneId, signed, unsigned};

/// Values of one property of a feature that summaries tell apart; all others are summed as one.
pub const PROPERTY_VALUES_MAX: i64 = 1_000;
/// The account of a lane's own sums.
pub(super) const WHOLE_LANE: Uuid = Uuid::nil();

/// What changed a lane's sums in `(after, up to]` of its feed: recorded events, and those that were undone with a minus.
macro_rules! deltas {
    () => {
        "select account_id, feature_key, effective_at, properties, 1 as events, units, charged
         from usage_events where lane_id = $1 and feed_seq > $2 and feed_seq <= $3
         union all
         select u.account_id, u.feature_key, u.effective_at, u.properties, -1, -u.units, -u.charged
         from usage_voids v join usage_events u on u.lane_id = $1 and u.usage_id = v.usage_id
         where v.lane_id = $1 and v.feed_seq > $2 and v.feed_seq <= $3"
    };
}

/// The values of summarised properties that a page meets first, as long as there is room for them.
macro_rules! new_values {
    () => {
        concat!(
            "select $4::bigint, feature_key, property, value from (
               select *, row_number() over (partition by feature_key, property order by value)
                 + (select count(*) from usage_property_values v where v.environment_id = $4
                    and v.feature_key = seen.feature_key and v.property = seen.property) as place
               from (
                 select distinct d.feature_key, p.property, d.properties ->> p.property as value
                 from (",
            deltas!(),
            ") as d
                 join features f on f.environment_id = $4 and f.feature_key = d.feature_key
                 cross join lateral unnest(f.summary_properties) as p (property)) as seen
               where value is not null and not exists (
                 select from usage_property_values v where v.environment_id = $4 and v.feature_key = seen.feature_key
                   and v.property = seen.property and v.value = seen.value)) as fresh
             where place <= $5"
        )
    };
}

/// Where a lane's sums stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollupHead {
    /// Everything up to this place is in the sums.
    pub rolled_to: u64,
    /// The lane's last place.
    pub feed_seq: u64,
}

/// What came of locking a head.
#[derive(Debug, Clone, Copy)]
pub enum HeadLock {
    /// It is ours until the transaction ends.
    Locked(RollupHead),
    /// Somebody else has it.
    Taken,
    /// Nothing of the lane was added up before.
    Missing,
}

impl Tx {
    /// Up to `limit` lanes of all tenants that are ahead of their sums, the furthest first.
    pub async fn lanes_to_roll_up(&mut self, limit: i32) -> sqlx::Result<Vec<(EnvironmentId, LaneId)>> {
        let rows = sqlx::query("select environment_id, lane_id from lanes_to_roll_up($1)")
            .bind(limit)
            .fetch_all(self.connection())
            .await?;
        let lanes = rows.iter().map(|row| Ok((EnvironmentId(row.try_get(0)?), LaneId(row.try_get(1)?))));
        lanes.collect()
    }

    /// Locks the head of a lane's sums, without waiting for it.
    pub async fn lock_rollup_head(&mut self, lane_id: LaneId) -> sqlx::Result<HeadLock> {
        let rolled_to: Option<i64> =
            sqlx::query_scalar("select rolled_to from usage_rollup_heads where lane_id = $1 for update skip locked")
                .bind(lane_id.0)
                .fetch_optional(self.connection())
                .await?;
        if let Some(rolled_to) = rolled_to {
            let place = self.lane_place(lane_id).await?;
            let rolled_to = unsigned("rolled_to", rolled_to)?;
            return Ok(HeadLock::Locked(RollupHead { rolled_to, feed_seq: place.feed_seq }));
        }
        let is_there: bool = sqlx::query_scalar("select exists (select from usage_rollup_heads where lane_id = $1)")
            .bind(lane_id.0)
            .fetch_one(self.connection())
            .await?;
        Ok(if is_there { HeadLock::Taken } else { HeadLock::Missing })
    }

    /// Makes a lane's head. Commit it at once: whoever makes it too waits for that.
    pub async fn create_rollup_head(&mut self, environment_id: EnvironmentId, lane_id: LaneId) -> sqlx::Result<()> {
        sqlx::query(
            "insert into usage_rollup_heads (lane_id, environment_id, rolled_to) values ($1, $2, 0)
             on conflict (lane_id) do nothing",
        )
        .bind(lane_id.0)
        .bind(environment_id.0)
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// The end of a page of about `size` events and voids after `head`: a place of the feed, whose events all belong
    /// to the page.
    pub async fn rollup_page_end(&mut self, lane_id: LaneId, head: RollupHead, size: i64) -> sqlx::Result<u64> {
        let end: Option<i64> = sqlx::query_scalar(
            "select min(feed_seq) from (
               (select feed_seq from usage_events where lane_id = $1 and feed_seq > $2 order by feed_seq
                offset $3 limit 1)
               union all
               (select feed_seq from usage_voids where lane_id = $1 and feed_seq > $2 order by feed_seq
                offset $3 limit 1)) as nth",
        )
        .bind(lane_id.0)
        .bind(signed(head.rolled_to))
        .bind(size)
        .fetch_one(self.connection())
        .await?;
        // Nothing is written at places up to the lane's any more.
        end.map_or(Ok(head.feed_seq), |end| Ok(unsigned("feed_seq", end)?.min(head.feed_seq)))
    }

    /// Adds a page to the sums and moves the head, which is locked.
    pub async fn roll_up(
        &mut self,
        environment_id: EnvironmentId,
        lane_id: LaneId,
        after: u64,
        up_to: u64,
    ) -> sqlx::Result<()> {
        self.note_property_values(environment_id, lane_id, after, up_to).await?;
        sqlx::query(concat!(
            "with deltas as (",
            deltas!(),
            "),
             parts as (
               select account_id, feature_key, '' as property, '' as value, effective_at, events, units, charged
               from deltas
               union all
               select d.account_id, d.feature_key, p.property,
                 case when d.properties ->> p.property is null then '-' when v.value is not null then '=' || v.value
                   else '*' end,
                 d.effective_at, d.events, d.units, d.charged
               from deltas d
               join features f on f.environment_id = $4 and f.feature_key = d.feature_key
               cross join lateral unnest(f.summary_properties) as p (property)
               left join usage_property_values v on v.environment_id = $4 and v.feature_key = d.feature_key
                 and v.property = p.property and v.value = d.properties ->> p.property),
             hours as materialized (
               select account_id, feature_key, property, value, date_trunc('hour', effective_at, 'UTC') as hour,
                 sum(events) as events, sum(units) as units, sum(charged) as cost
               from parts group by 1, 2, 3, 4, 5)
             insert into usage_rollups as r (lane_id, account_id, property, grain, bucket_start, feature_key, value,
               environment_id, events, units, cost)
             select $1, of.account_id, property, grain, date_trunc(grain, hour, 'UTC'), feature_key, value, $4, sum(events),
               sum(units), sum(cost)
             from hours cross join unnest(array['hour', 'day', 'month']) as g (grain)
               cross join lateral unnest(array[hours.account_id, $5]) as of (account_id)
             group by of.account_id, property, grain, date_trunc(grain, hour, 'UTC'), feature_key, value
             on conflict (lane_id, account_id, property, grain, bucket_start, feature_key, value) do update
               set events = r.events + excluded.events, units = r.units + excluded.units, cost = r.cost + excluded.cost"
        ))
        .bind(lane_id.0)
        .bind(signed(after))
        .bind(signed(up_to))
        .bind(environment_id.0)
        .bind(WHOLE_LANE)
        .execute(self.connection())
        .await?;
        sqlx::query("update usage_rollup_heads set rolled_to = $2 where lane_id = $1")
            .bind(lane_id.0)
            .bind(signed(up_to))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Keeps the new values of a page, as long as there is room for them.
    async fn note_property_values(
        &mut self,
        environment_id: EnvironmentId,
        lane_id: LaneId,
        after: u64,
        up_to: u64,
    ) -> sqlx::Result<()> {
        let bound = |sql: &'static str| {
            sqlx::query(sql)
                .bind(lane_id.0)
                .bind(signed(after))
                .bind(signed(up_to))
                .bind(environment_id.0)
                .bind(PROPERTY_VALUES_MAX)
        };
        if bound(new_values!()).fetch_optional(self.connection()).await?.is_none() {
            return Ok(());
        }
        // The lanes of an environment share the room: one after the other.
        sqlx::query("select from environments where environment_id = $1 for update")
            .bind(environment_id.0)
            .execute(self.connection())
            .await?;
        bound(concat!(
            "insert into usage_property_values (environment_id, feature_key, property, value) ",
            new_values!()
        ))
        .execute(self.connection())
        .await?;
        Ok(())
    }
}
