//! A sidecar of the simulation: the real [`Machine`] between a disk that may lose what was not durable, and the
//! map that checks read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use quotastack_core::catalogue::Catalogue;
use quotastack_core::ids::{EndUserId, IdempotencyKey, ReservationId, SidecarId, uuid_v7};
use quotastack_core::state::AccountState;
use quotastack_core::sync::catalogue;
use quotastack_core::sync::machine::{Config, Machine, ReplicaWrites, Shown, Stored};
use quotastack_core::sync::record::{Admission, Meta, OutboxWrite, Record};
use quotastack_core::time::Timestamp;
use quotastack_core::wire::{Hello, Mode, Secret, follow_hash};

use crate::rng::Rng;
use crate::strict::HeldLease;

/// The replica file.
#[derive(Clone, Default)]
pub(crate) struct File {
    pub(crate) accounts: BTreeMap<EndUserId, Vec<u8>>,
    meta: Option<Vec<u8>>,
    catalogue: Option<Vec<u8>>,
}

impl File {
    pub(crate) fn get(&self, id: &EndUserId) -> Option<Arc<AccountState>> {
        self.accounts.get(id).map(|bytes| Arc::new(AccountState::decode(bytes).unwrap()))
    }

    fn apply(&mut self, writes: &ReplicaWrites) {
        if writes.reset {
            *self = Self::default();
        }
        for (id, state) in &writes.accounts {
            match state {
                Some(state) => self.accounts.insert(id.clone(), state.encode()),
                None => self.accounts.remove(id),
            };
        }
        if let Some(new) = &writes.catalogue {
            self.catalogue = Some(catalogue::encode(new));
        }
        self.meta = Some(writes.meta.encode());
    }
}

#[derive(Default)]
pub(crate) struct Disk {
    environment: Option<String>,
    pub(crate) records: BTreeMap<u64, Vec<u8>>,
    durable: File,
    pub(crate) file: File,
    commits: u64,
    /// Keys of all events that ever were durable.
    pub(crate) ever_durable: BTreeSet<(EndUserId, IdempotencyKey)>,
}

impl Disk {
    fn apply(&mut self, writes: &[OutboxWrite]) {
        for write in writes {
            match write {
                OutboxWrite::Put(record) => {
                    let Admission { end_user_id, usage, .. } = &*record.admission;
                    self.ever_durable.insert((end_user_id.clone(), usage.key.clone()));
                    self.records.insert(record.seq, record.encode());
                }
                OutboxWrite::Remove(seq) => {
                    self.records.remove(seq);
                }
                OutboxWrite::Environment(name) => self.environment = Some(name.clone()),
            }
        }
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.records.values().map(|bytes| Record::decode(bytes).unwrap()).collect()
    }
}

pub(crate) struct Sidecar {
    config: Config,
    id: SidecarId,
    pub(crate) run: u64,
    pub(crate) conn: Option<u64>,
    /// The connection over which it was taken in.
    pub(crate) link: Option<u64>,
    pub(crate) machine: Machine,
    pub(crate) disk: Disk,
    pub(crate) views: BTreeMap<EndUserId, Arc<AccountState>>,
    pub(crate) catalogue: Option<Arc<Catalogue>>,
    /// What the outbox's writer is writing.
    outbox_commit: Option<(u64, Vec<OutboxWrite>)>,
    replica_commit: Option<ReplicaWrites>,
    pub(crate) committed: u64,
    /// Highest stamp ever shown in this history, per account and run.
    stamps: HashMap<EndUserId, u64>,
    pub(crate) fetching: BTreeSet<EndUserId>,
    /// By how much its clock is ahead, in microseconds.
    pub(crate) skew: i64,
    /// Leases that are asked for.
    pub(crate) asking: BTreeMap<EndUserId, ReservationId>,
    /// Leases that this run was given, and the one before.
    pub(crate) held_leases: Vec<HeldLease>,
    pub(crate) leases_before: Vec<HeldLease>,
}

impl Sidecar {
    pub(crate) fn new(config: Config, now: Timestamp, rng: &mut Rng) -> Self {
        let mut sidecar = Self {
            config,
            id: SidecarId::from_uuid(uuid_v7(now, rng.bytes(), None)),
            run: 0,
            conn: None,
            link: None,
            machine: Machine::open(config, Stored::default(), &|_| None, now),
            disk: Disk::default(),
            views: BTreeMap::new(),
            catalogue: None,
            outbox_commit: None,
            replica_commit: None,
            committed: 0,
            stamps: HashMap::new(),
            fetching: BTreeSet::new(),
            skew: 0,
            asking: BTreeMap::new(),
            held_leases: Vec::new(),
            leases_before: Vec::new(),
        };
        sidecar.show();
        sidecar
    }

    pub(crate) fn mode(&self) -> Mode {
        self.config.mode
    }

    /// Whether answered events are kept for an hour, not only the last few.
    pub(crate) fn remembers_for_long(&self) -> bool {
        self.config.answered_kept_max > 100
    }

