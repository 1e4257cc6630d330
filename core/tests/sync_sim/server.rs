//! The server of the simulation: the real ledger over accounts in memory (the database), rings and sessions (lost at
//! a restart).

use std::collections::BTreeMap;
use std::sync::Arc;

use quotastack_core::catalogue::Catalogue;
use quotastack_core::credits::Credits;
use quotastack_core::ids::{AccountId, EndUserId, IdempotencyKey, KeyId, LaneCount, ReservationId, uuid_v7};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::apply::{Known, apply};
use quotastack_core::ledger::block::BlockKind;
use quotastack_core::ledger::book::Effects;
use quotastack_core::ledger::command::{Command, Grant, LeaseHolder, OpenLease, Request, ReturnLease, Usage};
use quotastack_core::ledger::entry::Actor;
use quotastack_core::ledger::outcome::{Outcome, UsageRecord};
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::limits::LEASE_GRACE_MICROS;
use quotastack_core::state::AccountState;
use quotastack_core::sync::catalogue::EncodedCatalogue;
use quotastack_core::sync::publisher::{Next, Session, can_resume};
use quotastack_core::sync::ring::{Published, Ring, RingLimits};
use quotastack_core::time::Timestamp;
use quotastack_core::wire::{self, BatchAnswer, EventResult, Hello, Response, UsageEvent, Welcome, follow_hash};

use crate::fault::Fault;
use crate::rng::Rng;

pub(crate) const LANES: u16 = 2;
/// Small, so that sessions fall behind.
const RING: RingLimits = RingLimits { places_max: 8, bytes_max: 4_000 };
const PAGE: usize = 3;

#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) account: Account,
    pub(crate) stamp: u64,
    /// Ids of usage events by the entries that took credit for them.
    pub(crate) charged: Vec<(quotastack_core::ids::UsageId, i64)>,
}

/// A copy of the database.
pub(crate) struct Backup {
    rows: BTreeMap<EndUserId, Row>,
    records: BTreeMap<(EndUserId, IdempotencyKey), UsageRecord>,
    heads: Vec<u64>,
}

pub(crate) struct Server {
    pub(crate) rows: BTreeMap<EndUserId, Row>,
    pub(crate) records: BTreeMap<(EndUserId, IdempotencyKey), UsageRecord>,
    pub(crate) catalogue: Catalogue,
    pub(crate) encoded: EncodedCatalogue,
    pub(crate) epoch: [u8; 16],
    pub(crate) heads: Vec<u64>,
    /// (commit, account, stamp), for judging `as_of`.
    pub(crate) history: Vec<(Timestamp, EndUserId, u64)>,
    rings: Vec<Ring>,
    pub(crate) sessions: BTreeMap<u64, Session>,
    /// Who said hello over each connection that ever was.
    holders: BTreeMap<u64, LeaseHolder>,
    pub(crate) fault: Option<Fault>,
    now: Timestamp,
}

impl Server {
    pub(crate) fn new(catalogue: Catalogue, now: Timestamp) -> Self {
        let mut server = Self {
            rows: BTreeMap::new(),
            records: BTreeMap::new(),
            encoded: EncodedCatalogue::new(&catalogue).unwrap(),
            catalogue,
            epoch: [1; 16],
            heads: vec![0; usize::from(LANES)],
            history: Vec::new(),
            rings: Vec::new(),
            sessions: BTreeMap::new(),
            holders: BTreeMap::new(),
            fault: None,
            now,
        };
        server.restart();
        server
    }

    /// Everything in memory is lost.
    pub(crate) fn restart(&mut self) {
        self.sessions.clear();
        self.rings = self.heads.iter().map(|head| Ring::new(*head, RING)).collect();
    }

    pub(crate) fn backup(&self) -> Backup {
        Backup { rows: self.rows.clone(), records: self.records.clone(), heads: self.heads.clone() }
    }

    /// What was committed after the backup never happened: another history.
    pub(crate) fn restore(&mut self, Backup { rows, records, heads }: Backup) {
        (self.rows, self.records, self.heads) = (rows, records, heads);
        if self.fault != Some(Fault::EpochIgnored) {
            self.epoch = [2; 16];
        }
        self.history.clear();
        self.restart();
    }

    pub(crate) fn lanes() -> LaneCount {
        LaneCount::new(LANES).unwrap()
    }

    pub(crate) fn lane_of(id: &EndUserId) -> usize {
        usize::from(Self::lanes().lane_of(id.bucket()))
    }

    pub(crate) fn state(&self, id: &EndUserId) -> AccountState {
        match self.rows.get(id) {
            Some(row) => AccountState::publish(&row.account, row.stamp, &self.catalogue),
            None => AccountState::unknown(id.clone()),
        }
    }

    /// The price of `feature` changes from now on: a new version of the catalogue.
    pub(crate) fn publish(&mut self, catalogue: Catalogue) {
        self.encoded = EncodedCatalogue::new(&catalogue).unwrap();
        self.catalogue = catalogue;
    }

