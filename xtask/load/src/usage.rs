//! Single usage events over REST in a closed loop: each connection records the next one as soon as the last one is
//! answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;
use tokio::sync::Barrier;

use crate::checks::Answers;
use crate::connection::{Connection, Target};
use crate::crowd::{Crowd, Keys};
use crate::latencies::nanos;

/// Events on each connection before the clock starts.
const WARM_UP_EVENTS: u64 = 20;
/// Numbers apart the events of two connections, further than one gets in any run.
const EVENTS_APART: u64 = 1 << 40;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The server's URL.
    #[arg(long)]
    server: Target,
    /// A key that may record usage.
    #[arg(long, env = "QUOTASTACK_API_KEY", hide_env_values = true)]
    key: String,
    #[command(flatten)]
    crowd: Crowd,
    /// What is used, one unit an event.
    #[arg(long)]
    feature_key: String,
    /// How many connections record at the same time.
    #[arg(long, default_value_t = 1)]
    connections: u64,
    /// How long to go on.
    #[arg(long, default_value_t = 2_000)]
    duration_ms: u64,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Answers> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(Arc::new(args)))
}

async fn measure(args: Arc<Args>) -> anyhow::Result<Answers> {
    let keys = Keys::new();
    let start = Arc::new(Barrier::new(usize::try_from(args.connections)? + 1));
    let tasks: Vec<_> = (0..args.connections)
        .map(|number| tokio::spawn(one_connection(Arc::clone(&args), keys, number, Arc::clone(&start))))
        .collect();
    start.wait().await;
    let started = Instant::now();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.context("a connection's task panicked")??);
    }
    Answers::new(times, started.elapsed())
}

async fn one_connection(args: Arc<Args>, keys: Keys, number: u64, start: Arc<Barrier>) -> anyhow::Result<Vec<u64>> {
    let mut events = number * EVENTS_APART..;
    let warm = async {
        let mut connection = Connection::open(&args.server).await?;
        for event in events.by_ref().take(usize::try_from(WARM_UP_EVENTS)?) {
            record(&mut connection, &args, keys, event).await?;
        }
        anyhow::Ok(connection)
    };
    let warm = warm.await;
    // Everybody comes to the start, also who has failed: the others would wait for ever.
    start.wait().await;
    let mut connection = warm?;
    let end = Instant::now() + Duration::from_millis(args.duration_ms);
    let mut times = Vec::new();
    for event in events {
        let asked = Instant::now();
        if asked >= end {
            break;
        }
        record(&mut connection, &args, keys, event).await?;
        times.push(nanos(asked.elapsed()));
    }
    Ok(times)
}

async fn record(connection: &mut Connection, args: &Args, keys: Keys, event: u64) -> anyhow::Result<()> {
    let body = json!({
        "end_user_id": args.crowd.id(args.crowd.of_event(event)),
        "feature_key": args.feature_key,
        "units": 1,
        "idempotency_key": keys.of_event(event),
    });
    connection.record("/v1/usage", &args.key, body.to_string()).await?;
    Ok(())
}
