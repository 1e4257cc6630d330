//! Waits until the server's worker has added up what was recorded.

use std::time::{Duration, Instant};

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use super::Progress;
use crate::rate::Rate;

/// How often the heads are looked at.
const POLL: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The server's database; its login must be its owner.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: PgConnectOptions,
    /// How many events there are to add up.
    #[arg(long)]
    events: u64,
}

/// From the first look on; a place of the feed is one event here.
pub(crate) fn run(args: &Args) -> anyhow::Result<Rate> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut connection = args.database_url.connect().await?;
        let started = Instant::now();
        let mut progress = Progress::new("added up", args.events);
        loop {
            let left: i64 = sqlx::query_scalar(
                "select sum(l.feed_seq - coalesce(h.rolled_to, 0))::bigint
                 from lanes l left join usage_rollup_heads h using (lane_id)",
            )
            .fetch_one(&mut connection)
            .await?;
            if left == 0 {
                break;
            }
            progress.tell(args.events.saturating_sub(left.cast_unsigned()));
            tokio::time::sleep(POLL).await;
        }
        let rate = Rate::new(args.events, started.elapsed());
        // What autovacuum would come to do, it would do in the middle of the measurement.
        sqlx::raw_sql("vacuum analyze usage_rollups").execute(&mut connection).await?;
        Ok(rate)
    })
}