    pub(crate) fn grant(
        &mut self,
        id: &EndUserId,
        amount: i64,
        expires_at: Option<Timestamp>,
        now: Timestamp,
        rng: &mut Rng,
    ) {
        let grant = Grant {
            kind: BlockKind::Promo,
            amount: Credits::new(amount).unwrap(),
            priority: 100,
            effective_at: None,
            expires_at,
            paid: false,
            settles_debt: true,
            feature_keys: vec![],
            cap_group: None,
            accumulation_cap: None,
        };
        let before = self.heads.clone();
        self.run(id, Command::Grant(grant), now, rng).unwrap();
        self.announce(&before, rng);
    }

    /// One command of a transaction; the account is stamped with the lane's next place.
    fn run(&mut self, id: &EndUserId, command: Command, now: Timestamp, rng: &mut Rng) -> Result<Outcome, Refusal> {
        self.now = self.now.max(now);
        let known = match &command {
            Command::Usage(usage) => self.records.get(&(id.clone(), usage.key.clone())),
            _ => None,
        };
        let row = self.rows.entry(id.clone()).or_insert_with(|| {
            let account = AccountId::from_uuid(uuid_v7(now, rng.bytes(), Some(id.bucket())));
            Row { account: Account::new(account, id.clone()), stamp: 0, charged: Vec::new() }
        });
        let actor = Actor::Key(KeyId::from_uuid(uuid_v7(now, rng.bytes(), None)));
        let request = Request { now: self.now, actor, seed: rng.bytes(), command };
        let mut effects = Effects::default();
        // What writes nothing leaves the row as it is.
        let mut account = row.account.clone();
        let outcome =
            apply(&mut account, &self.catalogue, &request, Known { usage: known, ..Known::default() }, &mut effects);
        if let Ok(Outcome::Used { record, replayed: false }) = &outcome {
            row.charged.push((record.id, record.charged.get()));
            self.records.insert((id.clone(), record.key.clone()), record.clone());
        }
        if !effects.is_empty() {
            row.account = account;
            let lane = Self::lane_of(id);
            self.heads[lane] += 1;
            row.stamp = self.heads[lane];
            self.history.push((now, id.clone(), row.stamp));
        }
        outcome
    }

    /// After a commit: sometimes its states go into the rings at once, sometimes only the next poll finds them.
    fn announce(&mut self, before: &[u64], rng: &mut Rng) {
        if rng.chance(50) {
            return;
        }
        for (lane, from) in before.iter().enumerate() {
            let states = self.feed(lane, *from);
            // A gap is filled by the next poll.
            let _gap = self.rings[lane].extend(*from, self.heads[lane], states);
        }
    }

    /// Newest states of the lane after `from`, in feed order.
    fn feed(&self, lane: usize, from: u64) -> Vec<Arc<Published>> {
        let rows = self.rows.iter().filter(|(id, row)| Self::lane_of(id) == lane && row.stamp > from);
        let mut states: Vec<Arc<Published>> = rows.map(|(id, _)| Arc::new(Published::new(&self.state(id)))).collect();
        states.sort_by_key(|state| state.stamp);
        states
    }

    /// Reads the lanes, as a poll of the database does.
    pub(crate) fn poll_lanes(&mut self, now: Timestamp) {
        for lane in 0..self.rings.len() {
            let states = self.feed(lane, self.rings[lane].head());
            let (head, to) = (self.rings[lane].head(), self.heads[lane]);
            self.rings[lane].extend(head, to, states).unwrap();
            self.rings[lane].confirm(now);
        }
    }

    pub(crate) fn hello(&mut self, conn: u64, hello: &Hello, now: Timestamp) -> Welcome {
        let resumed = hello.cursor.as_ref().filter(|cursor| can_resume(cursor, self.epoch, &self.heads));
        let holder = LeaseHolder { sidecar_id: hello.sidecar_id, run_id: hello.run_id };
        self.holders.insert(conn, holder);
        let resume = resumed.is_some();
        let lanes = resumed.map(|cursor| cursor.lanes.clone());
        let version = if resume { hello.catalogue_version } else { 0 };
        self.sessions.insert(conn, Session::new(hello.mode, lanes, &self.heads, version, now));
        Welcome {
            epoch: self.epoch,
            environment: "ten_1/live".to_owned(),
            lanes: Self::lanes(),
            server_now: now,
            in_flight_max: LANES,
            resume,
        }
    }

    /// Frames of deltas to write for a session, and when it wants to be asked again.
    pub(crate) fn pump(&mut self, conn: u64, now: Timestamp) -> Option<(Vec<Vec<u8>>, Option<Timestamp>)> {
        let mut session = self.sessions.remove(&conn)?;
        let next = session.next(self.rings.as_slice(), &self.encoded, now).unwrap();
        let done = match next {
            Next::Send(frame) => (vec![frame], None),
            Next::Wait { until } => (vec![], Some(until)),
            Next::Read { lane, cursor } => {
                let mut states = self.feed(lane, cursor);
                let reached = if states.len() > PAGE { states[PAGE - 1].stamp } else { self.heads[lane] };
                states.truncate(PAGE);
                states.retain(|state| session.filter().matches(state.hash));
                (session.backfill(lane, &states, reached, self.heads[lane]).unwrap(), None)
            }
        };
        self.sessions.insert(conn, session);
        Some(done)
    }

