//! What a verifier asks of the sums of usage: each held against the events and voids that the lane's head says are in it.
//!
//! A head, its sums and the events below it are read in one snapshot, month by month: no bucket reaches into another
//! month, and what is sorted at once is what a lane has used in one.

use quotastack_core::ids::{AccountId, EndUserId};
use quotastack_core::time::Timestamp;
use sqlx::Row;
use uuid::Uuid;

use crate::store::tx::Tx;
use crate::store::types::{LaneId, Ts, end_user_id, signed};
use crate::store::usage_rollups::WHOLE_LANE;
use crate::store::verify_records::{DIFFERENCES_MAX, RecordDifference};

/// All usage of a feature in the month that begins at `$2`, by account and of the whole lane, at each grain. The month's
/// end is reckoned here: that of December 9999 is beyond all timestamps of ours.
const MONTH: &str = "
    with events as materialized (
      select u.account_id, u.feature_key, date_trunc('hour', u.effective_at, 'UTC') as hour,
        case when v.usage_id is null then 1 else 0 end as events, case when v.usage_id is null then u.units else 0 end as units,
        case when v.usage_id is null then u.charged else 0 end as cost
      from usage_events u
      left join usage_voids v on v.lane_id = $1 and v.usage_id = u.usage_id and v.feed_seq <= $3
      where u.lane_id = $1 and u.effective_at >= $2 and u.effective_at < ($2 at time zone 'UTC' + interval '1 month') at time zone 'UTC'
        and u.feed_seq <= $3),
    hours as materialized (
      select account_id, feature_key, hour, sum(events) as events, sum(units) as units, sum(cost) as cost
      from events group by 1, 2, 3),
    told as (
      select of.account_id, g.grain, date_trunc(g.grain, h.hour, 'UTC') as bucket_start, h.feature_key,
        sum(h.events) as events, sum(h.units) as units, sum(h.cost) as cost
      from hours h cross join unnest(array['hour', 'day', 'month']) as g (grain)
        cross join lateral unnest(array[h.account_id, $4::uuid]) as of (account_id)
      group by 1, 2, 3, 4),
    kept as (
      select account_id, grain, bucket_start, feature_key, events, units, cost from usage_rollups
      where lane_id = $1 and property = '' and account_id = $4 and grain in ('hour', 'day', 'month')
        and bucket_start >= $2 and bucket_start < ($2 at time zone 'UTC' + interval '1 month') at time zone 'UTC'
      union all
      select account_id, grain, bucket_start, feature_key, events, units, cost from usage_rollups
      where lane_id = $1 and property = '' and account_id <> '00000000-0000-0000-0000-000000000000'
        and grain in ('hour', 'day', 'month') and bucket_start >= $2
        and bucket_start < ($2 at time zone 'UTC' + interval '1 month') at time zone 'UTC')
    select coalesce(k.account_id, t.account_id) as account_id, a.end_user_id,
      'usage sum of ' || coalesce(k.feature_key, t.feature_key) || ' in the ' || coalesce(k.grain, t.grain) || ' from '
        || to_char(coalesce(k.bucket_start, t.bucket_start) at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as what,
      f.expected, f.found
    from kept k
    full join told t on t.account_id = k.account_id and t.grain = k.grain and t.bucket_start = k.bucket_start
      and t.feature_key = k.feature_key
    left join accounts a on a.lane_id = $1 and a.account_id = coalesce(k.account_id, t.account_id)
    cross join lateral (values (
      format('%s events, %s units, cost %s', coalesce(t.events, 0), coalesce(t.units, 0), coalesce(t.cost, 0)),
      format('%s events, %s units, cost %s', coalesce(k.events, 0), coalesce(k.units, 0), coalesce(k.cost, 0)))
      ) as f (expected, found)
    where f.expected <> f.found
    limit $5";

/// Which values a property's sums tell apart depends on when they were added. So they are held against each other: those
/// of the lane against those of its accounts, days and months against their hours.
const PROPERTIES: &str = "
    with kept as materialized (
      select account_id, property, grain, bucket_start, feature_key, value, events, units, cost from usage_rollups
      where lane_id = $1 and property <> ''),
    told as (
      select of.account_id, r.property, g.grain, date_trunc(g.grain, r.bucket_start, 'UTC') as bucket_start, r.feature_key,
        r.value, sum(r.events) as events, sum(r.units) as units, sum(r.cost) as cost
      from kept r cross join unnest(array['hour', 'day', 'month']) as g (grain)
        cross join lateral unnest(array[r.account_id, $2::uuid]) as of (account_id)
      where r.grain = 'hour' and r.account_id <> $2
      group by 1, 2, 3, 4, 5, 6)
    select coalesce(k.account_id, t.account_id) as account_id, a.end_user_id,
      'usage sum of ' || coalesce(k.feature_key, t.feature_key) || ' with ' || coalesce(k.property, t.property) || ' '
        || coalesce(k.value, t.value) || ' in the ' || coalesce(k.grain, t.grain) || ' from '
        || to_char(coalesce(k.bucket_start, t.bucket_start) at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as what,
      f.expected, f.found
    from kept k
    full join told t on t.account_id = k.account_id and t.property = k.property and t.grain = k.grain
      and t.bucket_start = k.bucket_start and t.feature_key = k.feature_key and t.value = k.value
    left join accounts a on a.lane_id = $1 and a.account_id = coalesce(k.account_id, t.account_id)
    cross join lateral (values (
      format('%s events, %s units, cost %s', coalesce(t.events, 0), coalesce(t.units, 0), coalesce(t.cost, 0)),
      format('%s events, %s units, cost %s', coalesce(k.events, 0), coalesce(k.units, 0), coalesce(k.cost, 0)))
      ) as f (expected, found)
    where f.expected <> f.found
    limit $3";

impl Tx {
    /// Where the first month (of UTC) begins that has usage or sums of a lane from `from` on.
    pub async fn month_with_usage(&mut self, lane_id: LaneId, from: Timestamp) -> sqlx::Result<Option<Timestamp>> {
        let row = sqlx::query(
            "select date_trunc('month', at, 'UTC') as since
             from (
               (select effective_at as at from usage_events where lane_id = $1 and effective_at >= $2
                order by effective_at limit 1)
               union all
               select s.bucket_start from unnest(array['hour', 'day', 'month']) as g (grain) cross join lateral (
                 (select r.bucket_start from usage_rollups r where r.lane_id = $1 and r.account_id = $3 and r.property = ''
                    and r.grain = g.grain and r.bucket_start >= $2 order by r.bucket_start limit 1)
                 union all
                 (select r.bucket_start from usage_rollups r where r.lane_id = $1 and r.property = ''
                    and r.account_id <> '00000000-0000-0000-0000-000000000000' and r.grain = g.grain
                    and r.bucket_start >= $2 order by r.bucket_start limit 1)) as s) as firsts
             order by at limit 1",
        )
        .bind(lane_id.0)
        .bind(Ts(from))
        .bind(WHOLE_LANE)
        .fetch_optional(self.connection())
        .await?;
        row.map(|row| Ok(row.try_get::<Ts, _>("since")?.0)).transpose()
    }

    /// Sums of the month that begins at `month` that are not those of what is recorded up to `rolled_to`.
    pub async fn differing_sums(
        &mut self,
        lane_id: LaneId,
        month: Timestamp,
        rolled_to: u64,
    ) -> sqlx::Result<Vec<RecordDifference>> {
        let bound = sqlx::query(MONTH).bind(lane_id.0).bind(Ts(month)).bind(signed(rolled_to));
        let rows = bound.bind(WHOLE_LANE).bind(DIFFERENCES_MAX).fetch_all(self.connection()).await?;
        rows.iter().map(difference_from_row).collect()
    }

    /// Sums by the values of properties that do not agree with each other.
    pub async fn differing_property_sums(&mut self, lane_id: LaneId) -> sqlx::Result<Vec<RecordDifference>> {
        let bound = sqlx::query(PROPERTIES).bind(lane_id.0).bind(WHOLE_LANE).bind(DIFFERENCES_MAX);
        bound.fetch_all(self.connection()).await?.iter().map(difference_from_row).collect()
    }
}

fn difference_from_row(row: &sqlx::postgres::PgRow) -> sqlx::Result<RecordDifference> {
    let account: Uuid = row.try_get("account_id")?;
    let end_user: Option<&str> = row.try_get("end_user_id")?;
    let end_user: Option<EndUserId> = end_user.map(end_user_id).transpose()?;
    Ok(RecordDifference {
        account_id: (account != WHOLE_LANE).then(|| AccountId::from_uuid(account)),
        end_user_id: end_user,
        seq: None,
        what: row.try_get("what")?,
        expected: row.try_get("expected")?,
        found: row.try_get("found")?,
    })
}
