//! Events of the last twelve calendar months, evenly spread over the accounts of the live environment, in the order of
//! their `effective_at`, each recorded when it happened. What the writer of a lane would have left: an event and its
//! entry, places in the feed, and accounts that agree with them.

use std::time::Instant;

use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection, Row};

use super::Progress;
use crate::rate::Rate;

/// Events inserted in one statement.
const PAGE: i64 = 50_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The server's database; its login must be its owner.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: PgConnectOptions,
    /// How many events.
    #[arg(long)]
    events: i64,
    /// Over how many features, `feature_0` and so on.
    #[arg(long)]
    features: i64,
    /// Over how many values of the property `model`, `m0` and so on.
    #[arg(long)]
    models: i64,
}

/// What was inserted, and ranges of time with usage in them, as RFC 3339.
#[derive(Serialize)]
pub(crate) struct Filled {
    #[serde(flatten)]
    rate: Rate,
    year: [String; 2],
    /// A calendar month of it.
    month: [String; 2],
    /// A day of that.
    day: [String; 2],
    /// Most of the year, with ends that no hour begins at.
    ragged: [String; 2],
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Filled> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut connection = args.database_url.connect().await?;
        sqlx::raw_sql(WHO).execute(&mut connection).await?;
        let started = Instant::now();
        let mut progress = Progress::new("inserted", args.events.cast_unsigned());
        for first in (0..args.events).step_by(usize::try_from(PAGE)?) {
            insert(&mut connection, args, first).await?;
            progress.tell((first + PAGE).min(args.events).cast_unsigned());
        }
        let rate = Rate::new(args.events.cast_unsigned(), started.elapsed());
        // Everything in its place before the lanes move, and with that the server's worker. What autovacuum would come to
        // do, it would do in the middle of the measurement.
        for statement in ACCOUNTS {
            sqlx::raw_sql(statement).execute(&mut connection).await?;
        }
        sqlx::raw_sql(MOVE_LANES).execute(&mut connection).await?;
        let row = sqlx::query(RANGES).fetch_one(&mut connection).await?;
        let range = |index: usize| -> sqlx::Result<_> { Ok([row.try_get(index)?, row.try_get(index + 1)?]) };
        Ok(Filled { rate, year: range(0)?, month: range(2)?, day: range(4)?, ragged: range(6)? })
    })
}

async fn insert(connection: &mut PgConnection, args: &Args, first: i64) -> sqlx::Result<()> {
    let bind = |sql| sqlx::query(sql).bind(first).bind((first + PAGE).min(args.events));
    bind(PAGE_OF_EVENTS).bind(args.events).bind(args.features).bind(args.models).execute(&mut *connection).await?;
    sqlx::raw_sql(INSERT).execute(connection).await?;
    Ok(())
}

/// Who records usage, and how far they and their lanes are.
const WHO: &str = "
  set synchronous_commit = off;
  create temporary table who as
    select row_number() over (order by account_id) - 1 as number, lane_id, environment_id, account_id, seq, balance,
      null::bigint as feed_seq, null::bytea as hash, lifetime_consumed as consumed
    from accounts join environments using (environment_id) where environment = 'live';
  alter table who add primary key (number);
  create temporary table lane_heads as
    select lane_id, feed_seq from lanes join environments using (environment_id) where environment = 'live';
  create temporary table page (lane_id bigint, environment_id bigint, account_id uuid, usage_id uuid, feature_key text,
    units bigint, properties jsonb, at timestamptz, seq bigint, balance bigint, feed_seq bigint, hash bytea);
  analyze who, lane_heads";

