//! [`Sidecar`]: what a process that embeds it starts, calls and stops. The local API is one more caller of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use metrics::gauge;
use parking_lot::Mutex;
use quotastack_core::api::check::CheckQuery;
use quotastack_core::api::usage::UsageRequest;
use quotastack_core::catalogue::Enforcement;
use quotastack_core::ids::{EndUserId, FeatureKey, SidecarId};
use quotastack_core::sync::machine::{self, Machine, Stored};
use quotastack_core::wire::Mode;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::check::{self, CheckAnswer, CheckError};
use crate::clock::{Counter, ServerClock, local_now};
use crate::config::{Config, Durability, Replicate};
use crate::data_dir::{DataDir, DataDirError};
use crate::engine::Engine;
use crate::fetch::{self, Fetches};
use crate::lease::LeaseRequests;
use crate::limits::Limits;
use crate::link::{Dialer, Identity, Link, TrustError};
use crate::metrics as names;
use crate::outbox::{self, OutboxError, OutboxStore};
use crate::random::random;
use crate::replica::{self, ReplicaError, ReplicaImage, ReplicaStore};
use crate::status::Status;
use crate::upstream::{Upstream, UpstreamError};
use crate::usage::{self, Receipt, UsageError};

/// Answered events kept for a client's repeat; an hour of them, if there are not more.
const ANSWERED_KEPT_MAX: usize = 1_000_000;

/// Why a sidecar cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The replica.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The server's certificate authority.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The server's HTTP address.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The operating system.
    #[error("the operating system refused: {0}")]
    System(std::io::Error),
}

/// A running sidecar.
#[derive(Debug)]
pub struct Sidecar {
    engine: Arc<Engine>,
    upstream: Upstream,
    key: SecretString,
    sidecar_id: SidecarId,
    durability: Durability,
    stop: CancellationToken,
    tasks: TaskTracker,
    writers: Mutex<Vec<JoinHandle<()>>>,
    /// Held as long as the sidecar runs.
    _data_dir: DataDir,
}

impl Sidecar {
    /// Opens the data directory and begins to link to the server. It answers from what it has at once; it does not
    /// wait for the server. Needs a Tokio runtime.
    pub async fn start(config: Config) -> Result<Arc<Self>, StartError> {
        let upstream = Upstream::new(&config.upstream_http, config.ca_file.as_deref())?;
        let dialer = Dialer::new(&config.upstream_quic, config.ca_file.as_deref())?;
        let data_dir = DataDir::open(&config.data_dir, local_now())?;
        let identity = Identity { key: config.key.clone(), sidecar_id: data_dir.sidecar_id(), run_id: random() };
        let (fetches, asked) = Fetches::new(config.limits.fetches_max);
        let (leases, leases_asked) = LeaseRequests::new(config.limits.fetches_max);
        let (engine, outbox) = open(&config, &data_dir, (fetches, leases))?;
        let engine = Arc::new(engine);

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let link =
            Link { engine: Arc::clone(&engine), dialer, identity, asked: (asked, leases_asked), stop: stop.clone() };
        tasks.spawn(link.run());
        if engine.mode == Mode::OnDemand {
            let (engine, stop) = (Arc::clone(&engine), stop.clone());
            tasks.spawn(async move { replica::evict::run(&engine, stop).await });
        }
        tasks.close();
        let writers = vec![
            writer("outbox-writer", &engine, move |engine| outbox::run(engine, &outbox))?,
            writer("replica-writer", &engine, replica::run)?,
        ];
        tracing::info!(
            sidecar_id = %data_dir.sidecar_id(),
            data_dir = %config.data_dir.display(),
            waiting = engine.lock().machine.outbox_status().waiting,
            "sidecar started"
        );
        let writers = Mutex::new(writers);
        let (key, durability, sidecar_id) = (config.key, config.durability, data_dir.sidecar_id());
        Ok(Arc::new(Self { engine, upstream, key, sidecar_id, durability, stop, tasks, writers, _data_dir: data_dir }))
    }

    /// Answers a check, from memory if it can; asks the server once about an end user that it does not know.
    pub async fn check(&self, query: &CheckQuery) -> Result<CheckAnswer, CheckError> {
        check::check(&self.engine, query).await
    }

    /// Answers a check if memory alone is enough; never waits.
    pub fn check_from_memory(&self, query: &CheckQuery) -> Option<Result<CheckAnswer, CheckError>> {
        check::from_memory(&self.engine, query)
    }