    pub(crate) fn fetch(&mut self, conn: u64, id: &EndUserId) -> AccountState {
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.follow(follow_hash(id));
        }
        self.state(id)
    }

    /// Opens a lease, or takes credit of one back.
    pub(crate) fn lease_request(
        &mut self,
        conn: u64,
        request: &wire::Request,
        now: Timestamp,
        rng: &mut Rng,
    ) -> Response {
        let before = self.heads.clone();
        let holder = self.holders[&conn];
        let response = match request {
            wire::Request::Lease { end_user_id, feature_key, id, need, want } => {
                if let Some(session) = self.sessions.get_mut(&conn) {
                    session.follow(follow_hash(end_user_id));
                }
                let (id, feature_key, need, want) = (*id, feature_key.clone(), *need, *want);
                let order = OpenLease { id, holder, feature_key, need, want };
                match self.run(end_user_id, Command::OpenLease(order), now, rng) {
                    Ok(Outcome::Reserved { reservation, .. }) => {
                        let until = reservation.lease.expect("a lease was opened").until;
                        Response::Leased { granted: reservation.amount, until }
                    }
                    Ok(other) => panic!("a lease gave {other:?}"),
                    Err(refusal) => {
                        Response::Refused { code: refusal.code().as_str().to_owned(), detail: refusal.to_string() }
                    }
                }
            }
            wire::Request::Return { end_user_id, id, returned } => {
                let holder = self
                    .holder_of(end_user_id, *id)
                    .filter(|_| self.fault == Some(Fault::FencingOff))
                    .unwrap_or(holder);
                let order = ReturnLease { id: *id, holder, returned: *returned };
                let _refused = self.run(end_user_id, Command::ReturnLease(order), now, rng);
                Response::Returned
            }
            other => panic!("{other:?} is about no lease"),
        };
        self.announce(&before, rng);
        response
    }

    fn holder_of(&self, end_user_id: &EndUserId, id: ReservationId) -> Option<LeaseHolder> {
        let reservation = self.rows.get(end_user_id)?.account.reservation(id)?;
        reservation.lease.as_ref().map(|lease| lease.holder)
    }

    /// The broken rule: leases give back what they hold as soon as they are over.
    pub(crate) fn free_leases_before_grace(&mut self, now: Timestamp, rng: &mut Rng) {
        if self.fault != Some(Fault::LeasesFreedBeforeGrace) {
            return;
        }
        let before = self.heads.clone();
        let holds = self.rows.iter().flat_map(|(id, row)| row.account.wallet.holds.iter().map(move |hold| (id, hold)));
        let over = holds.filter(|(_, hold)| hold.expires_at <= now.saturating_add_micros(LEASE_GRACE_MICROS));
        let over: Vec<_> = over.map(|(id, hold)| (id.clone(), hold.id)).collect();
        for (end_user_id, id) in over {
            let Some(holder) = self.holder_of(&end_user_id, id) else { continue };
            let order = ReturnLease { id, holder, returned: Credits::MAX };
            self.run(&end_user_id, Command::ReturnLease(order), now, rng).unwrap();
        }
        self.announce(&before, rng);
    }

    /// One transaction for the whole batch.
    pub(crate) fn batch(
        &mut self,
        conn: u64,
        lane: u16,
        events: &[UsageEvent],
        now: Timestamp,
        rng: &mut Rng,
    ) -> BatchAnswer {
        let before = self.heads.clone();
        let mut answer = BatchAnswer::default();
        for UsageEvent { end_user_id, usage } in events {
            assert_eq!(Self::lane_of(end_user_id), usize::from(lane), "a batch holds one lane");
            if let Some(session) = self.sessions.get_mut(&conn) {
                session.follow(follow_hash(end_user_id));
            }
            answer.results.push(self.record(end_user_id, usage, now, rng));
        }
        let mut ids: Vec<&EndUserId> = events.iter().map(|event| &event.end_user_id).collect();
        ids.sort();
        ids.dedup();
        answer.states = ids.into_iter().map(|id| self.state(id)).collect();
        self.announce(&before, rng);
        answer
    }

    fn record(&mut self, id: &EndUserId, usage: &Usage, now: Timestamp, rng: &mut Rng) -> EventResult {
        let known = self.records.contains_key(&(id.clone(), usage.key.clone()));
        if !known && rng.chance(2) {
            return EventResult::Failed;
        }
        match self.run(id, Command::Usage(usage.clone()), now, rng) {
            Ok(Outcome::Used { record, replayed }) => EventResult::Recorded { replayed, charged: record.charged },
            Ok(other) => panic!("usage gave {other:?}"),
            Err(refusal) => {
                EventResult::Refused { code: refusal.code().as_str().to_owned(), detail: refusal.to_string() }
            }
        }
    }
}
