//! Subscriptions whose periods all end at one instant: the instant comes, and then whether each was advanced once.

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

/// How often the database is asked whether all is done.
const POLL: Duration = Duration::from_millis(20);
/// Longer than it may take on any machine that numbers are taken on.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The database; its login must be its owner.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: PgConnectOptions,
    /// The instant, RFC 3339.
    #[arg(long)]
    at: String,
}

/// How many are due.
#[derive(Serialize)]
pub(crate) struct Due {
    accounts: i64,
}

/// What the database holds of the instant.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Advanced {
    accounts: i64,
    grants: i64,
    updates: i64,
    /// Accounts with another number of either than one.
    otherwise: i64,
}

/// Has the instant come in every sandbox, as a server leaves it that is killed just after it has set the clock: time has
/// passed, and nothing of what is due is written.
pub(crate) fn set(args: &Args) -> anyhow::Result<Due> {
    run(args, async |connection, at| {
        sqlx::query(
            "update environments set clock_standing_at = $1::text::timestamptz, clock_ahead_micros = 0,
               catalogue_version = catalogue_version + 1 where environment = 'sandbox'",
        )
        .bind(at)
        .execute(&mut *connection)
        .await?;
        let due = "select count(*) from due where next_due <= $1::text::timestamptz";
        let accounts = sqlx::query_scalar(due).bind(at).fetch_one(connection).await?;
        Ok(Due { accounts })
    })
}

/// Waits until nothing is due at the instant any more, then counts.
pub(crate) fn wait(args: &Args) -> anyhow::Result<Advanced> {
    run(args, async |connection, at| {
        tokio::time::timeout(PATIENCE, wait_until_done(connection, at)).await.context("not all was done in time")??;
        count(connection, at).await
    })
}

fn run<Outcome>(
    args: &Args,
    work: impl AsyncFnOnce(&mut PgConnection, &str) -> anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut connection = args.database_url.connect().await?;
        work(&mut connection, &args.at).await
    })
}

async fn wait_until_done(connection: &mut PgConnection, at: &str) -> anyhow::Result<()> {
    // One look into the index of each lane.
    let left = "select exists (select from lanes l, lateral (
                  select from due d where d.lane_id = l.lane_id and d.next_due <= $1::text::timestamptz limit 1) as first)";
    while sqlx::query_scalar::<_, bool>(left).bind(at).fetch_one(&mut *connection).await? {
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn count(connection: &mut PgConnection, at: &str) -> anyhow::Result<Advanced> {
    let (accounts, grants, updates, otherwise) = sqlx::query_as(
        "with granted as (
           select account_id, count(*) as n from entries
           where kind = 'grant' and effective_at = $1::text::timestamptz group by 1
         ), updated as (
           select account_id, count(*) as n from events
           where type = 'subscription.updated' and occurred_at = $1::text::timestamptz group by 1
         )
         select count(*), coalesce(sum(g.n), 0)::bigint, coalesce(sum(u.n), 0)::bigint,
           count(*) filter (where g.n is distinct from 1 or u.n is distinct from 1)
         from accounts left join granted g using (account_id) left join updated u using (account_id)",
    )
    .bind(at)
    .fetch_one(connection)
    .await?;
    Ok(Advanced { accounts, grants, updates, otherwise })
}
