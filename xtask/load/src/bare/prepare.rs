//! A database beside the server's. Between [`create`] and [`fill`] it is migrated, and gets a tenant for its lanes.

use serde::Serialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::columns::Lane;

#[derive(clap::Args)]
pub(crate) struct CreateArgs {
    /// A database of the Postgres to measure; its login must be allowed to create others.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: PgConnectOptions,
    /// The new database.
    #[arg(long)]
    name: String,
}

/// What was created.
#[derive(Serialize)]
pub(crate) struct Created {
    name: String,
}

pub(crate) fn create(args: CreateArgs) -> anyhow::Result<Created> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut connection = args.database_url.connect().await?;
        let name = args.name;
        anyhow::ensure!(!name.contains('"'), "a name without quotes");
        sqlx::raw_sql(AssertSqlSafe(format!("create database \"{name}\""))).execute(&mut connection).await?;
        connection.close().await?;
        Ok(Created { name })
    })
}

#[derive(clap::Args)]
pub(crate) struct FillArgs {
    /// The database to fill.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: PgConnectOptions,
    /// How many accounts, each with a block.
    #[arg(long)]
    end_users: i64,
}

/// The lanes of the accounts: number `n` is in lane `n` modulo their count.
#[derive(Serialize)]
pub(crate) struct Filled {
    environment_id: i64,
    lanes: Vec<i64>,
}

pub(crate) fn fill(args: &FillArgs) -> anyhow::Result<Filled> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut connection = args.database_url.connect().await?;
        let lanes = Lane::read_all(&mut connection).await?;
        let environment_id = lanes[0].environment_id;
        let lanes: Vec<i64> = lanes.iter().map(|lane| lane.lane_id).collect();
        for statement in [ACCOUNTS, BLOCKS, FEED] {
            let filling = sqlx::query(statement).bind(environment_id).bind(&lanes).bind(args.end_users);
            filling.execute(&mut connection).await?;
        }
        sqlx::raw_sql("vacuum analyze").execute(&mut connection).await?;
        connection.close().await?;
        Ok(Filled { environment_id, lanes })
    })
}

macro_rules! for_each_account {
    ($insert:literal, $columns:literal) => {
        concat!(
            $insert,
            " select ($2::bigint[])[1 + n % cardinality($2)], $1, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, ",
            $columns,
            " from generate_series(0, $3 - 1) n"
        )
    };
}

const ACCOUNTS: &str = for_each_account!(
    "insert into accounts (lane_id, environment_id, account_id, end_user_id, seq, version, last_hash, advanced_to, balance,
       reserved, debt, lifetime_granted, lifetime_consumed, debts)",
    "'user_' || n, 1, 1, decode(repeat('00', 32), 'hex'), now(), 1000000000, 0, 0, 1000000000, 0, '[]'"
);
const BLOCKS: &str = for_each_account!(
    "insert into blocks (lane_id, environment_id, account_id, block_id, granted_seq, granted_place, kind, priority, paid,
       settles_debt, effective_at, scope, original, expired, remaining, held, metadata, live)",
    "('00000000-0000-7000-9000-' || lpad(n::text, 12, '0'))::uuid, 1, 0, 'promo', 100, false, true, now(), '[]', 1000000000, 0,
       1000000000, 0, '{}', true"
);
const FEED: &str = for_each_account!("insert into feed (lane_id, environment_id, account_id, feed_seq)", "n + 1");
