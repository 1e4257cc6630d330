//! Strict features: clients that consume, leases on their way, and what must hold of both.
//!
//! Whatever happens, clients are told of no more than was granted, but for what was reported after the grace of its lease.

use std::collections::BTreeMap;

use quotastack_core::credits::Credits;
use quotastack_core::ids::{EndUserId, IdempotencyKey, ReservationId, uuid_v7};
use quotastack_core::ledger::advance::read_at;
use quotastack_core::limits::{LEASE_GRACE_MICROS, LEASE_TTL_MICROS};
use quotastack_core::sync::machine::{LeaseReturn, NotAdmitted};
use quotastack_core::time::Timestamp;
use quotastack_core::wire::{Request, Response, decode, encode};

use crate::fault::Fault;
use crate::sidecar::Sidecar;
use crate::world::{Admitted, Event, OPS, World, at, key, user};

pub(crate) const FEATURE: &str = "strict";
/// Accounts that are only consumed from.
const ACCOUNTS: usize = 2;
const GRANT: i64 = 400;

/// What clients were told, and what there was.
#[derive(Default)]
pub(crate) struct Strict {
    granted: BTreeMap<EndUserId, i64>,
    /// What each admitted event cost, and the end of its lease.
    admitted: BTreeMap<(EndUserId, IdempotencyKey), (i64, ReservationId)>,
    /// The ends of leases.
    until: BTreeMap<ReservationId, Timestamp>,
    /// When the ledger took them.
    recorded: BTreeMap<(EndUserId, IdempotencyKey), Timestamp>,
    /// How many events were acknowledged and recorded when this was last looked at.
    known: (usize, usize),
}

impl Strict {
    fn grace_ends(&self, lease: ReservationId) -> Timestamp {
        self.until[&lease].saturating_add_micros(LEASE_GRACE_MICROS)
    }
}

/// A lease as the run that holds it knows it.
#[derive(Clone)]
pub(crate) struct HeldLease {
    end_user_id: EndUserId,
    id: ReservationId,
    granted: Credits,
    until: Timestamp,
}

impl World {
    /// A slow world in which features are strict. Outages are short, or (`long`) may be longer than any grace; clocks
    /// differ within the bound, or (`long`) beyond it.
    fn with_strict(seed: u64, long: bool) -> Self {
        let mut world = Self::new(seed);
        world.is_strict = true;
        world.outage_micros_max = if long { 100_000_000 } else { 2_000_000 };
        for index in 0..ACCOUNTS {
            let id = user("strict", index);
            world.grant_strict(&id, GRANT, None);
        }
        let skew_max = if long { 30_000_000 } else { 4_000_000 };
        for index in 0..world.sidecars.len() {
            let skew = i64::try_from(world.rng.below(2 * skew_max)).unwrap();
            world.sidecars[index].skew = skew - i64::try_from(skew_max).unwrap();
        }
        world
    }

    pub(crate) fn strict(seed: u64) -> Self {
        Self::with_strict(seed, false)
    }

    pub(crate) fn strict_with_long_outages(seed: u64) -> Self {
        Self::with_strict(seed, true)
    }

    fn grant_strict(&mut self, id: &EndUserId, amount: i64, expires_at: Option<Timestamp>) {
        self.server.grant(id, amount, expires_at, at(self.now), &mut self.rng);
        *self.strict.granted.entry(id.clone()).or_default() += amount;
    }

