//! Sums of usage, as summaries read them: what [`crate::store::usage_rollups`] has added up, and the events that are
//! not in there yet. Read all of it in one snapshot, and the sums are exact.
//!
//! Every statement answers one lane's sums in the order of (bucket, key) after a place in that order, `limit` at most,
//! so that the first ones of several answers together are the first ones of all.

use quotastack_core::ids::{AccountId, FeatureKey};
use quotastack_core::time::Timestamp;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::store::tx::Tx;
use crate::store::types::{EnvironmentId, LaneId, Ts, signed, unsigned};
use crate::store::usage_rollups::{PROPERTY_VALUES_MAX, RollupHead, WHOLE_LANE};

/// How fine sums are kept, and told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    /// Of the clock, in UTC.
    Hour,
    /// Of the calendar, in UTC.
    Day,
    /// Of the calendar, in UTC.
    Month,
}

impl Grain {
    /// Its name, which Postgres knows too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// What sums are told apart by, beside their bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grouping {
    /// The key is the feature's.
    Feature,
    /// The key is the account's id.
    EndUser,
    /// Of this name. The key is `=` and the value, `-` without one, `*` for the values that are not told apart.
    Property(String),
}

impl Grouping {
    const fn name(&self) -> &'static str {
        match self {
            Self::Feature => "feature",
            Self::EndUser => "end_user",
            Self::Property(_) => "property",
        }
    }

    fn property(&self) -> &str {
        match self {
            Self::Feature | Self::EndUser => "",
            Self::Property(name) => name,
        }
    }
}

/// Which sums are asked for.
#[derive(Debug, Clone)]
pub struct SumsQuery {
    /// The environment.
    pub environment_id: EnvironmentId,
    /// The length of a bucket.
    pub bucket: Grain,
    /// What they are told apart by.
    pub grouping: Grouping,
    /// Of this account only.
    pub account_id: Option<AccountId>,
    /// Of this feature only.
    pub feature_key: Option<FeatureKey>,
    /// Those behind this bucket and key only.
    pub after: (Timestamp, String),
    /// How many at most.
    pub limit: i64,
}

/// What a bucket and key come to, in one lane and one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// The bucket's first instant.
    pub bucket_start: Timestamp,
    /// See [`Grouping`].
    pub key: String,
    /// Events, less those undone; negative where only a void is in this source.
    pub events: i64,
    /// Their units.
    pub units: i128,
    /// What they cost.
    pub cost: i128,
}

/// A bucket whose sums are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// How long it is.
    pub grain: Grain,
    /// Its first instant.
    pub start: Timestamp,
}

/// Sums over rollup rows `r`: a look into the index for each piece, since it is in the order of time.
macro_rules! sums_of_rollups {
    ($account:literal) => {
        concat!(
            "select * from (
               select date_trunc($2, r.bucket_start, 'UTC') as bucket,
                 (case $3 when 'feature' then r.feature_key when 'end_user' then r.account_id::text else r.value end)
                   collate \"C\" as key,
                 sum(r.events)::bigint as events, sum(r.units)::text as units, sum(r.cost)::text as cost
               from unnest($8::text[], $9::timestamptz[]) as p (grain, start)
               join usage_rollups r on r.lane_id = $1 and r.property = $10 and r.grain = p.grain
                 and r.bucket_start = p.start and ",
            $account,
            "where $4::text is null or r.feature_key = $4
               group by 1, 2) as sums
             where (bucket, key) > ($5, $6 collate \"C\") order by bucket, key limit $7"
        )
    };
}

