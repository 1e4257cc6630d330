//! [`PrivatePostgres`], and the supervisor that keeps its process running.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Error;
use super::cluster::Cluster;
use super::postmaster::Postmaster;

/// Owner of the cluster and its only role until migrations add some.
pub(super) const OWNER: &str = "quotastack";
/// The database the product lives in.
pub(super) const DATABASE: &str = "quotastack";

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A Postgres that ran for so long before it died gets a quick restart again.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// The backends of a Postgres that was killed a moment ago can hold its memory for some milliseconds yet, which fails a
/// first attempt.
const START_ATTEMPTS: u32 = 6;

/// How to run the private Postgres.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory for this Postgres alone; created if missing. Its layout is described in `docs/operations.md`, Embedded
    /// Postgres.
    pub data_dir: PathBuf,
    /// What a crash of the machine may lose.
    pub durability: Durability,
}

impl Options {
    /// A durable Postgres in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), durability: Durability::Full }
    }
}

/// What a crash of the machine may lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing that was committed: `fsync`, `synchronous_commit` and `full_page_writes` are on, and no configuration
    /// file can switch them off.
    Full,
    /// Everything. For tests whose database nobody needs afterwards.
    Throwaway,
}

/// A running private Postgres. It is started again when it dies, until [`stop`](Self::stop).
///
/// Dropped without `stop`, Postgres is asked to shut down but not waited for; if this process is killed, Postgres runs
/// on and the next [`start`](Self::start) on the same directory adopts it.
#[derive(Debug)]
pub struct PrivatePostgres {
    database_url: String,
    /// Dropping it tells the supervisor to stop.
    stop: oneshot::Sender<()>,
    supervisor: JoinHandle<Result<(), Error>>,
}

impl PrivatePostgres {
    /// Starts Postgres on the directory, or adopts the one that a killed server left there. Returns when it takes
    /// connections, after its recovery if it needs one. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process holds the directory, [`Error::NoBinaries`] if Postgres is not installed,
    /// else what failed.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let cluster = Cluster::open(&options).await?;
        let mut backoff = Backoff::new();
        let mut slot = None;
        for attempt in 1.. {
            match cluster.bring_up(&mut slot).await {
                Ok(()) => break,
                Err(why) => {
                    stop_failed(&mut slot).await?;
                    if attempt == START_ATTEMPTS {
                        return Err(why);
                    }
                    tracing::debug!(%why, attempt, "Postgres did not start");
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
        let postmaster = slot.expect("a successful start leaves its process in the slot");
        let database_url = cluster.database_url();
        let (stop, stopped) = oneshot::channel();
        let supervisor = tokio::spawn(supervise(cluster, postmaster, stopped));
        Ok(Self { database_url, stop, supervisor })
    }

    /// URL of the product's database over the Unix socket, as the cluster's owner (a superuser, so row-level security
    /// does not bind it). sqlx and libpq both read it. It stays the same over restarts.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Shuts Postgres down (open transactions are rolled back) and waits for its end. The directory is free afterwards.
    ///
    /// # Errors
    /// [`Error::StillRunning`] if it does not end, not even after an immediate shutdown.
    pub async fn stop(self) -> Result<(), Error> {
        drop(self.stop);
        self.supervisor.await.expect("the supervisor neither panics nor is aborted")
    }
}

/// Runs until `stop` is dropped. It owns the cluster, so the directory's lock is held exactly as long.
async fn supervise(cluster: Cluster, postmaster: Postmaster, mut stop: oneshot::Receiver<()>) -> Result<(), Error> {
    let mut slot = Some(postmaster);
    let mut backoff = Backoff::new();
    loop {
        let up_since = Instant::now();
        let postmaster = slot.as_mut().expect("the process that runs is in the slot");
        tokio::select! {
            _ = &mut stop => return postmaster.stop().await,
            () = postmaster.ended() => {}
        }
        tracing::error!(pid = postmaster.pid(), "the private Postgres died, starting it again");
        if up_since.elapsed() > HEALTHY_AFTER {
            backoff = Backoff::new();
        }
        let mut reported = String::new();
        loop {
            let attempt = async {
                tokio::time::sleep(backoff.next()).await;
                let outcome = cluster.bring_up(&mut slot).await;
                if outcome.is_err() {
                    stop_failed(&mut slot).await?;
                }
                outcome
            };
            let outcome = tokio::select! {
                _ = &mut stop => return stop_failed(&mut slot).await,
                outcome = attempt => outcome,
            };
            let Err(why) = outcome else { break };
            let why = why.to_string();
            if why != reported {
                tracing::error!(%why, "the private Postgres does not start, trying on");
                reported = why;
            }
        }
    }
}

async fn stop_failed(slot: &mut Option<Postmaster>) -> Result<(), Error> {
    match slot {
        Some(postmaster) => postmaster.stop().await,
        None => Ok(()),
    }
}

/// Doubling delays between attempts.
struct Backoff(Duration);

impl Backoff {
    fn new() -> Self {
        Self(BACKOFF_MIN)
    }

    fn next(&mut self) -> Duration {
        let delay = self.0;
        self.0 = (delay * 2).min(BACKOFF_MAX);
        delay
    }
}
