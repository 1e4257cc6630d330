//! Gives every end user of a crowd credit, over REST: an account with one block for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use serde_json::json;

use crate::connection::{Connection, Target};
use crate::crowd::Crowd;
use crate::rate::Rate;

/// Requests under way: enough for the server to write many at once.
const CONNECTIONS: usize = 64;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The server's URL.
    #[arg(long)]
    server: Target,
    /// A key that may grant.
    #[arg(long, env = "QUOTASTACK_API_KEY", hide_env_values = true)]
    key: String,
    #[command(flatten)]
    crowd: Crowd,
    /// What each gets.
    #[arg(long, default_value_t = 1_000_000_000)]
    amount: u64,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Rate> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(seed(Arc::new(args)))
}

async fn seed(args: Arc<Args>) -> anyhow::Result<Rate> {
    let started = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> =
        (0..CONNECTIONS).map(|_| tokio::spawn(grant_each(Arc::clone(&args), Arc::clone(&next)))).collect();
    for task in tasks {
        task.await.context("a connection's task panicked")??;
    }
    Ok(Rate::new(args.crowd.end_users, started.elapsed()))
}

async fn grant_each(args: Arc<Args>, next: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut connection = Connection::open(&args.server).await?;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= args.crowd.end_users {
            return Ok(());
        }
        let grant = json!({ "end_user_id": args.crowd.id(number), "amount": args.amount });
        connection.create("/v1/credits/grants", &args.key, grant.to_string()).await?;
    }
}
