//! The [`Engine`]: the pure [`Machine`] with its memory, files and clock around it.
//!
//! One mutex holds the machine. Whatever it says is to be shown goes into memory before the mutex is released, so
//! that state and pending usage change for checks in one step. Checks themselves take no part in that: they read
//! [`Memory`] and the catalogue, and come to the mutex only for an account that is not in memory.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use quotastack_core::catalogue::Catalogue;
use quotastack_core::ids::EndUserId;
use quotastack_core::state::AccountState;
use quotastack_core::sync::machine::{Held, Machine, Shown, SyncError};
use quotastack_core::time::Timestamp;
use quotastack_core::wire::{Mode, Report, Welcome};
use tokio::sync::{Notify, watch};

use crate::clock::{Counter, ServerClock, SteadyTime};
use crate::fetch::Fetches;
use crate::lease::LeaseRequests;
use crate::limits::Limits;
use crate::replica::{Memory, ReplicaStore};
use crate::signal::Signal;

/// More than the staleness that is allowed, in the milliseconds in which it is told.
const STALE: Duration = Duration::from_millis(1);

/// The machine and what changes only together with it.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) machine: Machine,
    time: SteadyTime,
    /// Counts links; messages of an earlier one are dropped. `None` while there is none.
    link: Option<u64>,
    links: u64,
    /// Nothing can be committed any more, so nothing may be admitted.
    pub(crate) closed: bool,
}

/// How the link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// The first attempt since the start is under way.
    Starting,
    /// Up.
    Up,
    /// Down; it is tried again and again.
    Down,
}

/// All that the parts of a running sidecar share.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) mode: Mode,
    pub(crate) limits: Limits,
    pub(crate) clock: ServerClock,
    pub(crate) memory: Memory,
    pub(crate) store: ReplicaStore,
    /// Accounts in the replica's file; kept for a replica on demand only.
    pub(crate) stored: Mutex<HashSet<EndUserId>>,
    core: Mutex<Core>,
    /// The catalogue, once there is one.
    pub(crate) catalogue: watch::Sender<Option<Arc<Catalogue>>>,
    /// Microseconds of [`Machine::as_of`], else of the start or the last link; see [`Self::as_of`].
    as_of_micros: AtomicI64,
    /// Woken when there is something to commit.
    pub(crate) outbox_signal: Signal,
    /// Woken when there is something to store.
    pub(crate) replica_signal: Signal,
    /// Woken when batches may be due.
    pub(crate) batches_due: Notify,
    /// Woken after every change of states, answers and stored replica.
    pub(crate) changed: Notify,
    /// The ticket up to which the outbox is durable.
    pub(crate) committed: watch::Sender<u64>,
    pub(crate) link_state: watch::Sender<LinkState>,
    pub(crate) fetches: Fetches,
    pub(crate) leases: LeaseRequests,
    /// Leases are given back, and no more asked for.
    pub(crate) ending: AtomicBool,
    /// Why the process must be started again.
    pub(crate) failure: watch::Sender<Option<String>>,
}

impl Engine {
    pub(crate) fn new(
        mode: Mode,
        limits: Limits,
        store: ReplicaStore,
        stored: HashSet<EndUserId>,
        (fetches, leases): (Fetches, LeaseRequests),
        clock: ServerClock,
        open: impl FnOnce(&ReplicaStore, Timestamp) -> Machine,
    ) -> Self {
        let started_at = Counter::now();
        let now = clock.at(started_at);
        let machine = open(&store, now);
        let engine = Self {
            mode,
            memory: Memory::new(limits.memory_accounts_max),
            limits,
            clock,
            store,
            stored: Mutex::new(stored),
            core: Mutex::new(Core {
                machine,
                time: SteadyTime::new(now, started_at),
                link: None,
                links: 0,
                closed: false,
            }),
            catalogue: watch::Sender::new(None),
            as_of_micros: AtomicI64::new(now.as_micros()),
            outbox_signal: Signal::default(),
            replica_signal: Signal::default(),
            batches_due: Notify::new(),
            changed: Notify::new(),
            committed: watch::Sender::new(0),
            link_state: watch::Sender::new(LinkState::Starting),
            fetches,
            leases,
            ending: AtomicBool::new(false),
            failure: watch::Sender::new(None),
        };
        engine.show(&mut engine.core.lock());
        engine
    }

