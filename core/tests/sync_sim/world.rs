//! One server, some sidecars, a network and clients, in simulated time. After each step the invariants are checked.

use std::collections::{BTreeMap, BTreeSet};

use quotastack_core::catalogue::{Access, Catalogue, Enforcement, Feature, FeatureKind, OfflinePolicy, OveragePolicy};
use quotastack_core::credits::{Credits, Units};
use quotastack_core::ids::{EndUserId, FeatureKey, IdempotencyKey};
use quotastack_core::ledger::command::Usage;
use quotastack_core::pricing::{Price, PriceModel, PriceVersion};
use quotastack_core::sync::machine::{Batch, Config};
use quotastack_core::time::Timestamp;
use quotastack_core::wire::{
    AnswerParts, BatchReply, Delta, Hello, Mode, Request, Response, ServerControl, SidecarControl, Welcome, decode,
    encode,
};

use crate::fault::Fault;
use crate::rng::Rng;
use crate::server::{Backup, Server};
use crate::sidecar::Sidecar;
use crate::strict::{self, Strict};

const START: i64 = 1_700_000_000_000_000;
pub(crate) const OPS: usize = 400;
const POLL_MICROS: i64 = 20_000;
/// So many times slower are clients where leases are to end meanwhile.
const STRICT_PACE: i64 = 60;
const RETURN_MICROS: i64 = 250_000;
const RECONNECT_MICROS: i64 = 30_000;
/// So long after the last client everything must be at rest.
const REST_MICROS: i64 = 120_000_000;
/// Accounts charged through the first sidecar only, and never granted anything after the start: their balance must
/// be exact at every moment.
pub(crate) const STEADY: usize = 2;
pub(crate) const STEADY_GRANT: i64 = 1_000_000_000;

pub(crate) enum Event {
    Op,
    Poll,
    Pump { conn: u64 },
    Hello { conn: u64, sidecar: usize, run: u64, hello: Hello },
    Welcome { conn: u64, sidecar: usize, welcome: Welcome },
    Follow { conn: u64, frame: Vec<u8> },
    Delta { conn: u64, sidecar: usize, frame: Vec<u8> },
    Batch { conn: u64, sidecar: usize, id: u64, frame: Vec<u8> },
    Reply { conn: u64, sidecar: usize, id: u64, frames: Vec<Vec<u8>> },
    Fetch { conn: u64, sidecar: usize, id: EndUserId },
    Fetched { conn: u64, sidecar: usize, id: EndUserId, frame: Vec<u8> },
    OutboxDone { sidecar: usize, run: u64 },
    ReplicaDone { sidecar: usize, run: u64 },
    Lease { conn: u64, sidecar: usize, frame: Vec<u8> },
    Leased { conn: u64, sidecar: usize, request: Request, answer: Vec<u8> },
    ReturnLeases,
    Wake,
    Connect { sidecar: usize },
}

pub(crate) struct Admitted {
    pub(crate) sidecar: usize,
    pub(crate) run: u64,
    pub(crate) ticket: u64,
    pub(crate) event: (EndUserId, IdempotencyKey),
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: i64,
    pub(crate) order: u64,
    queue: BTreeMap<(i64, u64), Event>,
    pub(crate) server: Server,
    pub(crate) sidecars: Vec<Sidecar>,
    /// Time of the last delta on its way to each connection: a stream keeps its order.
    pub(crate) streams: BTreeMap<u64, i64>,
    pub(crate) next_conn: u64,
    pub(crate) next_key: u64,
    pub(crate) ops: usize,
    /// When the last client was done.
    done_at: i64,
    pub(crate) unacknowledged: Vec<Admitted>,
    pub(crate) acknowledged: BTreeSet<(EndUserId, IdempotencyKey)>,
    /// Cost by key of all that the first sidecar admitted for steady accounts and did not lose in a crash.
    pub(crate) steady: BTreeMap<(EndUserId, IdempotencyKey), i64>,
    pub(crate) sent: Vec<(EndUserId, Usage)>,
    pub(crate) checked_as_of: Vec<Option<Timestamp>>,
    /// The operation before which a backup is taken; some operations later the database is restored from it.
    pub(crate) backup_at: Option<usize>,
    pub(crate) backup: Option<Backup>,
    /// Whether clients consume from strict accounts too, at a slower pace.
    pub(crate) is_strict: bool,
    pub(crate) outage_micros_max: i64,
    pub(crate) strict: Strict,
    pub(crate) fault: Option<Fault>,
}

