//! A summary over REST, beside the aggregate in SQL that it stands for: how long each takes, and that they agree.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use super::question::{Lines, Question};
use crate::connection::{Connection, Target};
use crate::latencies::{Summary, nanos, summarise};

/// Requests before the clock starts.
const WARM_UP_REQUESTS: usize = 3;

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
    #[command(flatten)]
    question: Question,
    #[command(flatten)]
    repeat: Repeat,
}

/// How often the same request is sent, one after the other.
#[derive(clap::Args, Clone, Copy)]
pub(super) struct Repeat {
    /// This often,
    #[arg(long, default_value_t = 200)]
    repetitions: usize,
    /// or, where that takes longer than so many seconds, until then.
    #[arg(long, default_value_t = 20)]
    seconds_max: u64,
}

/// What was measured of one question.
#[derive(Serialize)]
pub(crate) struct Asked {
    /// Of the first page.
    #[serde(flatten)]
    latencies: Summary,
    /// Lines of all pages.
    lines: usize,
    pages: usize,
    /// How long the aggregate over the events took, once.
    plain_ns: u64,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Asked> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut connection = Connection::open(&args.server).await?;
        let latencies = args.repeat.time(&mut connection, &args.key, &args.question.path(None)).await?;
        let (told, pages) = walk(&mut connection, args).await?;
        let mut database = args.database_url.connect().await?;
        let started = Instant::now();
        let added_up = args.question.add_up(&mut database).await?;
        let plain_ns = nanos(started.elapsed());
        anyhow::ensure!(
            !added_up.is_empty() || args.question.end_user_id.is_some(),
            "there are no events in the range"
        );
        compare(&told, &added_up)?;
        Ok(Asked { latencies, lines: told.len(), pages, plain_ns })
    })
}

impl Repeat {
    /// Times the same request over and over.
    pub(super) async fn time(self, connection: &mut Connection, key: &str, path: &str) -> anyhow::Result<Summary> {
        for _ in 0..WARM_UP_REQUESTS {
            connection.read(path, key).await?;
        }
        let (end, mut times) = (Instant::now() + Duration::from_secs(self.seconds_max), Vec::new());
        while times.len() < self.repetitions && (times.is_empty() || Instant::now() < end) {
            let asked = Instant::now();
            connection.read(path, key).await?;
            times.push(nanos(asked.elapsed()));
        }
        summarise(times).context("at least one repetition")
    }
}

/// All pages.
async fn walk(connection: &mut Connection, args: &Args) -> anyhow::Result<(Lines, usize)> {
    let (mut lines, mut pages, mut cursor) = (Lines::new(), 0, None);
    loop {
        let answer = connection.read(&args.question.path(cursor.as_deref()), &args.key).await?;
        pages += 1;
        cursor = args.question.read(&answer, &mut lines)?;
        if cursor.is_none() {
            return Ok((lines, pages));
        }
    }
}

/// An error that shows the first line that is not the same.
fn compare(told: &Lines, added_up: &Lines) -> anyhow::Result<()> {
    let places = told.keys().chain(added_up.keys());
    for place in places {
        let (told, added_up) = (told.get(place), added_up.get(place));
        anyhow::ensure!(told == added_up, "the summary says {told:?} of {place:?}, the events {added_up:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_wrong_or_missing_on_either_side_is_found() {
        let lines = |sums: &[(&str, i64)]| -> Lines {
            sums.iter().map(|(key, events)| (("2026-01-01".to_owned(), (*key).to_owned()), [*events, 2, 3])).collect()
        };
        let right = lines(&[("a", 1), ("b", 1)]);
        compare(&right, &right).unwrap();
        for wrong in [lines(&[("a", 1)]), lines(&[("a", 1), ("b", 2)]), lines(&[("a", 1), ("b", 1), ("c", 1)])] {
            assert!(compare(&wrong, &right).is_err() && compare(&right, &wrong).is_err());
        }
    }
}