    /// The machine. Release it with [`Self::show`] done after anything that changes states.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock()
    }

    /// Real server time, for the machine.
    pub(crate) fn now(&self, core: &mut Core) -> Timestamp {
        let read_at = Counter::now();
        core.time.advance(read_at, self.clock.at(read_at))
    }

    /// A state in memory or on disk, for the machine.
    pub(crate) fn held(&self, end_user_id: &EndUserId) -> Option<Arc<AccountState>> {
        self.memory.peek(end_user_id).or_else(|| self.on_disk(end_user_id))
    }

    fn on_disk(&self, end_user_id: &EndUserId) -> Option<Arc<AccountState>> {
        match self.store.state(end_user_id) {
            Ok(state) => state.map(Arc::new),
            Err(error) => {
                self.fail(format!("the replica cannot be read: {error}"));
                None
            }
        }
    }

    /// Makes what the machine wants shown visible to checks. Called before the mutex is released.
    pub(crate) fn show(&self, core: &mut Core) {
        for shown in core.machine.take_shown() {
            match shown {
                Shown::State(state) => self.memory.update(state),
                Shown::Catalogue(catalogue) => {
                    self.catalogue.send_replace(Some(catalogue));
                }
                Shown::Reset => {
                    self.memory.clear();
                    self.catalogue.send_replace(None);
                    self.as_of_micros.store(self.clock.now().as_micros(), Ordering::Release);
                }
            }
        }
        if let Some(as_of) = core.machine.as_of() {
            self.as_of_micros.store(as_of.as_micros(), Ordering::Release);
        }
        for dropped in core.machine.take_dropped() {
            tracing::error!(event = ?dropped, "too many refused events: the oldest is no longer kept in the outbox");
        }
    }

    /// The catalogue that checks are evaluated with.
    pub(crate) fn catalogue(&self) -> Option<Arc<Catalogue>> {
        self.catalogue.borrow().clone()
    }

    /// The instant up to which everything is known; before the first load is complete, when it began: whatever has
    /// come since was read later.
    pub(crate) fn as_of(&self) -> Timestamp {
        Timestamp::default().saturating_add_micros(self.as_of_micros.load(Ordering::Acquire))
    }

    /// How old what was known at `as_of` is. Where it is not known how much time has passed, it counts as older than
    /// anything may be.
    pub(crate) fn staleness(&self, now: Timestamp, as_of: Timestamp) -> Duration {
        let staleness = Duration::from_micros(u64::try_from(now.micros_since(as_of)).unwrap_or(0));
        if self.clock.is_doubtful() {
            staleness.max(self.limits.staleness_max.saturating_add(STALE))
        } else {
            staleness
        }
    }

    /// How the sidecar is.
    pub(crate) fn report(&self) -> Report {
        let now = self.clock.now();
        let (outbox, oldest) = {
            let core = self.lock();
            (core.machine.outbox_status(), core.machine.oldest_waiting())
        };
        let environment_now = self.catalogue().map_or(now, |catalogue| catalogue.clock.at(now));
        let oldest_micros = oldest.map_or(0, |oldest| environment_now.micros_since(oldest));
        Report {
            staleness_ms: u64::try_from(self.staleness(now, self.as_of()).as_millis()).unwrap_or(u64::MAX),
            accounts: self.memory.len() as u64,
            outbox_events: outbox.waiting as u64,
            outbox_bytes: outbox.bytes as u64,
            outbox_oldest_ms: u64::try_from(oldest_micros / 1_000).unwrap_or(0),
            refused_events: outbox.refused as u64,
        }
    }

    pub(crate) fn is_link_up(&self) -> bool {
        *self.link_state.borrow() == LinkState::Up
    }

    /// Brings an account that somebody asked for into memory.
    pub(crate) fn load(&self, end_user_id: &EndUserId) -> Option<Arc<AccountState>> {
        let core = self.core.lock();
        let state = core.machine.view(end_user_id, &|id| self.held(id))?;
        // Whom a replica of all does not know is asked about without end: no room is spent on that.
        if self.mode == Mode::OnDemand || state.stamp > 0 {
            self.memory.insert(Arc::clone(&state));
        }
        Some(state)
    }

    /// The server took the sidecar in: the number of this link.
    pub(crate) fn link_up(&self, welcome: &Welcome) -> Result<u64, SyncError> {
        let mut core = self.core.lock();
        core.machine.link_up(welcome)?;
        core.links += 1;
        core.link = Some(core.links);
        if !welcome.resume {
            self.stored.lock().clear();
        }
        self.show(&mut core);
        let link = core.links;
        drop(core);
        self.outbox_signal.set();
        self.replica_signal.set();
        Ok(link)
    }

    /// The link is gone; whatever still comes from it is dropped.
    pub(crate) fn link_down(&self) {
        let mut core = self.core.lock();
        core.machine.link_down();
        core.link = None;
        drop(core);
        self.link_state.send_replace(LinkState::Down);
        self.changed.notify_waiters();
    }

    /// Hands something that came over `link` to the machine, unless that link is gone.
    pub(crate) fn receive<T>(
        &self,
        link: u64,
        receive: impl FnOnce(&mut Machine, Held<'_>, Timestamp) -> T,
    ) -> Option<T> {
        let mut core = self.core.lock();
        if core.link != Some(link) {
            return None;
        }
        let now = self.now(&mut core);
        let received = receive(&mut core.machine, &|id| self.held(id), now);
        self.show(&mut core);
        drop(core);
        self.replica_signal.set();
        self.changed.notify_waiters();
        Some(received)
    }

    /// A fetch over `link` is over, with a state or without; whatever became of the link, it no longer runs.
    pub(crate) fn fetched(&self, link: u64, id: &EndUserId, state: Option<AccountState>) -> Result<(), SyncError> {
        let mut core = self.core.lock();
        let state = state.filter(|_| core.link == Some(link));
        let fetched = core.machine.fetched(id, state, &|id| self.held(id));
        self.show(&mut core);
        drop(core);
        self.replica_signal.set();
        self.changed.notify_waiters();
        fetched
    }

    /// Nothing can be acknowledged any more: whoever runs the sidecar must start it again. The first reason stays.
    pub(crate) fn fail(&self, why: String) {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                tracing::error!(%why, "the sidecar must be started again");
                *failure = Some(why);
            }
            first
        });
    }
}