pub(crate) fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

fn feature(policy: OveragePolicy, limit: Option<i64>) -> Feature {
    let price = Price::plain(PriceModel::PerUnit { cost: Credits::new(3).unwrap(), per_units: Units::ONE });
    Feature {
        kind: FeatureKind::Metered,
        default: Access { enabled: true, value: None },
        prices: vec![PriceVersion { effective_from: at(0), price }],
        overage_policy: policy,
        overdraft_limit: limit.map(|limit| Credits::new(limit).unwrap()),
        enforcement: Enforcement::Advisory,
        offline: OfflinePolicy::Allow,
        summary_properties: vec![],
    }
}

pub(crate) fn key(name: &str) -> FeatureKey {
    FeatureKey::new(name).unwrap()
}

pub(crate) fn user(kind: &str, index: usize) -> EndUserId {
    EndUserId::new(&format!("{kind}_{index}")).unwrap()
}

impl World {
    /// A world in which, once, the database is restored from a backup.
    pub(crate) fn with_restore(seed: u64) -> Self {
        let mut world = Self::new(seed);
        world.backup_at = Some(OPS / 3 + world.rng.index(OPS / 3));
        for sidecar in &mut world.sidecars {
            sidecar.remember_for_long();
        }
        world
    }

    /// The same, with a rule that is broken.
    pub(crate) fn breaking(mut self, fault: Fault) -> Self {
        (self.fault, self.server.fault) = (Some(fault), Some(fault));
        (0..self.sidecars.len()).for_each(|sidecar| self.break_machine(sidecar));
        self
    }

