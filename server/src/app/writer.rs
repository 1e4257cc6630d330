//! Group commit: the writer of a lane runs the commands that wait as one transaction.
//!
//! Whatever changes an account goes through here, over REST or from a sidecar. A busy lane gets bigger batches, not
//! longer queues. The transaction can be run again after any failure, also when the answer to COMMIT was lost:
//! every command carries its identity and is found by it. A batch that fails for another reason is halved until the
//! culprit is alone. Source: docs/architecture.md, "How a write goes".

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use metrics::{counter, histogram};
use quotastack_core::ids::EndUserId;
use quotastack_core::limits::BATCH_EVENTS_MAX;
use quotastack_core::state::AccountState;
use quotastack_core::time::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::app::clock;
use crate::app::decide::{Decided, Decisions, Submission, decide};
use crate::app::environment::EnvironmentHandle;
use crate::app::error::AppError;
use crate::app::needs;
use crate::app::residents::Residents;
use crate::app::retry::{Runs, in_time};
use crate::fault::{self, Point};
use crate::store::batch::BatchPlace;
use crate::store::lanes::LockedLane;
use crate::store::tx::{Kept, Store, Tx, is_retryable, is_too_long};
use crate::store::types::LaneId;

/// Jobs that wait for one lane.
const QUEUE_MAX: usize = 4_096;
/// Commands in one transaction, but for a job that has more by itself.
const BATCH_COMMANDS_MAX: usize = BATCH_EVENTS_MAX;
/// How long a connection is kept for a next batch.
const CONNECTION_KEPT: Duration = Duration::from_millis(100);
/// How long accounts are kept at hand in a lane that is quiet.
const RESIDENTS_KEPT: Duration = Duration::from_secs(300);
/// How far the database's clock may be from ours while we write.
const CLOCK_SKEW_MAX_MICROS: i64 = 1_000_000;

/// Commands that are answered together.
struct Job {
    commands: Vec<Submission>,
    deadline: Instant,
    reply: oneshot::Sender<Result<Written, AppError>>,
}

/// What came of a job.
#[derive(Debug)]
pub struct Written {
    /// One per command, in order.
    pub results: Vec<Decided>,
    /// The lane's place in the feed with the job's last commit.
    pub feed_seq: u64,
    /// The states of the job's end users as of that commit; absent for those that nothing was ever written for.
    pub states: HashMap<EndUserId, Arc<AccountState>>,
}

/// The way to a lane's writer.
#[derive(Debug, Clone)]
pub struct LaneWriter {
    jobs: mpsc::Sender<Job>,
}

impl LaneWriter {
    /// Starts the writer of a lane; it ends when the last handle is dropped and the queue is empty.
    pub fn start(store: Store, environment: Arc<EnvironmentHandle>, lane: u16) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let lane_id = environment.lanes[usize::from(lane)];
        let writer = Writer { store, environment, lane, lane_id, kept: None, residents: Residents::default() };
        tokio::spawn(writer.run(queue));
        Self { jobs }
    }

    /// Has the commands, all of this lane, carried out in order. Refused with `overloaded` if nothing was done: the
    /// queue is full, they would wait longer than `patience`, or the database stays away for longer than that.
    /// `outcome_unknown` only where a COMMIT went unanswered, and the database with it.
    pub async fn write(&self, commands: Vec<Submission>, patience: Duration) -> Result<Written, AppError> {
        let (reply, answer) = oneshot::channel();
        let job = Job { commands, deadline: Instant::now() + patience, reply };
        self.jobs.try_send(job).map_err(|_| AppError::Overloaded)?;
        answer.await.unwrap_or(Err(AppError::OutcomeUnknown))
    }
}

struct Writer {
    store: Store,
    environment: Arc<EnvironmentHandle>,
    lane: u16,
    lane_id: LaneId,
    /// The connection of the last batch, while the next one is soon to come.
    kept: Option<Kept>,
    residents: Residents,
}

/// Why a run of a batch failed.
enum RunError {
    /// Running it again may succeed.
    Transient(sqlx::Error),
    /// It will fail again.
    Permanent(String),
    /// The database's clock and ours disagree.
    ClockSkew(i64),
}

/// Why a batch was given up.
enum GivenUp {
    /// It fails whenever it is run. Nothing was done.
    Poisoned(String),
    /// It could not be run in time. Nothing was done.
    NotDone(String),
    /// The last COMMIT that was sent had no answer, and the database is not there to be asked.
    Unknown(String),
}

impl From<sqlx::Error> for RunError {
    fn from(error: sqlx::Error) -> Self {
        if is_retryable(&error) { Self::Transient(error) } else { Self::Permanent(error.to_string()) }
    }
}