/// Sums over events `d`; undone ones count with a minus.
macro_rules! sums_of_events {
    ($events:literal) => {
        concat!(
            "select * from (
               select date_trunc($2, d.effective_at, 'UTC') as bucket,
                 (case $3 when 'feature' then d.feature_key when 'end_user' then d.account_id::text else
                    case when d.properties ->> $8 is null then '-'
                      when v.value is null and d.feature_key in (
                        select feature_key from usage_property_values where environment_id = $9 and property = $8
                        group by feature_key having count(*) >= $10) then '*'
                      else '=' || (d.properties ->> $8) end
                  end) collate \"C\" as key,
                 sum(d.events)::bigint as events, sum(d.units)::text as units, sum(d.charged)::text as cost
               from (",
            $events,
            ") as d left join usage_property_values v on $3 = 'property' and v.environment_id = $9
                 and v.feature_key = d.feature_key and v.property = $8 and v.value = d.properties ->> $8
               where ($4::text is null or d.feature_key = $4) and ($11::uuid is null or d.account_id = $11)
                 and d.effective_at >= $12 and d.effective_at < $13
                 and ($3 <> 'property' or d.feature_key in (
                   select feature_key from features where environment_id = $9 and $8 = any (summary_properties)))
               group by 1, 2) as sums
             where (bucket, key) > ($5, $6 collate \"C\") order by bucket, key limit $7"
        )
    };
}

impl Tx {
    /// Where a lane's sums stand.
    pub async fn rollup_head(&mut self, lane_id: LaneId) -> sqlx::Result<RollupHead> {
        let row = sqlx::query(
            "select coalesce(h.rolled_to, 0) as rolled_to, l.feed_seq
             from lanes l left join usage_rollup_heads h on h.lane_id = $1 where l.lane_id = $1",
        )
        .bind(lane_id.0)
        .fetch_one(self.connection())
        .await?;
        Ok(RollupHead {
            rolled_to: unsigned("rolled_to", row.try_get("rolled_to")?)?,
            feed_seq: unsigned("feed_seq", row.try_get("feed_seq")?)?,
        })
    }

    /// Sums that were added up before.
    pub async fn sums_of_rollups(
        &mut self,
        lane_id: LaneId,
        query: &SumsQuery,
        pieces: &[Piece],
    ) -> sqlx::Result<Vec<Sum>> {
        let of_accounts = query.grouping == Grouping::EndUser && query.account_id.is_none();
        let sql = if of_accounts {
            sums_of_rollups!("r.account_id <> $11 ")
        } else {
            sums_of_rollups!("r.account_id = $11 ")
        };
        let rows = sqlx::query(sql)
            .bind(lane_id.0)
            .bind(query.bucket.name())
            .bind(query.grouping.name())
            .bind(query.feature_key.as_ref().map(FeatureKey::as_str))
            .bind(Ts(query.after.0))
            .bind(&query.after.1)
            .bind(query.limit)
            .bind(pieces.iter().map(|piece| piece.grain.name()).collect::<Vec<_>>())
            .bind(pieces.iter().map(|piece| Ts(piece.start)).collect::<Vec<_>>())
            .bind(query.grouping.property())
            .bind(query.account_id.map_or(WHOLE_LANE, AccountId::uuid))
            .fetch_all(self.connection())
            .await?;
        rows.iter().map(sum_from_row).collect()
    }

    /// The same for all accounts over whole buckets, read in their order: a page costs what it holds, not what a
    /// bucket holds. The first ones in `[from, to)` after a bucket and account in it, `limit` at most.
    pub async fn sums_of_accounts(
        &mut self,
        lane_id: LaneId,
        query: &SumsQuery,
        (from, to): (Timestamp, Timestamp),
        after: &(Timestamp, String),
        limit: usize,
    ) -> sqlx::Result<Vec<Sum>> {
        // Postgres begins to read the index at this place, whatever else is said of buckets.
        let (bucket, account) = if after.0 < from { (from, "") } else { (after.0, after.1.as_str()) };
        let rows = sqlx::query(
            "select bucket_start as bucket, account_id::text as key, sum(events)::bigint as events,
               sum(units)::text as units, sum(cost)::text as cost
             from usage_rollups
             where lane_id = $1 and property = '' and account_id <> '00000000-0000-0000-0000-000000000000' and grain = $2
               and bucket_start >= $3 and bucket_start < $4 and (bucket_start, account_id) > ($5, $6::text::uuid)
               and ($7::text is null or feature_key = $7)
             group by bucket_start, account_id order by bucket_start, account_id limit $8",
        )
        .bind(lane_id.0)
        .bind(query.bucket.name())
        .bind(Ts(from))
        .bind(Ts(to))
        .bind(Ts(bucket))
        .bind(if account.is_empty() { WHOLE_LANE.to_string() } else { account.to_owned() })
        .bind(query.feature_key.as_ref().map(FeatureKey::as_str))
        .bind(i64::try_from(limit).expect("limits are small"))
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(sum_from_row).collect()
    }

    /// Sums of the events with an `effective_at` in `[from, to)`, as they stand.
    pub async fn sums_of_events(
        &mut self,
        lane_id: LaneId,
        query: &SumsQuery,
        from: Timestamp,
        to: Timestamp,
    ) -> sqlx::Result<Vec<Sum>> {
        self.sums(
            sums_of_events!(
                "select account_id, feature_key, effective_at, properties, 1 as events, units, charged
                 from usage_events u where lane_id = $1 and effective_at >= $12 and effective_at < $13 and not exists (
                   select from usage_voids v where v.lane_id = $1 and v.usage_id = u.usage_id)"
            ),
            lane_id,
            query,
            (from, to),
            None,
        )
        .await
    }

    /// What was recorded and undone since `head`, of events with an `effective_at` in `[from, to)`.
    pub async fn sums_of_tail(
        &mut self,
        lane_id: LaneId,
        query: &SumsQuery,
        from: Timestamp,
        to: Timestamp,
        head: RollupHead,
    ) -> sqlx::Result<Vec<Sum>> {
        // The planner must go by the feed, which is short here, not by time: it sees both ends of the one (how far lanes
        // are differs too much for its statistics), and nothing of the other (`offset 0`).
        self.sums(
            sums_of_events!(
                "select account_id, feature_key, effective_at, properties, 1 as events, units, charged
                 from usage_events where lane_id = $1 and feed_seq > $14 and feed_seq <= $15
                 union all
                 select u.account_id, u.feature_key, u.effective_at, u.properties, -1, -u.units, -u.charged
                 from usage_voids v join usage_events u on u.lane_id = $1 and u.usage_id = v.usage_id
                 where v.lane_id = $1 and v.feed_seq > $14 and v.feed_seq <= $15 offset 0"
            ),
            lane_id,
            query,
            (from, to),
            Some(head),
        )
        .await
    }

    async fn sums(
        &mut self,
        sql: &'static str,
        lane_id: LaneId,
        query: &SumsQuery,
        (from, to): (Timestamp, Timestamp),
        head: Option<RollupHead>,
    ) -> sqlx::Result<Vec<Sum>> {
        let bound = sqlx::query(sql)
            .bind(lane_id.0)
            .bind(query.bucket.name())
            .bind(query.grouping.name())
            .bind(query.feature_key.as_ref().map(FeatureKey::as_str))
            .bind(Ts(query.after.0))
            .bind(&query.after.1)
            .bind(query.limit)
            .bind(query.grouping.property())
            .bind(query.environment_id.0)
            .bind(PROPERTY_VALUES_MAX)
            .bind(query.account_id.map(AccountId::uuid))
            .bind(Ts(from))
            .bind(Ts(to));
        let bound = match head {
            Some(head) => bound.bind(signed(head.rolled_to)).bind(signed(head.feed_seq)),
            None => bound,
        };
        let rows = bound.fetch_all(self.connection()).await?;
        rows.iter().map(sum_from_row).collect()
    }
}

fn sum_from_row(row: &PgRow) -> sqlx::Result<Sum> {
    let number = |column: &'static str| {
        let text: &str = row.try_get(column)?;
        text.parse().map_err(|error: std::num::ParseIntError| sqlx::Error::ColumnDecode {
            index: column.to_owned(),
            source: error.into(),
        })
    };
    Ok(Sum {
        bucket_start: row.try_get::<Ts, _>("bucket")?.0,
        key: row.try_get("key")?,
        events: row.try_get("events")?,
        units: number("units")?,
        cost: number("cost")?,
    })
}