    /// Whether usage of this feature is admitted by what the replica shows; `None` before there is a catalogue.
    pub(crate) fn is_advisory(&self, feature_key: &FeatureKey) -> Option<bool> {
        let catalogue = self.engine.catalogue()?;
        let feature = catalogue.features.get(feature_key);
        Some(feature.is_none_or(|feature| feature.enforcement == Enforcement::Advisory))
    }

    /// Records an event of a strict feature if a lease pays for it: what it admits is never more than the account has. It is
    /// on disk when this returns, and reaches the ledger exactly once. Of other features, see [`Self::record_usage`].
    pub async fn consume(&self, request: &UsageRequest) -> Result<Receipt, UsageError> {
        usage::consume(&self.engine, request).await
    }

    /// Records an event. It is on disk when this returns (but with [`Durability::Memory`]), and reaches the ledger exactly
    /// once.
    pub async fn record_usage(&self, request: UsageRequest) -> Result<Receipt, UsageError> {
        let mut results = usage::record(&self.engine, &[request], self.durability).await;
        results.pop().expect("one result per request")
    }

    /// Records events in order, each decided on its own, with one commit for all.
    pub async fn record_usage_batch(&self, requests: &[UsageRequest]) -> Vec<Result<Receipt, UsageError>> {
        usage::record(&self.engine, requests, self.durability).await
    }

    /// Whether only the server can charge one of these accounts.
    pub(crate) async fn any_partial(&self, end_user_ids: impl Iterator<Item = &EndUserId>) -> bool {
        for end_user_id in end_user_ids {
            let state = match self.engine.memory.get(end_user_id) {
                Some(state) => Some(state),
                None => fetch::state_of(&self.engine, end_user_id).await,
            };
            if state.is_some_and(|state| state.partial) {
                return true;
            }
        }
        false
    }

    /// Whether it can answer checks: it has a catalogue.
    pub fn is_ready(&self) -> bool {
        self.engine.catalogue().is_some()
    }

    /// Waits until it must be started again, because its disk failed; gives the reason.
    pub async fn failed(&self) -> String {
        let mut failure = self.engine.failure.subscribe();
        let failed = failure.wait_for(Option::is_some).await.map(|failure| failure.clone());
        failed.ok().flatten().unwrap_or_default()
    }

    /// Sends what waits as far as that goes quickly, writes what is to be written, and stops. Usage that was not
    /// sent is sent after the next start.
    pub async fn shutdown(&self) {
        let sent = async {
            self.outbox_sent().await;
            self.leases_returned().await;
        };
        let _ = tokio::time::timeout(self.engine.limits.drain_timeout, sent).await;
        self.engine.lock().closed = true;
        self.stop.cancel();
        self.tasks.wait().await;
        self.engine.outbox_signal.stop();
        self.engine.replica_signal.stop();
        let writers = std::mem::take(&mut *self.writers.lock());
        let joined = tokio::task::spawn_blocking(move || writers.into_iter().for_each(|writer| drop(writer.join())));
        let _ = joined.await;
    }

    /// Waits until the server has answered everything recorded so far; returns at once without a link.
    pub async fn outbox_sent(&self) {
        let event = self.engine.lock().machine.flush();
        self.engine.batches_due.notify_one();
        self.wait_until(|| self.engine.lock().machine.is_answered(event)).await;
    }

    /// Gives all leases back, and waits until the server has them; returns at once without a link.
    async fn leases_returned(&self) {
        self.engine.ending.store(true, Ordering::Release);
        self.wait_until(|| self.engine.lock().machine.lease_figures().0 == 0).await;
        self.wait_until(|| self.engine.lock().machine.are_leases_returned()).await;
    }

    /// Waits until checks see the write with this stamp; returns at once without a link, or where the account is
    /// not followed.
    pub(crate) async fn has_stamp(&self, end_user_id: Option<&EndUserId>, lane: u16, stamp: u64) {
        let held = |id: &EndUserId| self.engine.held(id);
        self.wait_until(|| {
            let core = self.engine.lock();
            let cursor = core.machine.cursor();
            let reached = cursor.and_then(|cursor| cursor.lanes.get(usize::from(lane)).copied());
            if reached.is_none_or(|reached| reached >= stamp) {
                return true;
            }
            match end_user_id.map(|id| core.machine.view(id, &held)) {
                Some(Some(state)) => state.stamp >= stamp,
                Some(None) => self.engine.mode == Mode::OnDemand,
                None => false,
            }
        })
        .await;
    }

