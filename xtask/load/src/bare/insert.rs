//! Batches of events as plain SQL, each one statement in a transaction of its own; one connection per lane. What is
//! sent is made before the clock starts.

use std::time::Instant;

use anyhow::Context;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use super::columns::{Columns, Lane};
use crate::crowd::{Crowd, Keys};
use crate::rate::Rate;

/// What the writer of a lane does to the tables, and nothing else: a row in two tables per event, and the row of each
/// account in three tables once per batch.
const BATCH: &str = "
  with usage as (
    insert into usage_events (lane_id, environment_id, account_id, key_hash, usage_id, idempotency_key, fingerprint,
      feature_key, units, properties, cost, charged, effective_at, recorded_at, seq, version, balance_after, reserved_after,
      debt_after, owed, priced_by, counter, reservation_id, feed_seq)
    select $1, $2, account_id, key_hash, usage_id, idempotency_key, fingerprint, feature_key, units, null, units, units, now(),
      now(), seq, seq, balance, 0, 0, 0, '{\"source\": \"feature\", \"rule\": null}', null, null, place
    from unnest($3::uuid[], $4::bytea[], $5::uuid[], $6::text[], $7::bytea[], $8::text[], $9::bigint[], $10::bigint[],
      $11::bigint[], $21::bigint[])
      as t (account_id, key_hash, usage_id, idempotency_key, fingerprint, feature_key, units, seq, balance, place)
  ), entry as (
    insert into entries (lane_id, environment_id, account_id, seq, kind, amount, balance_after, reserved_after, debt_after,
      allocations, granted, cause, cause_id, feature_key, units, effective_at, recorded_at, actor, hash, reservation_id,
      detail)
    select $1, $2, account_id, seq, 'usage', -units, balance, 0, 0, allocations::jsonb, null, 'usage', usage_id, feature_key,
      units, now(), now(), '00000000-0000-7000-a000-000000000000', hash, null, null
    from unnest($3::uuid[], $5::uuid[], $8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[], $13::bytea[])
      as t (account_id, usage_id, feature_key, units, seq, balance, allocations, hash)
  ), account as (
    update accounts a set seq = t.seq, version = t.seq, last_hash = t.hash, advanced_to = now(), balance = t.balance,
      lifetime_consumed = lifetime_granted - t.balance
    from unnest($14::uuid[], $15::bigint[], $16::bytea[], $17::bigint[]) as t (account_id, seq, hash, balance)
    where a.lane_id = $1 and a.account_id = t.account_id
  ), block as (
    update blocks b set remaining = t.balance
    from unnest($14::uuid[], $18::uuid[], $17::bigint[]) as t (account_id, block_id, balance)
    where b.lane_id = $1 and b.account_id = t.account_id and b.block_id = t.block_id
  ), place as (
    update feed f set feed_seq = t.feed_seq
    from unnest($14::uuid[], $19::bigint[]) as t (account_id, feed_seq)
    where f.lane_id = $1 and f.account_id = t.account_id
  )
  update lanes set feed_seq = $20, last_now = now() where lane_id = $1";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The database that was filled.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: PgConnectOptions,
    #[command(flatten)]
    crowd: Crowd,
    /// What is used, one unit an event.
    #[arg(long)]
    feature_key: String,
    /// How many batches.
    #[arg(long)]
    batches: u64,
    /// Events of a batch.
    #[arg(long, default_value_t = 1_000)]
    batch_events: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Rate> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(args))
}

async fn measure(args: &Args) -> anyhow::Result<Rate> {
    let mut lanes = Lane::read_all(&mut args.database_url.connect().await?).await?;
    let count = lanes.len() as u64;
    let keys = Keys::new();
    let all = args.batches * args.batch_events;
    let mut work = Vec::new();
    for (number, lane) in (0..).zip(&mut lanes) {
        let mut connection = args.database_url.connect().await?;
        let own = (0..all).map(|event| (event, args.crowd.of_event(event)));
        let own: Vec<_> = own.filter(|(_, account)| account % count == number).collect();
        // The first event has Postgres plan the statement and read what it needs.
        if let Some((_, account)) = own.first() {
            let first = Columns::new(lane, &[(all + number, *account)], keys, &args.feature_key);
            insert(&mut connection, lane, first).await?;
        }
        let size = usize::try_from(args.batch_events)?;
        let batches: Vec<Columns> =
            own.chunks(size).map(|events| Columns::new(lane, events, keys, &args.feature_key)).collect();
        work.push((connection, lane.clone(), batches));
    }
    let started = Instant::now();
    let tasks: Vec<_> = work
        .into_iter()
        .map(|(connection, lane, batches)| tokio::spawn(insert_all(connection, lane, batches)))
        .collect();
    for task in tasks {
        task.await.context("a lane's task panicked")??;
    }
    Ok(Rate::new(all, started.elapsed()))
}

async fn insert_all(mut connection: PgConnection, lane: Lane, batches: Vec<Columns>) -> sqlx::Result<()> {
    for batch in batches {
        insert(&mut connection, &lane, batch).await?;
    }
    Ok(())
}

async fn insert(connection: &mut PgConnection, lane: &Lane, batch: Columns) -> sqlx::Result<()> {
    sqlx::query(BATCH)
        .bind(lane.lane_id)
        .bind(lane.environment_id)
        .bind(batch.accounts)
        .bind(batch.key_hashes)
        .bind(batch.usage_ids)
        .bind(batch.keys)
        .bind(batch.fingerprints)
        .bind(batch.feature_keys)
        .bind(batch.units)
        .bind(batch.seqs)
        .bind(batch.balances)
        .bind(batch.allocations)
        .bind(batch.hashes)
        .bind(batch.changed.accounts)
        .bind(batch.changed.seqs)
        .bind(batch.changed.hashes)
        .bind(batch.changed.balances)
        .bind(batch.changed.blocks)
        .bind(batch.changed.places)
        .bind(batch.feed_seq)
        .bind(batch.places)
        .execute(connection)
        .await?;
    Ok(())
}
