//! One request for every end user of a crowd, many under way at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use serde_json::Value;

use crate::connection::{Connection, Target};
use crate::crowd::Crowd;
use crate::rate::Rate;

/// Requests under way: enough for the server to write many at once.
const CONNECTIONS: usize = 64;

/// To whom it goes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The server's URL.
    #[arg(long)]
    server: Target,
    /// A key that may do it.
    #[arg(long, env = "QUOTASTACK_API_KEY", hide_env_values = true)]
    key: String,
    #[command(flatten)]
    crowd: Crowd,
}

/// Something to be created, given the end user's id.
type Body = Box<dyn Fn(String) -> Value + Send + Sync>;

struct Work {
    args: Args,
    path: &'static str,
    body: Body,
    next: AtomicU64,
}

/// Creates one for each.
pub(crate) fn create(args: Args, path: &'static str, body: Body) -> anyhow::Result<Rate> {
    let work = Arc::new(Work { args, path, body, next: AtomicU64::new(0) });
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(create_all(work))
}

async fn create_all(work: Arc<Work>) -> anyhow::Result<Rate> {
    let started = Instant::now();
    let tasks: Vec<_> = (0..CONNECTIONS).map(|_| tokio::spawn(one_connection(Arc::clone(&work)))).collect();
    for task in tasks {
        task.await.context("a connection's task panicked")??;
    }
    Ok(Rate::new(work.args.crowd.end_users, started.elapsed()))
}

async fn one_connection(work: Arc<Work>) -> anyhow::Result<()> {
    let Args { server, key, crowd } = &work.args;
    let mut connection = Connection::open(server).await?;
    loop {
        let number = work.next.fetch_add(1, Ordering::Relaxed);
        if number >= crowd.end_users {
            return Ok(());
        }
        connection.create(work.path, key, (work.body)(crowd.id(number)).to_string()).await?;
    }
}