    pub(crate) fn remember_for_long(&mut self) {
        self.config.answered_kept_max = 1_000;
        self.machine = Machine::open(self.config, Stored::default(), &|_| None, Timestamp::MIN);
    }

    /// kill -9, then a new run. What was being committed may or may not have reached the disk.
    pub(crate) fn crash(&mut self, now: Timestamp, rng: &mut Rng) {
        if let Some((_, writes)) = self.outbox_commit.take().filter(|_| rng.chance(50)) {
            self.disk.apply(&writes);
        }
        self.replica_commit = None;
        if rng.chance(10) {
            // Somebody removed the replica's file.
            self.disk.durable = File::default();
        }
        if rng.chance(20) {
            self.config.mode = if self.config.mode == Mode::All { Mode::OnDemand } else { Mode::All };
        }
        self.disk.file = self.disk.durable.clone();
        let stored = Stored {
            environment: self.disk.environment.clone(),
            records: self.disk.records(),
            meta: self.disk.file.meta.as_ref().map(|bytes| Meta::decode(bytes).unwrap()),
            catalogue: self.disk.file.catalogue.as_ref().map(|bytes| Arc::new(catalogue::decode(bytes).unwrap())),
        };
        let file = &self.disk.file;
        self.machine = Machine::open(self.config, stored, &|id| file.get(id), now);
        self.run += 1;
        (self.conn, self.link) = (None, None);
        self.committed = 0;
        self.views.clear();
        self.stamps.clear();
        self.fetching.clear();
        self.catalogue = None;
        self.show();
    }

    fn run_id(&self) -> [u8; 16] {
        u128::from(self.run).to_le_bytes()
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello {
            key: Secret("qs_live_key".to_owned()),
            sidecar_id: self.id,
            run_id: self.run_id(),
            software: "sim".to_owned(),
            mode: self.config.mode,
            cursor: self.machine.cursor(),
            catalogue_version: self.machine.catalogue_version(),
        }
    }

    pub(crate) fn followed(&self) -> Vec<u64> {
        let stored = self.disk.file.accounts.keys().map(follow_hash);
        stored.chain(self.machine.followed_beside_stored()).collect()
    }

    /// What the glue does before it lets go of the machine.
    pub(crate) fn show(&mut self) {
        for shown in self.machine.take_shown() {
            match shown {
                Shown::State(state) => {
                    let before = self.stamps.insert(state.end_user_id.clone(), state.stamp);
                    assert!(before.is_none_or(|before| before <= state.stamp), "a stamp went back: {state:?}");
                    self.views.insert(state.end_user_id.clone(), state);
                }
                Shown::Catalogue(catalogue) => {
                    let newer = self.catalogue.as_ref().is_none_or(|old| old.version < catalogue.version);
                    assert!(newer, "a catalogue went back");
                    self.catalogue = Some(catalogue);
                }
                Shown::Reset => {
                    self.views.clear();
                    self.stamps.clear();
                    self.catalogue = None;
                }
            }
        }
    }

    /// What a check would read.
    pub(crate) fn view(&self, id: &EndUserId) -> Option<Arc<AccountState>> {
        let missed = || self.machine.view(id, &|id| self.disk.file.get(id));
        self.views.get(id).cloned().or_else(missed)
    }

    /// What the machine forgot may come again, as old as the server's answer.
    pub(crate) fn forget(&mut self, id: &EndUserId) {
        self.views.remove(id);
        self.stamps.remove(id);
    }

    /// The memory map is bounded: some views are dropped and found again on disk.
    pub(crate) fn evict(&mut self, rng: &mut Rng) {
        self.views.retain(|_, _| !rng.chance(30));
    }

    /// Begins a commit of the outbox if one is due.
    pub(crate) fn begin_outbox_commit(&mut self) -> bool {
        if self.outbox_commit.is_none() {
            self.outbox_commit = self.machine.take_outbox_writes();
            return self.outbox_commit.is_some();
        }
        false
    }

    pub(crate) fn end_outbox_commit(&mut self) {
        let (ticket, writes) = self.outbox_commit.take().expect("a commit was begun in this run");
        self.disk.apply(&writes);
        self.committed = ticket;
        self.machine.outbox_committed(ticket);
    }

    pub(crate) fn begin_replica_commit(&mut self) -> bool {
        if self.replica_commit.is_none() {
            self.replica_commit = self.machine.take_replica_writes();
            return self.replica_commit.is_some();
        }
        false
    }

    pub(crate) fn end_replica_commit(&mut self) {
        let writes = self.replica_commit.take().expect("a commit was begun in this run");
        self.disk.file.apply(&writes);
        self.disk.commits += 1;
        let durable = self.disk.commits.is_multiple_of(4);
        if durable {
            self.disk.durable = self.disk.file.clone();
        }
        self.machine.replica_committed(writes.generation, durable);
    }
}
