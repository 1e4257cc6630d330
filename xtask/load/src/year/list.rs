//! The latest events of everybody or of one end user: a page over REST, beside the same rows in SQL.

use std::time::Instant;

use anyhow::Context;
use quotastack_core::ids::UsageId;
use serde::Serialize;
use serde_json::Value;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use super::ask::Repeat;
use crate::connection::{Connection, Target};
use crate::latencies::{Summary, nanos};

/// Events of a page.
const PAGE: i64 = 100;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The server's URL.
    #[arg(long)]
    server: Target,
    /// A key that may read usage.
    #[arg(long, env = "QUOTASTACK_API_KEY", hide_env_values = true)]
    key: String,
    /// The server's database; its login must be its owner.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: PgConnectOptions,
    /// Of this end user only.
    #[arg(long)]
    end_user_id: Option<String>,
    #[command(flatten)]
    repeat: Repeat,
}

/// What was measured.
#[derive(Serialize)]
pub(crate) struct Listed {
    #[serde(flatten)]
    latencies: Summary,
    /// Events of the page.
    lines: usize,
    pages: usize,
    /// How long the same rows took in SQL, once.
    plain_ns: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Listed> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut path = format!("/v1/usage?limit={PAGE}");
        path.extend(args.end_user_id.iter().map(|id| format!("&end_user_id={id}")));
        let mut connection = Connection::open(&args.server).await?;
        let latencies = args.repeat.time(&mut connection, &args.key, &path).await?;
        let told = ids(&connection.read(&path, &args.key).await?)?;
        let mut database = args.database_url.connect().await?;
        let started = Instant::now();
        let latest: Vec<Uuid> = sqlx::query_scalar(
            "select usage_id from usage_events join accounts using (lane_id, account_id)
             where $1::text is null or end_user_id = $1 order by usage_events.recorded_at desc limit $2",
        )
        .bind(&args.end_user_id)
        .bind(PAGE)
        .fetch_all(&mut database)
        .await?;
        let plain_ns = nanos(started.elapsed());
        let latest: Vec<String> = latest.into_iter().map(|id| UsageId::from_uuid(id).to_string()).collect();
        anyhow::ensure!(
            !told.is_empty() && told == latest,
            "the page names {told:?}, the latest events are {latest:?}"
        );
        Ok(Listed { latencies, lines: told.len(), pages: 1, plain_ns })
    })
}

fn ids(answer: &[u8]) -> anyhow::Result<Vec<String>> {
    let answer: Value = serde_json::from_slice(answer)?;
    let data = answer["data"].as_array().context("no events in the answer")?;
    data.iter().map(|event| event["id"].as_str().map(str::to_owned).context("an event without an id")).collect()
}
