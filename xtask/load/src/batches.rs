//! Usage in batches over REST: several connections, each sending its next batch as soon as its last one is answered.
//! The bodies are made before the clock starts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use parking_lot::Mutex;
use serde::Serialize;

use crate::connection::{Connection, Target};
use crate::crowd::{Crowd, Keys};
use crate::rate::Rate;

const PATH: &str = "/v1/usage/batch";

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
    /// How many batches.
    #[arg(long)]
    batches: u64,
    /// Events of a batch.
    #[arg(long, default_value_t = 1_000)]
    batch_events: u64,
    /// How many batches are under way at a time.
    #[arg(long, default_value_t = 8)]
    connections: usize,
}

#[derive(Serialize)]
struct Event<'a> {
    end_user_id: String,
    feature_key: &'a str,
    units: u64,
    idempotency_key: String,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Rate> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(Arc::new(args)))
}

async fn measure(args: Arc<Args>) -> anyhow::Result<Rate> {
    let keys = Keys::new();
    let body = |batch| body(&args, keys, batch);
    let bodies: VecDeque<String> = (1..=args.batches).map(body).collect::<Result<_, _>>()?;
    let mut connections = Vec::new();
    for _ in 0..args.connections {
        connections.push(Connection::open(&args.server).await?);
    }
    // The first batch has the server read and prepare what it needs.
    send(&mut connections[0], &args, body(0)?).await?;
    let bodies = Arc::new(Mutex::new(bodies));
    let started = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|connection| tokio::spawn(send_all(connection, Arc::clone(&args), Arc::clone(&bodies))))
        .collect();
    for task in tasks {
        task.await.context("a connection's task panicked")??;
    }
    Ok(Rate::new(args.batches * args.batch_events, started.elapsed()))
}

async fn send_all(
    mut connection: Connection,
    args: Arc<Args>,
    bodies: Arc<Mutex<VecDeque<String>>>,
) -> anyhow::Result<()> {
    loop {
        let Some(body) = bodies.lock().pop_front() else { return Ok(()) };
        send(&mut connection, &args, body).await?;
    }
}

async fn send(connection: &mut Connection, args: &Args, body: String) -> anyhow::Result<()> {
    let answer = connection.record(PATH, &args.key, body).await?;
    let recorded = String::from_utf8_lossy(&answer).matches(r#""status":"recorded""#).count();
    anyhow::ensure!(recorded as u64 == args.batch_events, "{recorded} of {} events were recorded", args.batch_events);
    Ok(())
}

fn body(args: &Args, keys: Keys, batch: u64) -> serde_json::Result<String> {
    let first = batch * args.batch_events;
    let events = (first..first + args.batch_events).map(|event| Event {
        end_user_id: args.crowd.id(args.crowd.of_event(event)),
        feature_key: &args.feature_key,
        units: 1,
        idempotency_key: keys.of_event(event),
    });
    serde_json::to_string(&serde_json::json!({ "events": events.collect::<Vec<_>>() }))
}