impl Writer {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = self.next(&mut queue).await {
            // A fault in one batch must not end the lane; its callers are told that the outcome is not known.
            if AssertUnwindSafe(self.write_next(first, &mut queue)).catch_unwind().await.is_err() {
                tracing::error!(lane = self.lane, "writing a batch panicked");
                self.residents.clear();
            }
            if self.store.is_short() {
                self.kept = None;
            }
        }
    }

    /// Waits for the next job. What is kept for it is given up in time: the connection soon, the accounts later.
    async fn next(&mut self, queue: &mut mpsc::Receiver<Job>) -> Option<Job> {
        if let Ok(next) = timeout(CONNECTION_KEPT, queue.recv()).await {
            return next;
        }
        self.kept = None;
        if let Ok(next) = timeout(RESIDENTS_KEPT, queue.recv()).await {
            return next;
        }
        self.residents.clear();
        queue.recv().await
    }

    /// Locks the lane, and then takes along whoever has come meanwhile: the more callers, the bigger the batch.
    async fn write_next(&mut self, first: Job, queue: &mut mpsc::Receiver<Job>) {
        // Where it fails, the batch's own runs find out why.
        let locked = in_time(self.lock()).await.ok();
        let mut commands = first.commands.len();
        let mut jobs = vec![first];
        while commands < BATCH_COMMANDS_MAX
            && let Ok(next) = queue.try_recv()
        {
            commands += next.commands.len();
            jobs.push(next);
        }
        self.write_jobs(jobs, locked).await;
    }

    async fn write_jobs(&mut self, jobs: Vec<Job>, locked: Option<Tx>) {
        let started = Instant::now();
        let (mut commands, mut replies) = (Vec::new(), Vec::new());
        // The batch is tried for as long as one of its callers may wait.
        let deadline = jobs.iter().map(|job| job.deadline).max().unwrap_or(started);
        for job in jobs {
            if job.deadline < started {
                // The caller may be gone; then nobody misses the answer.
                let _ = job.reply.send(Err(AppError::Overloaded));
            } else {
                replies.push((job.commands.len(), job.reply));
                commands.extend(job.commands);
            }
        }
        if commands.is_empty() {
            return;
        }
        let mut done = self.write_halving(&commands, deadline, locked).await;
        fault::reach(Point::BeforeReply);
        let mut results = std::mem::take(&mut done.results).into_iter();
        let mut named = commands.iter().map(|command| &command.end_user_id);
        for (count, reply) in replies {
            // The job's whole share first: one that is not known must not leave the others to the next job.
            let share: Vec<Option<Decided>> = results.by_ref().take(count).collect();
            let end_users: Vec<&EndUserId> = named.by_ref().take(count).collect();
            let _ = reply.send(answer(share, &end_users, &done));
        }
        fault::reach(Point::AfterReply);
        counter!("quotastack_writer_batches_total").increment(1);
        counter!("quotastack_writer_commands_total").increment(commands.len() as u64);
        histogram!("quotastack_writer_batch_seconds").record(started.elapsed());
    }

    /// Writes all commands in one transaction; where it fails for good, in halves, until the culprit is alone.
    async fn write_halving(&mut self, commands: &[Submission], deadline: Instant, mut locked: Option<Tx>) -> Done {
        let mut done = Done::default();
        let mut work = vec![commands];
        while let Some(part) = work.pop() {
            match self.write_retrying(part, deadline, locked.take()).await {
                Ok((decisions, states)) => {
                    done.feed_seq = decisions.feed_seq;
                    done.results.extend(decisions.results.into_iter().map(Some));
                    done.states.extend(states);
                }
                Err(GivenUp::Poisoned(reason)) if part.len() > 1 => {
                    tracing::warn!(lane = self.lane, commands = part.len(), reason, "a batch failed; halving it");
                    let (first, second) = part.split_at(part.len() / 2);
                    work.push(second);
                    work.push(first);
                }
                Err(GivenUp::Poisoned(reason)) => {
                    tracing::error!(lane = self.lane, reason, "a command fails alone and was not carried out");
                    counter!("quotastack_writer_poison_total").increment(1);
                    done.results.push(Some(Decided::Failed));
                }
                Err(GivenUp::NotDone(reason)) => {
                    tracing::error!(lane = self.lane, reason, "a batch could not be written in time");
                    done.results.extend(part.iter().map(|_| Some(Decided::Postponed)));
                }
                Err(GivenUp::Unknown(reason)) => {
                    tracing::error!(lane = self.lane, reason, "it is not known whether a batch was written");
                    done.results.extend(part.iter().map(|_| None));
                }
            }
        }
        done
    }

    async fn write_retrying(
        &mut self,
        commands: &[Submission],
        deadline: Instant,
        mut locked: Option<Tx>,
    ) -> Result<(Decisions, HashMap<EndUserId, Arc<AccountState>>), GivenUp> {
        let mut runs = Runs::until(deadline);
        loop {
            let reason = match in_time(self.write_once(commands, &mut runs, locked.take())).await {
                Ok(written) => return Ok(written),
                Err(RunError::Transient(error)) => {
                    self.residents.clear();
                    // What takes too long together may be possible in parts.
                    if is_too_long(&error) && commands.len() > 1 && !runs.in_doubt() {
                        return Err(GivenUp::Poisoned(error.to_string()));
                    }
                    if runs.again().await {
                        tracing::warn!(lane = self.lane, %error, "a transaction failed; running it again");
                        counter!("quotastack_writer_retries_total").increment(1);
                        continue;
                    }
                    error.to_string()
                }
                Err(RunError::ClockSkew(micros)) => format!("the database's clock is {micros} us ahead of ours"),
                Err(RunError::Permanent(reason)) if !runs.in_doubt() => return Err(GivenUp::Poisoned(reason)),
                Err(RunError::Permanent(reason)) => reason,
            };
            return Err(if runs.in_doubt() { GivenUp::Unknown(reason) } else { GivenUp::NotDone(reason) });
        }
    }

    async fn write_once(
        &mut self,
        commands: &[Submission],
        runs: &mut Runs,
        locked: Option<Tx>,
    ) -> Result<(Decisions, HashMap<EndUserId, Arc<AccountState>>), RunError> {
        let mut tx = match locked {
            Some(tx) => tx,
            None => self.lock().await?,
        };
        runs.locked();
        // Read now, it is no older than whatever the commands were sent after.
        let (lane, real_now) = self.read_lane(&mut tx).await?;
        let catalogue = self.environment.catalogue_at(&mut tx, lane.catalogue_version).await?;
        let loaded =
            needs::load(&mut tx, self.lane_id, lane.place, catalogue, commands, real_now, &mut self.residents).await?;
        fault::reach(Point::AfterLoad);
        let (catalogue, from) = (Arc::clone(&loaded.catalogue), loaded.feed_seq);
        let mut decisions = catch_unwind(AssertUnwindSafe(|| decide(loaded, commands)))
            .map_err(|_| RunError::Permanent("the rules panicked".to_owned()))?;
        fault::reach(Point::AfterDecide);
        let is_written = !decisions.is_empty();
        if is_written {
            let (environment_id, lane_id) = (self.environment.id, self.lane_id);
            let place = BatchPlace { environment_id, lane_id, now: decisions.now, real_now };
            tx.write_batch(place, &decisions.batch()).await?;
            fault::reach(Point::BeforeCommit);
            runs.committing();
            self.kept = Some(fault::underway(Point::CommitUnderway, tx.commit_and_keep(commands.len())).await?);
            fault::reach(Point::AfterCommit);
        } else {
            self.kept = Some(tx.rollback_and_keep().await?);
        }
        let states = decisions.states(&catalogue);
        self.environment.feed.publish(self.lane, from, decisions.feed_seq, states.values());
        if is_written {
            self.residents.follow(decisions.place(), decisions.take_written());
        }
        Ok((decisions, states))
    }

    /// A transaction that has locked the lane.
    async fn lock(&mut self) -> Result<Tx, RunError> {
        fault::reach(Point::BeforeBegin);
        let locking = self.store.begin_locking(self.kept.take(), self.environment.id, self.lane_id);
        let tx = fault::underway(Point::LockUnderway, locking).await?;
        fault::reach(Point::AfterLock);
        Ok(tx)
    }

    /// The lane as it stands under the lock, and our clock, which must agree with the database's.
    async fn read_lane(&self, tx: &mut Tx) -> Result<(LockedLane, Timestamp), RunError> {
        let real_now = clock::now();
        let lane = tx.locked_lane(self.lane_id).await?;
        let skew = lane.database_now.micros_since(real_now);
        let waited = clock::now().micros_since(real_now);
        if skew < -CLOCK_SKEW_MAX_MICROS || skew > waited + CLOCK_SKEW_MAX_MICROS {
            return Err(RunError::ClockSkew(skew));
        }
        Ok((lane, real_now))
    }
}

/// What came of a batch: `None` where the outcome is not known.
#[derive(Default)]
struct Done {
    results: Vec<Option<Decided>>,
    feed_seq: u64,
    states: HashMap<EndUserId, Arc<AccountState>>,
}

/// What a job is told, of its share of the results.
fn answer(share: Vec<Option<Decided>>, end_users: &[&EndUserId], done: &Done) -> Result<Written, AppError> {
    let results = share.into_iter().collect::<Option<Vec<_>>>().ok_or(AppError::OutcomeUnknown)?;
    if results.iter().all(|decided| matches!(decided, Decided::Postponed)) {
        return Err(AppError::Overloaded);
    }
    let state_of = |name: &&EndUserId| Some((EndUserId::clone(name), Arc::clone(done.states.get(*name)?)));
    let states = end_users.iter().filter_map(state_of).collect();
    Ok(Written { results, feed_seq: done.feed_seq, states })
}
