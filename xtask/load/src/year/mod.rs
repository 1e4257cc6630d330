//! A year of usage in the server's own tables, and how its summaries are read. The events are inserted in plain SQL, as
//! the writers of the lanes would have: millions of them over REST would take a day.
//!
//! - `fill`: accounts that have credit get events
//! - `wait`: until the server's worker has added them up
//! - `question`: a summary as a request and as SQL
//! - `ask`: both, timed, and compared line by line
//! - `list`: the latest events, both ways

mod ask;
mod fill;
mod list;
mod question;
mod wait;

pub(crate) use ask::{Args as AskArgs, run as ask};
pub(crate) use fill::{Args as FillArgs, run as fill};
pub(crate) use list::{Args as ListArgs, run as list};
pub(crate) use wait::{Args as WaitArgs, run as wait};

use std::time::{Duration, Instant};

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(5);

/// Tells on stderr how far something is, how fast it goes, and how long it will take.
struct Progress {
    what: &'static str,
    total: u64,
    started: Instant,
    told: Instant,
}

impl Progress {
    fn new(what: &'static str, total: u64) -> Self {
        Self { what, total, started: Instant::now(), told: Instant::now() }
    }

    fn tell(&mut self, done: u64) {
        if self.told.elapsed() < PROGRESS {
            return;
        }
        self.told = Instant::now();
        let rate = (done / self.started.elapsed().as_secs().max(1)).max(1);
        let left = self.total.saturating_sub(done) / rate;
        eprintln!("{done} of {} events {}, {rate}/s, {left} s left", self.total, self.what);
    }
}
