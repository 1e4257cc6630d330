//! Writes down what time has done to accounts that nobody touches, so that it is announced in time.
//!
//! A round looks for lanes with something due, of all tenants, and takes them one after the other, each under a lease,
//! so that several servers share the work. A killed server's lane waits for its lease to end; whatever was missed is
//! caught up in order. Nobody is denied anything because this is behind. Source: docs/ledger.md, "Written in time".

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use quotastack_core::ids::AccountId;
use quotastack_core::time::Timestamp;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::due::PAGE_LANES;
use crate::app::error::AppError;
use crate::app::{App, clock};
use crate::store::due::DueLane;

/// How long a lane is another server's no longer, if its holder is killed.
const LEASE: Duration = Duration::from_secs(10);
/// How long one lane is worked on before the next one has its turn; the last page of a turn ends well within the lease.
const TURN_MAX: Duration = Duration::from_secs(4);
/// How long accounts rest that cannot be written.
const REST: Duration = Duration::from_secs(60);
/// How many of them are remembered; more are tried again in every round.
const RESTING_MAX: usize = 10_000;

/// Runs rounds until it is told to stop, with a pause of `interval` after each that left nothing.
pub async fn run(app: Arc<App>, interval: Duration, stop: CancellationToken) {
    let mut worker = DueWorker::new(app, stop.clone());
    let mut failing = false;
    loop {
        let pause = match worker.round().await {
            Ok(is_done) => {
                if failing {
                    tracing::info!("what is due is written again");
                }
                failing = false;
                if is_done { interval } else { Duration::ZERO }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "what is due cannot be written; trying again");
                }
                failing = true;
                interval
            }
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// One worker's memory between rounds.
#[derive(Debug)]
pub struct DueWorker {
    app: Arc<App>,
    stop: CancellationToken,
    /// Names this worker in leases.
    holder: Uuid,
    /// Accounts that cannot be written. They hold up nobody else.
    resting: HashSet<AccountId>,
    /// When they are all tried again.
    rest_ends: Instant,
}

impl DueWorker {
    /// A worker that begins no page once `stop` is cancelled.
    pub fn new(app: Arc<App>, stop: CancellationToken) -> Self {
        Self {
            app,
            stop,
            holder: Uuid::from_bytes(clock::random()),
            resting: HashSet::new(),
            rest_ends: Instant::now(),
        }
    }

    /// Gives every lane with something due a turn. False if one of them needs another. What fails in one lane does not
    /// hold up the others; the first error is told.
    pub async fn round(&mut self) -> Result<bool, AppError> {
        if self.rest_ends <= Instant::now() {
            self.resting.clear();
        }
        let (mut is_done, mut lanes, mut behind, mut first_error) = (true, 0, 0, None);
        let mut after = None;
        loop {
            let page = self.app.due_lanes(after).await?;
            for lane in &page {
                lanes += 1;
                behind = behind.max(lane.present.micros_since(lane.next_due));
                if self.stop.is_cancelled() {
                    return Ok(is_done);
                }
                match self.turn(lane).await {
                    Ok(lane_is_done) => is_done &= lane_is_done,
                    Err(error) => {
                        first_error.get_or_insert(error);
                    }
                }
            }
            after = page.last().map(|lane| lane.lane_id);
            if page.len() < PAGE_LANES {
                break;
            }
        }
        gauge!("quotastack_due_lanes").set(f64::from(lanes));
        gauge!("quotastack_due_behind_seconds").set(length(behind));
        first_error.map_or(Ok(is_done), Err)
    }

    /// Works on one lane, if no other server does; false if there is more to do.
    async fn turn(&mut self, lane: &DueLane) -> Result<bool, AppError> {
        let Some(environment) = self.app.lease_due_lane(lane, self.holder, LEASE).await? else { return Ok(true) };
        let ends = Instant::now() + TURN_MAX;
        let mut after = None;
        let outcome = loop {
            let page = self.app.write_due_page(&environment, lane.number, lane.present, after, &self.resting).await;
            let page = match page {
                Ok(page) => page,
                Err(error) => break Err(error),
            };
            note(&page.written, lane.present);
            self.rest(&page.failed);
            if page.next.is_none() {
                break Ok(true);
            }
            if self.stop.is_cancelled() || Instant::now() > ends {
                break Ok(false);
            }
            after = page.next;
        };
        self.app.release_due_lane(lane, self.holder).await?;
        outcome
    }

    fn rest(&mut self, failed: &[AccountId]) {
        if failed.is_empty() {
            return;
        }
        counter!("quotastack_due_failed_total").increment(failed.len() as u64);
        if self.resting.is_empty() {
            self.rest_ends = Instant::now() + REST;
            tracing::error!(
                accounts = failed.len(),
                "what is due in some accounts cannot be written; trying again in a minute"
            );
        }
        self.resting.extend(failed.iter().take(RESTING_MAX.saturating_sub(self.resting.len())));
    }
}

fn note(written: &[Timestamp], present: Timestamp) {
    counter!("quotastack_due_accounts_total").increment(written.len() as u64);
    for due in written {
        histogram!("quotastack_due_lag_seconds").record(length(present.micros_since(*due)));
    }
}

fn length(micros: i64) -> Duration {
    Duration::from_micros(micros.max(0).unsigned_abs())
}