    /// Waits until checks are evaluated with this version of the catalogue; returns at once without a link.
    pub(crate) async fn has_catalogue(&self, version: u64) {
        self.wait_until(|| self.engine.lock().machine.catalogue_version() >= version).await;
    }

    async fn wait_until(&self, is_done: impl Fn() -> bool) {
        loop {
            let changed = self.engine.changed.notified();
            if !self.engine.is_link_up() || is_done() {
                return;
            }
            changed.await;
        }
    }

    /// How it is: its link, its replica, and what waits in its outbox.
    pub fn status(&self) -> Status {
        Status::of(&self.engine, self.sidecar_id, self.upstream.base())
    }

    /// Sets the gauges.
    pub fn publish_metrics(&self) {
        let report = self.engine.report();
        gauge!(names::STALENESS_SECONDS).set(seconds(report.staleness_ms));
        gauge!(names::OUTBOX_AGE_SECONDS).set(seconds(report.outbox_oldest_ms));
        gauge!(names::OUTBOX_EVENTS).set(count(report.outbox_events));
        gauge!(names::OUTBOX_BYTES).set(count(report.outbox_bytes));
        gauge!(names::REFUSED_EVENTS).set(count(report.refused_events));
        gauge!(names::ACCOUNTS).set(count(report.accounts));
        let (leases, left) = self.engine.lock().machine.lease_figures();
        gauge!(names::LEASES_HELD).set(count(leases as u64));
        gauge!(names::LEASED_CREDITS).set(left.get() as f64);
        gauge!(names::LINK_UP).set(u32::from(self.engine.is_link_up()));
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.engine.limits
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(crate) fn key(&self) -> &SecretString {
        &self.key
    }
}

/// Reads both files.
fn open(
    config: &Config,
    data_dir: &DataDir,
    requests: (Fetches, LeaseRequests),
) -> Result<(Engine, OutboxStore), StartError> {
    let (outbox, outbox_image) = OutboxStore::open(&data_dir.file("outbox.redb"), local_now())?;
    let mode = match config.replicate {
        Replicate::All => Mode::All,
        Replicate::OnDemand => Mode::OnDemand,
    };
    let (store, image, stored) = match open_replica(data_dir, mode) {
        // What was damaged has been removed: this opens an empty one.
        Err(ReplicaError::Storage { source, .. }) if matches!(*source, redb::Error::Corrupted(_)) => {
            tracing::warn!(error = %source, "the replica cannot be read and is fetched again");
            open_replica(data_dir, mode)?
        }
        opened => opened?,
    };
    let settings = machine::Config {
        mode,
        outbox_bytes_max: usize::try_from(config.limits.outbox_bytes_max).unwrap_or(usize::MAX),
        answered_kept_max: ANSWERED_KEPT_MAX,
    };
    let on_disk = Stored {
        environment: outbox_image.environment,
        records: outbox_image.records,
        meta: image.meta,
        catalogue: image.catalogue.map(Arc::new),
    };
    let offset_micros = image.clock.map_or(0, |mark| mark.offset_micros);
    let known = image.clock.map(|mark| mark.known).max(on_disk.meta.as_ref().and_then(|meta| meta.as_of));
    let clock = ServerClock::start(Counter::now(), local_now(), offset_micros, known);
    if clock.is_doubtful() {
        tracing::warn!(
            "the wall clock was set back since the last run: until the server is reached, the replica counts as stale"
        );
    }
    let engine = Engine::new(mode, config.limits.clone(), store, stored, requests, clock, |store, now| {
        let held = |id: &EndUserId| store.state(id).ok().flatten().map(Arc::new);
        Machine::open(settings, on_disk, &held, now)
    });
    Ok((engine, outbox))
}

fn open_replica(
    data_dir: &DataDir,
    mode: Mode,
) -> Result<(ReplicaStore, ReplicaImage, HashSet<EndUserId>), ReplicaError> {
    let path = data_dir.file("replica.redb");
    let (store, image) = ReplicaStore::open(&path)?;
    let stored = match mode {
        Mode::All => HashSet::new(),
        Mode::OnDemand => {
            store.accounts().map_err(|source| ReplicaError::Storage { path, source: Box::new(source) })?
        }
    };
    Ok((store, image, stored))
}

/// Disks block: each file is written by a thread of its own.
fn writer(
    name: &str,
    engine: &Arc<Engine>,
    run: impl FnOnce(&Engine) + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let engine = Arc::clone(engine);
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&engine));
    thread.map_err(StartError::System)
}

fn seconds(millis: u64) -> f64 {
    Duration::from_millis(millis).as_secs_f64()
}

fn count(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