    /// A client of the strict world.
    pub(crate) fn strict_client(&mut self, sidecar: usize) {
        let id = user("strict", self.rng.index(ACCOUNTS));
        if self.rng.chance(5) {
            let amount = 1 + i64::try_from(self.rng.below(100)).unwrap();
            // No lease of it is longer.
            let lives = i64::try_from(self.rng.below(10_000_000)).unwrap();
            let expires_at = self.rng.chance(50).then(|| at(self.now + lives));
            return self.grant_strict(&id, amount, expires_at);
        }
        let usage = self.new_usage(FEATURE);
        let now = self.clock(sidecar);
        let Sidecar { machine, disk, run, conn, fetching, .. } = &mut self.sidecars[sidecar];
        let (run, conn) = (*run, *conn);
        match machine.consume(&id, usage, &|id| disk.file.get(id), now) {
            Ok(admitted) => {
                self.sidecars[sidecar].views.extend(admitted.state.map(|state| (id.clone(), state)));
                let usage = &admitted.admission.usage;
                let lease = usage.leased.expect("what is consumed is paid by a lease");
                let event = (id.clone(), usage.key.clone());
                self.strict.admitted.insert(event.clone(), (lease.cost.get(), lease.id));
                self.unacknowledged.push(Admitted { sidecar, run, ticket: admitted.ticket, event });
                if admitted.is_low {
                    self.ask_for_lease(sidecar, &id, lease.cost);
                }
                self.acknowledge();
            }
            Err(NotAdmitted::NoLease { need }) => self.ask_for_lease(sidecar, &id, need),
            Err(NotAdmitted::NoState) => {
                if let Some(conn) = conn.filter(|_| !fetching.contains(&id)) {
                    machine.fetch_begins(&id);
                    fetching.insert(id.clone());
                    self.later(Event::Fetch { conn, sidecar, id });
                }
            }
            Err(NotAdmitted::Refused(_) | NotAdmitted::OutboxFull) => {}
            Err(refused @ (NotAdmitted::ServerOnly | NotAdmitted::Partial)) => panic!("{refused:?}"),
        }
    }

    fn ask_for_lease(&mut self, index: usize, id: &EndUserId, need: Credits) {
        let now = self.clock(index);
        let Some(conn) = self.sidecars[index].link else { return };
        if self.sidecars[index].asking.contains_key(id) {
            return;
        }
        let lease = ReservationId::from_uuid(uuid_v7(now, self.rng.bytes(), Some(id.bucket())));
        let wish = self.sidecars[index].machine.lease_wish(id, &key(FEATURE), need, now);
        self.sidecars[index].asking.insert(id.clone(), lease);
        let request = Request::Lease {
            end_user_id: id.clone(),
            feature_key: key(FEATURE),
            id: lease,
            need: wish.need,
            want: wish.want,
        };
        let frame = encode(&request).unwrap();
        self.later(Event::Lease { conn, sidecar: index, frame });
    }

    /// A request for a lease, or a return, comes to the server.
    pub(crate) fn lease_request(&mut self, conn: u64, sidecar: usize, frame: &[u8]) {
        // What was received before a link broke may still be done.
        if !self.is_up(sidecar, conn) && self.rng.chance(50) {
            return;
        }
        let request: Request = decode(frame).unwrap();
        let answer = if self.ops < OPS && self.rng.chance(5) {
            Response::Busy { delay_ms: 20 }
        } else {
            self.server.lease_request(conn, &request, at(self.now), &mut self.rng)
        };
        if let (Response::Leased { until, .. }, Request::Lease { id, .. }) = (&answer, &request) {
            self.strict.until.insert(*id, *until);
        }
        if self.ops < OPS && self.rng.chance(5) {
            // Done, and the answer is lost.
            return self.disconnect(sidecar);
        }
        let answer = encode(&answer).unwrap();
        self.later(Event::Leased { conn, sidecar, request, answer });
    }

    /// The answer to either.
    pub(crate) fn lease_answer(&mut self, conn: u64, index: usize, request: Request, answer: &[u8]) {
        if !self.is_up(index, conn) {
            return;
        }
        let now = self.clock(index);
        let Sidecar { machine, disk, asking, held_leases, .. } = &mut self.sidecars[index];
        match (request, decode(answer).unwrap()) {
            (Request::Lease { end_user_id, feature_key, id, .. }, answer) => {
                asking.remove(&end_user_id);
                match answer {
                    Response::Leased { granted, until } => {
                        let held = HeldLease { end_user_id: end_user_id.clone(), id, granted, until };
                        held_leases.push(held);
                        let purpose = (&end_user_id, &feature_key);
                        machine.lease_opened(purpose, id, (granted, until), &|id| disk.file.get(id), now);
                    }
                    Response::Refused { .. } => {}
                    _ => machine.lease_doubtful(&end_user_id, id),
                }
            }
            (Request::Return { end_user_id, id, returned }, answer) => {
                machine.lease_returned(&LeaseReturn { end_user_id, id, returned }, answer == Response::Returned);
            }
            (request, _) => panic!("{request:?} is about no lease"),
        }
    }

