//! A closed loop: each connection sends the same GET again as soon as its answer is there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use tokio::sync::Barrier;

use crate::connection::{Connection, Target};
use crate::latencies::{Summary, nanos, summarise};

/// Requests on each connection before the clock starts.
const WARM_UP_REQUESTS: usize = 200;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// `http://HOST:PORT` or `unix:PATH`.
    #[arg(long)]
    target: Target,
    /// Path and query to ask for.
    #[arg(long)]
    path: String,
    /// How many connections ask at the same time.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// How long to go on.
    #[arg(long, default_value_t = 2_000)]
    duration_ms: u64,
    /// Text that the answers of the warm-up must contain, so that nothing else is measured by mistake.
    #[arg(long)]
    expect: String,
}

/// What a closed loop says.
#[derive(Serialize)]
pub(crate) struct Answers {
    #[serde(flatten)]
    latencies: Summary,
    requests_per_second: u64,
}

impl Answers {
    /// Sums up the times of all answers that came while the loop ran.
    pub(crate) fn new(times: Vec<u64>, elapsed: Duration) -> anyhow::Result<Self> {
        let elapsed_ns = u128::from(nanos(elapsed)).max(1);
        let requests_per_second = u64::try_from(times.len() as u128 * 1_000_000_000 / elapsed_ns)?;
        let latencies = summarise(times).context("not one request was answered in time")?;
        Ok(Self { latencies, requests_per_second })
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<Answers> {
    // One thread: the client takes the same share of a small machine whatever it measures.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(Arc::new(args)))
}

async fn measure(args: Arc<Args>) -> anyhow::Result<Answers> {
    let start = Arc::new(Barrier::new(args.connections + 1));
    let tasks: Vec<_> =
        (0..args.connections).map(|_| tokio::spawn(one_connection(Arc::clone(&args), Arc::clone(&start)))).collect();
    start.wait().await;
    let started = Instant::now();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.context("a connection's task panicked")??);
    }
    Answers::new(times, started.elapsed())
}

async fn one_connection(args: Arc<Args>, start: Arc<Barrier>) -> anyhow::Result<Vec<u64>> {
    let warm = warm_up(&args).await;
    // Everybody comes to the start, also who has failed: the others would wait for ever.
    start.wait().await;
    let mut connection = warm?;
    let end = Instant::now() + Duration::from_millis(args.duration_ms);
    let mut times = Vec::new();
    loop {
        let asked = Instant::now();
        if asked >= end {
            return Ok(times);
        }
        connection.get(&args.path).await?;
        times.push(nanos(asked.elapsed()));
    }
}

async fn warm_up(args: &Args) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(&args.target).await?;
    for _ in 0..WARM_UP_REQUESTS {
        let answer = connection.get(&args.path).await?;
        let answer = String::from_utf8_lossy(&answer);
        anyhow::ensure!(answer.contains(&args.expect), "the answer lacks {:?}: {answer}", args.expect);
    }
    Ok(connection)
}