    /// What is broken in the machine of a run that begins.
    fn break_machine(&mut self, sidecar: usize) {
        if self.fault == Some(Fault::StateOverAnswer) {
            self.sidecars[sidecar].machine.apply_states_over_answers();
        }
    }

    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let features = [
            ("blocked", feature(OveragePolicy::Block, None)),
            ("capped", feature(OveragePolicy::Cap, None)),
            ("overdraft", feature(OveragePolicy::Overdraft, Some(50))),
            ("steady", feature(OveragePolicy::Block, None)),
            (strict::FEATURE, Feature { enforcement: Enforcement::Strict, ..feature(OveragePolicy::Block, None) }),
        ];
        let features = features.into_iter().map(|(name, feature)| (key(name), feature)).collect();
        let mut server = Server::new(Catalogue { version: 1, features, ..Catalogue::default() }, at(START));
        for index in 0..STEADY {
            server.grant(&user("steady", index), STEADY_GRANT, None, at(START), &mut rng);
        }
        let count = 1 + rng.index(3);
        let sidecars = (0..count).map(|_| {
            let mode = if rng.chance(50) { Mode::All } else { Mode::OnDemand };
            let answered_kept_max = if rng.chance(50) { 5 } else { 1_000 };
            Sidecar::new(Config { mode, outbox_bytes_max: 60_000, answered_kept_max }, at(START), &mut rng)
        });
        let sidecars = sidecars.collect::<Vec<_>>();
        let mut world = Self {
            rng,
            now: START,
            order: 0,
            queue: BTreeMap::new(),
            server,
            sidecars,
            streams: BTreeMap::new(),
            next_conn: 1,
            next_key: 1,
            ops: 0,
            done_at: START,
            unacknowledged: Vec::new(),
            acknowledged: BTreeSet::new(),
            steady: BTreeMap::new(),
            sent: Vec::new(),
            checked_as_of: Vec::new(),
            backup_at: None,
            backup: None,
            is_strict: false,
            outage_micros_max: RECONNECT_MICROS,
            strict: Strict::default(),
            fault: None,
        };
        world.after(0, Event::Op);
        world.after(POLL_MICROS, Event::Poll);
        world.after(0, Event::ReturnLeases);
        for sidecar in 0..count {
            world.after(0, Event::Connect { sidecar });
        }
        world
    }

    pub(crate) fn after(&mut self, delay: i64, event: Event) {
        self.order += 1;
        self.queue.insert((self.now + delay, self.order), event);
    }

    pub(crate) fn later(&mut self, event: Event) {
        let delay = self.rng.delay();
        self.after(delay, event);
    }

    /// Runs until the clients are done and everything is at rest. Returns how many events were acknowledged.
    pub(crate) fn run(&mut self) -> usize {
        while let Some(((at_micros, _), event)) = self.queue.pop_first() {
            self.now = at_micros;
            self.step(event);
            for sidecar in 0..self.sidecars.len() {
                self.drive(sidecar);
            }
            self.check();
            self.check_strict();
            if self.ops == OPS && self.is_at_rest() {
                self.check_rest();
                self.check_strict_at_rest();
                return self.acknowledged.len();
            }
            assert!(self.now < self.done_at + REST_MICROS, "no rest");
        }
        unreachable!("lanes are polled for ever")
    }

    /// The time as a sidecar knows it.
    pub(crate) fn clock(&self, sidecar: usize) -> Timestamp {
        at(self.now + self.sidecars[sidecar].skew)
    }

    pub(crate) fn is_up(&self, sidecar: usize, conn: u64) -> bool {
        self.sidecars[sidecar].conn == Some(conn)
    }

    fn step(&mut self, event: Event) {
        let now = at(self.now);
        match event {
            Event::Op => {
                self.ops += 1;
                self.client();
                self.done_at = self.now;
                if self.ops < OPS {
                    let pace = if self.is_strict { STRICT_PACE } else { 1 };
                    let delay = pace * i64::try_from(self.rng.below(6_000)).unwrap();
                    self.after(delay, Event::Op);
                }
            }
            Event::Poll => {
                self.server.poll_lanes(now);
                let conns: Vec<u64> = self.server.sessions.keys().copied().collect();
                conns.into_iter().for_each(|conn| self.after(0, Event::Pump { conn }));
                self.server.free_leases_before_grace(now, &mut self.rng);
                let pace = if self.is_strict { 10 } else { 1 };
                self.after(pace * POLL_MICROS, Event::Poll);
            }
            Event::Lease { conn, sidecar, frame } => self.lease_request(conn, sidecar, &frame),
            Event::Leased { conn, sidecar, request, answer } => self.lease_answer(conn, sidecar, request, &answer),
            Event::ReturnLeases => {
                if self.is_strict {
                    self.return_leases();
                    self.after(RETURN_MICROS, Event::ReturnLeases);
                }
            }
            Event::Pump { conn } => self.pump(conn),
            Event::Connect { sidecar } => self.connect(sidecar),
            Event::Hello { conn, sidecar, run, hello } => {
                if self.sidecars[sidecar].run == run && self.is_up(sidecar, conn) {
                    let welcome = self.server.hello(conn, &hello, now);
                    let ServerControl::Welcome(welcome) =
                        decode(&encode(&ServerControl::Welcome(welcome)).unwrap()).unwrap()
                    else {
                        panic!("a welcome stays a welcome")
                    };
                    // The sidecar reads deltas only once it is welcome.
                    let delay = self.rng.delay();
                    self.streams.insert(conn, self.now + delay);
                    self.after(delay, Event::Welcome { conn, sidecar, welcome });
                }
            }
            Event::Welcome { conn, sidecar, welcome } => {
                if self.is_up(sidecar, conn) {
                    self.sidecars[sidecar].machine.link_up(&welcome).unwrap();
                    self.sidecars[sidecar].show();
                    self.sidecars[sidecar].link = Some(conn);
                    self.return_leases_of_earlier_run(sidecar);
                    if self.sidecars[sidecar].mode() == Mode::OnDemand {
                        let hashes = self.sidecars[sidecar].followed();
                        let frame = encode(&SidecarControl::Follow { hashes, complete: true }).unwrap();
                        self.later(Event::Follow { conn, frame });
                    }
                }
            }
            Event::Follow { conn, frame } => {
                let follow = decode(&frame).unwrap();
                if let (Some(session), SidecarControl::Follow { hashes, complete }) =
                    (self.server.sessions.get_mut(&conn), follow)
                {
                    session.follow_all(hashes, complete);
                }
            }
            Event::Delta { conn, sidecar, frame } => {
                if self.is_up(sidecar, conn) {
                    let delta: Delta = decode(&frame).unwrap();
                    let Sidecar { machine, disk, .. } = &mut self.sidecars[sidecar];
                    machine.delta(delta, &|id| disk.file.get(id)).unwrap();
                }
            }
            Event::Batch { conn, sidecar, id, frame } => self.batch(conn, sidecar, id, &frame),
            Event::Reply { conn, sidecar, id, frames } => {
                if self.is_up(sidecar, conn) {
                    let mut parts = AnswerParts::default();
                    let replies = frames.iter().filter_map(|frame| parts.push(decode(frame).unwrap()).unwrap());
                    let reply: BatchReply = replies.last().expect("an answer ends");
                    let now = self.clock(sidecar);
                    let Sidecar { machine, disk, .. } = &mut self.sidecars[sidecar];
                    machine.answered(id, reply, &|id| disk.file.get(id), now).unwrap();
                }
            }
            Event::Fetch { conn, sidecar, id } => {
                if self.server.sessions.contains_key(&conn) {
                    let state = self.server.fetch(conn, &id);
                    let frame = encode(&Response::State(Box::new(state))).unwrap();
                    self.later(Event::Fetched { conn, sidecar, id, frame });
                }
            }
            Event::Fetched { conn, sidecar, id, frame } => {
                if self.is_up(sidecar, conn) {
                    let Response::State(state) = decode(&frame).unwrap() else { panic!("a state was sent") };
                    let Sidecar { machine, disk, fetching, .. } = &mut self.sidecars[sidecar];
                    machine.fetched(&id, Some(*state), &|id| disk.file.get(id)).unwrap();
                    fetching.remove(&id);
                    let is_busy = machine.waiting_accounts().any(|busy| *busy == id);
                    // A state may wait for the catalogue, or for the answer to the account's usage.
                    let may_wait = is_busy || machine.catalogue_version() != self.server.catalogue.version;
                    assert!(may_wait || machine.view(&id, &|id| disk.file.get(id)).is_some(), "{id} was fetched");
                }
            }
            Event::OutboxDone { sidecar, run } => {
                if self.sidecars[sidecar].run == run {
                    self.sidecars[sidecar].end_outbox_commit();
                    self.acknowledge();
                }
            }
            Event::ReplicaDone { sidecar, run } => {
                if self.sidecars[sidecar].run == run {
                    self.sidecars[sidecar].end_replica_commit();
                }
            }
            Event::Wake => {}
        }
    }

    pub(crate) fn acknowledge(&mut self) {
        let (sidecars, is_early) = (&self.sidecars, self.fault == Some(Fault::AcknowledgedBeforeDurable));
        let is_durable = |admitted: &Admitted| {
            let sidecar = &sidecars[admitted.sidecar];
            sidecar.run == admitted.run && (is_early || admitted.ticket <= sidecar.committed)
        };
        let (durable, waiting) = self.unacknowledged.drain(..).partition(|admitted| is_durable(admitted));
        self.unacknowledged = waiting;
        let durable: Vec<Admitted> = durable;
        self.acknowledged.extend(durable.into_iter().map(|admitted| admitted.event));
    }

    /// What the glue does after each call.
    fn drive(&mut self, index: usize) {
        let now = self.clock(index);
        let sidecar = &mut self.sidecars[index];
        sidecar.show();
        let run = sidecar.run;
        if sidecar.begin_outbox_commit() {
            self.later(Event::OutboxDone { sidecar: index, run });
        }
        if self.sidecars[index].begin_replica_commit() {
            self.later(Event::ReplicaDone { sidecar: index, run });
        }
        let (batches, wake) = self.sidecars[index].machine.poll(now);
        let conn = self.sidecars[index].conn;
        for Batch { id, lane, events } in batches {
            let conn = conn.expect("batches are sent over a link");
            assert!(!events.is_empty(), "a batch without events");
            let durable = &self.sidecars[index].disk.ever_durable;
            for event in &events {
                let key = (event.end_user_id.clone(), event.usage.key.clone());
                assert!(durable.contains(&key), "{key:?} is sent before it is durable");
            }
            let frame = encode(&Request::Usage { lane, events }).unwrap();
            self.later(Event::Batch { conn, sidecar: index, id, frame });
        }
        if let Some(wake) = wake {
            self.after(wake.micros_since(now).max(1), Event::Wake);
        }
    }

    fn pump(&mut self, conn: u64) {
        let Some(sidecar) = self.sidecars.iter().position(|sidecar| sidecar.conn == Some(conn)) else { return };
        let Some((frames, until)) = self.server.pump(conn, at(self.now)) else { return };
        let mut asked_again = until.map_or(1, |until| until.micros_since(at(self.now)).max(1));
        for frame in frames {
            let delivery = self.streams.get(&conn).copied().unwrap_or(0).max(self.now + self.rng.delay());
            self.streams.insert(conn, delivery);
            asked_again = delivery - self.now;
            // Where every account is held, a state does no harm at the wrong place either.
            let repeats = self.sidecars[sidecar].mode() == Mode::All && self.rng.chance(10);
            if repeats && matches!(decode(&frame), Ok(Delta::States(_))) {
                let delay = delivery - self.now + self.rng.delay();
                self.after(delay, Event::Delta { conn, sidecar, frame: frame.clone() });
            }
            self.after(delivery - self.now, Event::Delta { conn, sidecar, frame });
        }
        if until.is_none() {
            self.after(asked_again, Event::Pump { conn });
        }
    }

    fn connect(&mut self, sidecar: usize) {
        if self.sidecars[sidecar].conn.is_some() {
            return;
        }
        let conn = self.next_conn;
        self.next_conn += 1;
        self.sidecars[sidecar].conn = Some(conn);
        let Ok(SidecarControl::Hello(hello)) =
            decode(&encode(&SidecarControl::Hello(self.sidecars[sidecar].hello())).unwrap())
        else {
            panic!("a hello stays a hello")
        };
        let run = self.sidecars[sidecar].run;
        self.later(Event::Hello { conn, sidecar, run, hello });
    }

    pub(crate) fn disconnect(&mut self, index: usize) {
        let Sidecar { machine, disk, conn, link, fetching, .. } = &mut self.sidecars[index];
        let Some(conn) = conn.take() else { return };
        *link = None;
        machine.link_down();
        for id in std::mem::take(fetching) {
            machine.fetched(&id, None, &|id| disk.file.get(id)).unwrap();
        }
        self.doubt_leases(index);
        // The server may notice much later.
        if self.rng.chance(50) {
            self.server.sessions.remove(&conn);
        }
        let outage = self.outage();
        self.after(outage, Event::Connect { sidecar: index });
    }

    fn batch(&mut self, conn: u64, sidecar: usize, id: u64, frame: &[u8]) {
        // What was received before a link broke may still be done.
        if !self.is_up(sidecar, conn) && self.rng.chance(50) {
            return;
        }
        let Request::Usage { lane, events } = decode(frame).unwrap() else { panic!("a batch was sent") };
        if self.ops < OPS && self.rng.chance(5) {
            let frames = vec![encode(&Response::Busy { delay_ms: 20 }).unwrap()];
            return self.later(Event::Reply { conn, sidecar, id, frames });
        }
        let answer = self.server.batch(conn, lane, &events, at(self.now), &mut self.rng);
        if self.ops < OPS && self.rng.chance(5) {
            // Committed, and the answer is lost.
            return self.disconnect(sidecar);
        }
        self.later(Event::Reply { conn, sidecar, id, frames: answer.into_frames().unwrap() });
    }

    pub(crate) fn restore(&mut self) {
        const LOST_OPS: usize = 60;
        match self.backup_at {
            Some(at) if at == self.ops => self.backup = Some(self.server.backup()),
            Some(at) if at + LOST_OPS == self.ops => {
                self.server.restore(self.backup.take().expect("taken before"));
                (0..self.sidecars.len()).for_each(|sidecar| self.disconnect(sidecar));
            }
            _ => {}
        }
    }

    pub(crate) fn crash(&mut self, index: usize) {
        let conn = self.sidecars[index].conn;
        let now = self.clock(index);
        self.sidecars[index].crash(now, &mut self.rng);
        if let Some(conn) = conn.filter(|_| self.rng.chance(50)) {
            self.server.sessions.remove(&conn);
        }
        if index == 0 {
            let kept: BTreeSet<_> = self.sidecars[0].disk.records().iter().map(event_of).collect();
            let recorded = &self.server.records;
            self.steady.retain(|event, _| kept.contains(event) || recorded.contains_key(event));
        }
        self.break_machine(index);
        self.leases_end_with_their_run(index);
        let outage = self.outage();
        self.after(outage, Event::Connect { sidecar: index });
    }

    /// How long a link is away.
    fn outage(&mut self) -> i64 {
        let max = if self.ops < OPS && self.rng.chance(20) { self.outage_micros_max } else { RECONNECT_MICROS };
        RECONNECT_MICROS + i64::try_from(self.rng.below(u64::try_from(max).unwrap())).unwrap()
    }
}

fn event_of(record: &quotastack_core::sync::record::Record) -> (EndUserId, IdempotencyKey) {
    (record.admission.end_user_id.clone(), record.admission.usage.key.clone())
}