/// Events `[$1, $2)` of $3: who, of which of $4 features, of which of $5 models, when, and where in account and lane.
const PAGE_OF_EVENTS: &str = "
  insert into page
  with event as (
    select n, mod(hashint8extended(n, 1) & 9223372036854775807, (select count(*) from who)) as number,
      mod(hashint8extended(n, 2) & 9223372036854775807, $4) as feature,
      mod(hashint8extended(n, 3) & 9223372036854775807, $5) as model,
      1 + mod(hashint8extended(n, 4) & 9223372036854775807, 9) as units,
      since + n * microseconds * interval '1 microsecond' as at
    from generate_series($1, $2 - 1) as n, lateral (
      select until - interval '1 year' as since, (extract(epoch from interval '365 days') * 1000000)::bigint / $3 as microseconds
      from (select date_trunc('month', now(), 'UTC') as until) as months) as range
  )
  select w.lane_id, w.environment_id, w.account_id,
    (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
      || substr(md5(n::text), 4, 15))::uuid,
    'feature_' || feature, units, jsonb_build_object('model', 'm' || model), at,
    w.seq + row_number() over account, w.balance - sum(units) over account,
    h.feed_seq + row_number() over (partition by w.lane_id order by n), decode(md5(n::text) || md5('e' || n), 'hex')
  from event join who w using (number) join lane_heads h using (lane_id)
  window account as (partition by w.account_id order by n)";

/// The page, and how far everybody is with it.
const INSERT: &str = "
  insert into usage_events (lane_id, environment_id, account_id, key_hash, usage_id, idempotency_key, fingerprint, feature_key,
    units, properties, cost, charged, effective_at, recorded_at, seq, version, balance_after, reserved_after, debt_after, owed,
    priced_by, counter, reservation_id, feed_seq)
  select lane_id, environment_id, account_id, substr(hash, 1, 16), usage_id, usage_id::text, substr(hash, 17, 16), feature_key,
    units, properties, units, units, at, at, seq, seq, balance, 0, 0, 0, '{\"source\": \"feature\", \"rule\": null}', null, null,
    feed_seq
  from page order by lane_id, feed_seq;
  insert into entries (lane_id, environment_id, account_id, seq, kind, amount, balance_after, reserved_after, debt_after,
    allocations, granted, cause, cause_id, feature_key, units, effective_at, recorded_at, actor, hash, reservation_id, detail)
  select lane_id, environment_id, account_id, seq, 'usage', -units, balance, 0, 0,
    jsonb_build_array(jsonb_build_array('blk_00000000000000000000000000', -units)), null, 'usage', usage_id, feature_key, units,
    at, at, '00000000-0000-7000-a000-000000000000', hash, null, null
  from page order by lane_id, feed_seq;
  update who w set seq = p.seq, balance = p.balance, feed_seq = p.feed_seq, hash = p.hash, consumed = w.consumed + w.balance - p.balance
    from (select distinct on (account_id) * from page order by account_id, seq desc) as p where w.account_id = p.account_id;
  update lane_heads h set feed_seq = p.feed_seq
    from (select lane_id, max(feed_seq) as feed_seq from page group by 1) as p where h.lane_id = p.lane_id;
  truncate page";

/// Accounts, blocks and places as their last events left them, and what Postgres knows of the tables.
const ACCOUNTS: [&str; 4] = [
    "update blocks b set remaining = w.balance from who w where b.lane_id = w.lane_id and b.account_id = w.account_id",
    "update accounts a set seq = w.seq, version = w.seq, last_hash = w.hash, balance = w.balance, lifetime_consumed = w.consumed
       from who w where a.lane_id = w.lane_id and a.account_id = w.account_id and w.feed_seq is not null",
    "update feed f set feed_seq = w.feed_seq
       from who w where f.lane_id = w.lane_id and f.account_id = w.account_id and w.feed_seq is not null",
    "vacuum analyze accounts, blocks, feed, usage_events, entries",
];

const MOVE_LANES: &str = "update lanes l set feed_seq = h.feed_seq from lane_heads h where l.lane_id = h.lane_id";

const RANGES: &str = r#"
  select to_char(a at time zone 'UTC', format), to_char(b at time zone 'UTC', format),
    to_char(month at time zone 'UTC', format), to_char((month + interval '1 month') at time zone 'UTC', format),
    to_char(day at time zone 'UTC', format), to_char((day + interval '1 day') at time zone 'UTC', format),
    to_char((a + crumb) at time zone 'UTC', format), to_char((b - crumb) at time zone 'UTC', format)
  from (select a, b, a + interval '5 months' as month, a + interval '5 months 14 days' as day,
      interval '3 days 7 hours 17 minutes 23.456789 seconds' as crumb, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"' as format
    from (select date_trunc('month', now(), 'UTC') - interval '1 year' as a, date_trunc('month', now(), 'UTC') as b) as year) as ranges"#;
