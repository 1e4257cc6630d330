//! How often, for how long, and with what knowledge a transaction is run again.
//!
//! Whoever writes locks a row first. An earlier run whose COMMIT went unanswered holds that lock until it is decided,
//! so with the lock in hand there is no doubt left: what was committed can be seen.

use std::io;
use std::time::{Duration, Instant};

use crate::app::clock;

/// How often a transaction is run while the database is away or contended.
const RUNS_MAX: u32 = 12;
/// The longest pause between two runs.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// How long one run may take. Statements have limits of their own; a connection that went silent has none.
const RUN_MAX: Duration = Duration::from_secs(10);

/// The runs of one transaction.
#[derive(Debug)]
pub struct Runs {
    failed: u32,
    deadline: Instant,
    in_doubt: bool,
}

impl Runs {
    /// None begins after `deadline`, but for the first.
    pub const fn until(deadline: Instant) -> Self {
        Self { failed: 0, deadline, in_doubt: false }
    }

    /// The lock is held: it is to be seen what earlier runs have done.
    pub const fn locked(&mut self) {
        self.in_doubt = false;
    }

    /// COMMIT is about to be sent.
    pub const fn committing(&mut self) {
        self.in_doubt = true;
    }

    /// Whether a run may have committed without an answer.
    pub const fn in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Waits before the next run; `false` if there is none any more.
    pub async fn again(&mut self) -> bool {
        self.failed += 1;
        if self.failed == RUNS_MAX || Instant::now() >= self.deadline {
            return false;
        }
        tokio::time::sleep(backoff(self.failed)).await;
        true
    }
}

/// A run, within the time that one may take. Beyond it, it is dropped with its connection.
pub async fn in_time<T, E: From<sqlx::Error>>(run: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let silent = |_| Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the database went silent")).into());
    tokio::time::timeout(RUN_MAX, run).await.unwrap_or_else(silent)
}

/// Doubling from 2 ms, with full jitter.
fn backoff(failed: u32) -> Duration {
    let ceiling = BACKOFF_MAX.min(Duration::from_millis(1) * 2u32.pow(failed.min(10)));
    ceiling * u32::from(u8::from_be_bytes(clock::random())) / 255
}