    /// Leases that are over or idle go back.
    pub(crate) fn return_leases(&mut self) {
        for index in 0..self.sidecars.len() {
            let now = self.clock(index);
            let Some(conn) = self.sidecars[index].link else { continue };
            let returns = self.sidecars[index].machine.end_leases(now, false);
            for LeaseReturn { end_user_id, id, returned } in returns {
                let frame = encode(&Request::Return { end_user_id, id, returned }).unwrap();
                self.later(Event::Lease { conn, sidecar: index, frame });
            }
        }
    }

    /// A run that has begun after another one knows the other's leases, and tries what it must not.
    pub(crate) fn return_leases_of_earlier_run(&mut self, index: usize) {
        let Some(conn) = self.sidecars[index].link else { return };
        for HeldLease { end_user_id, id, .. } in std::mem::take(&mut self.sidecars[index].leases_before) {
            let returned = Credits::MAX;
            let frame = encode(&Request::Return { end_user_id, id, returned }).unwrap();
            self.later(Event::Lease { conn, sidecar: index, frame });
        }
    }

    /// A new run of a sidecar holds nothing.
    pub(crate) fn leases_end_with_their_run(&mut self, index: usize) {
        let now = self.clock(index);
        let Sidecar { machine, disk, held_leases, leases_before, asking, .. } = &mut self.sidecars[index];
        asking.clear();
        *leases_before = std::mem::take(held_leases);
        if self.fault == Some(Fault::LeasesKeptAcrossRestarts) {
            for HeldLease { end_user_id, id, granted, until } in leases_before.drain(..) {
                let purpose = (&end_user_id, &key(FEATURE));
                machine.lease_opened(purpose, id, (granted, until), &|id| disk.file.get(id), now);
            }
        }
    }

    /// The link is gone: of what was asked nobody knows whether it was done.
    pub(crate) fn doubt_leases(&mut self, index: usize) {
        let Sidecar { machine, asking, .. } = &mut self.sidecars[index];
        for (end_user_id, id) in std::mem::take(asking) {
            machine.lease_doubtful(&end_user_id, id);
        }
    }

    /// Notes when the ledger has taken what was consumed. What comes in time is taken from its lease.
    fn note_recorded(&mut self) {
        let now = at(self.now);
        for (event, (_, lease)) in &self.strict.admitted {
            let Some(record) = self.server.records.get(event) else { continue };
            if !self.strict.recorded.contains_key(event) {
                self.strict.recorded.insert(event.clone(), now);
                assert!(
                    now >= self.strict.grace_ends(*lease) || record.reservation_id == Some(*lease),
                    "{event:?} came in time and found no lease"
                );
            }
        }
    }

    /// Nobody was told of more than there was, but for what is reported after its grace.
    pub(crate) fn check_strict(&mut self) {
        let known = (self.acknowledged.len(), self.server.records.len());
        if std::mem::replace(&mut self.strict.known, known) == known {
            return;
        }
        self.note_recorded();
        for (id, granted) in &self.strict.granted {
            let told = self.strict.admitted.iter().filter(|(event, _)| event.0 == *id);
            let told = told.filter(|(event, _)| self.acknowledged.contains(event));
            let (mut sum, mut late) = (0, 0);
            for (event, (cost, lease)) in told {
                sum += cost;
                let reported = self.strict.recorded.get(event).copied().unwrap_or(at(self.now));
                late += if reported >= self.strict.grace_ends(*lease) { *cost } else { 0 };
            }
            assert!(sum - late <= *granted, "{id}: {sum} of {granted} were given out, {late} of it late");
            assert!(late == 0 || self.outage_micros_max > LEASE_GRACE_MICROS, "{id}: {late} came late");
        }
    }

    /// All leases are over and nothing is stranded.
    pub(crate) fn check_strict_at_rest(&self) {
        let then = at(self.now + LEASE_TTL_MICROS + LEASE_GRACE_MICROS);
        for (id, granted) in &self.strict.granted {
            let account = &self.server.rows[id].account;
            let mut wallet = account.wallet.clone();
            read_at(&mut wallet, &self.server.catalogue, then);
            let totals = wallet.totals();
            assert_eq!(totals.reserved.get(), 0, "{id}");
            let owns = totals.balance.get() - totals.debt.get();
            assert!(owns <= granted - account.lifetime_consumed.get(), "{id}: some of it may have expired");
        }
    }
}
