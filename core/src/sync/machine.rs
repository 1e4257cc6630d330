//! The [`Machine`]: all that a sidecar decides, without disk, network and clock.
//!
//! The glue keeps it under one mutex, calls it with what happened, and carries out what it hands back **before it
//! releases the mutex** where that is memory ([`Machine::take_shown`]), and after it where that is I/O:
//! [`Machine::poll`] gives batches to send, [`Machine::take_outbox_writes`] and [`Machine::take_replica_writes`] give
//! what to store. Checks do not come here: they read the states shown last, in the glue's own map, and only a miss
//! there asks [`Machine::view`].
//!
//! Rules that the glue keeps:
//! - An event is acknowledged when its ticket is committed durably ([`Machine::outbox_committed`]). If such a commit
//!   fails, nothing may be acknowledged any more: exit and open again.
//! - `now` is real server time as the sidecar knows it, and never goes back; the environment's own clock is applied
//!   inside. Checks use `catalogue.clock.at(now)`.
//! - Messages of one link are handed over in the order of their stream, and none after [`Machine::link_down`].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::ids::{EndUserId, LaneCount};
use crate::ledger::command::Usage;
use crate::ledger::hold::Hold;
use crate::ledger::refusal::Refusal;
use crate::state::AccountState;
use crate::sync::leases::Leases;
use crate::sync::machine::leasing::is_strict;
use crate::sync::outbox::Outbox;
use crate::sync::overlay::{charge, effective};
use crate::sync::record::{Admission, OutboxWrite, Status, UsageAnswer};
use crate::sync::replica::Replica;
use crate::time::Timestamp;
use crate::wire::{BatchAnswer, BatchReply, Cursor, Delta, EventResult, Mode, Welcome, follow_hash};

pub use crate::sync::handover::{Admitted, Config, NotAdmitted, OutboxStatus, ReplicaWrites, Shown, Stored, SyncError};
pub use crate::sync::leases::{LeaseReturn, LeaseWish};
pub use crate::sync::outbox::Batch;
pub use crate::sync::replica::Held;

mod leasing;

/// Up to so many pending events of one account, every change is shown at once.
const REPLAYED_AT_ONCE_MAX: usize = 1_024;
/// Beyond, the pending events are replayed when this share of them was answered: each answer then costs a constant.
const REPLAYED_SHARE: usize = 8;

/// An account with usage that is not in its state yet.
#[derive(Debug, Default)]
struct Account {
    /// The state as it came; `None` until one comes.
    base: Option<Arc<AccountState>>,
    /// `base` with the pending events taken from it, or an earlier `base` with those that were pending then.
    effective: Option<Arc<AccountState>>,
    /// Events without an answer.
    waiting: BTreeSet<u64>,
    /// Answered events that `base` does not hold, by the stamp from which on states do.
    answered: BTreeSet<(u64, u64)>,
    /// Events answered since `effective` was computed.
    unseen: usize,
    /// The newest state that came while an event was unanswered that may be in it.
    parked: Option<Arc<AccountState>>,
}

impl Account {
    /// All pending events, in order of admission.
    fn pending(&self) -> Vec<u64> {
        let mut seqs: Vec<u64> =
            self.waiting.iter().copied().chain(self.answered.iter().map(|(_, seq)| *seq)).collect();
        seqs.sort();
        seqs
    }

    /// Whether `effective` is to be computed anew. Of very many pending events the last computation stands for a
    /// while: it is what was true then, and counts nothing twice.
    fn is_replay_due(&self) -> bool {
        let pending = self.waiting.len() + self.answered.len();
        pending <= REPLAYED_AT_ONCE_MAX
            || self.unseen >= pending / REPLAYED_SHARE
            || self.effective.is_none()
            || self.base.as_ref().is_none_or(|base| base.partial)
    }
}

/// The state of a sidecar.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    environment: Option<String>,
    replica: Replica,
    outbox: Outbox,
    leases: Leases,
    accounts: HashMap<EndUserId, Account>,
    lanes: Option<LaneCount>,
    /// While the link is up: how many batches may be unanswered.
    in_flight_max: Option<u16>,
    shown: Vec<Shown>,
    /// The next transaction of the replica, and the ticket of the outbox that must be durable before it: a stored state
    /// never holds an event that the outbox on disk still believes to be waiting.
    sealed: Option<(u64, ReplicaWrites)>,
    #[cfg(feature = "broken-rules")]
    applies_states_over_answers: bool,
}

impl Machine {
    /// Goes on from what was stored. Call [`Self::take_shown`] next.
    pub fn open(config: Config, stored: Stored, held: Held<'_>, now: Timestamp) -> Self {
        let Stored { environment, records, meta, catalogue } = stored;
        let mut machine = Self {
            config,
            environment,
            lanes: meta.as_ref().and_then(|meta| LaneCount::new(u16::try_from(meta.lanes.len()).ok()?)),
            replica: Replica::open(config.mode, meta, catalogue),
            outbox: Outbox::open(records, now),
            leases: Leases::default(),
            accounts: HashMap::new(),
            in_flight_max: None,
            sealed: None,
            shown: Vec::new(),
            #[cfg(feature = "broken-rules")]
            applies_states_over_answers: false,
        };
        machine.shown.extend(machine.replica.catalogue.clone().map(Shown::Catalogue));
        machine.find_pending(held);
        machine
    }

    /// What is stored of the outbox but not in the stored states is pending.
    fn find_pending(&mut self, held: Held<'_>) {
        for (seq, entry) in &self.outbox.entries {
            let id = &entry.admission.end_user_id;
            match entry.status {
                Status::Waiting => {
                    self.accounts.entry(id.clone()).or_default().waiting.insert(*seq);
                }
                Status::Answered { epoch, stamp, .. } => {
                    // A replica of all will hear of it. On demand, what comes where nothing is held is read after the
                    // answer.
                    let state = self.replica.state(id, held).map(|state| state.stamp);
                    let known = state.or_else(|| (self.config.mode == Mode::All).then_some(0));
                    let is_same = self.replica.epoch.is_none_or(|known| known == epoch);
                    if is_same && known.is_some_and(|known| known < stamp) {
                        self.accounts.entry(id.clone()).or_default().answered.insert((stamp, *seq));
                    }
                }
                Status::Refused { .. } => {}
            }
        }
        let ids: Vec<EndUserId> = self.accounts.keys().cloned().collect();
        for id in ids {
            self.accounts.get_mut(&id).expect("just listed").base = self.replica.state(&id, held);
            self.refresh(&id);
        }
    }

    // The link.

    /// What hello says of the replica.
    pub fn cursor(&self) -> Option<Cursor> {
        let epoch = self.replica.epoch?;
        Some(Cursor { epoch, lanes: self.replica.cursor.clone() })
    }

    /// The version of the catalogue it has; 0 = none.
    pub fn catalogue_version(&self) -> u64 {
        self.replica.catalogue_version()
    }

    /// Hashes of the accounts it wants beside those that are stored: with these, a `Follow` is complete.
    pub fn followed_beside_stored(&self) -> Vec<u64> {
        self.replica.unstored().chain(self.accounts.keys()).map(follow_hash).collect()
    }

    /// The server took the sidecar in.
    pub fn link_up(&mut self, welcome: &Welcome) -> Result<(), SyncError> {
        match &self.environment {
            Some(expected) if *expected != welcome.environment => {
                return Err(SyncError::WrongEnvironment {
                    expected: expected.clone(),
                    found: welcome.environment.clone(),
                });
            }
            Some(_) => {}
            None => {
                self.environment = Some(welcome.environment.clone());
                self.outbox.write(OutboxWrite::Environment(welcome.environment.clone()));
            }
        }
        let lanes = usize::from(welcome.lanes.get());
        if welcome.resume && (self.replica.epoch, self.replica.cursor.len()) != (Some(welcome.epoch), lanes) {
            return Err(SyncError::Protocol("a cursor of another history was taken"));
        }
        if self.replica.epoch.is_some_and(|epoch| epoch != welcome.epoch) {
            self.leases.forget();
        }
        if !welcome.resume {
            self.start_afresh(welcome.epoch, lanes);
        }
        let mut ids = BTreeSet::new();
        for (seq, stamp) in self.outbox.send_answered_again(welcome.epoch) {
            let id = &self.outbox.entries[&seq].admission.end_user_id;
            let account = self.accounts.entry(id.clone()).or_default();
            stamp.and_then(|stamp| account.answered.take(&(stamp, seq)));
            account.waiting.insert(seq);
            ids.insert(id.clone());
        }
        ids.iter().for_each(|id| self.refresh(id));
        self.lanes = Some(welcome.lanes);
        self.outbox.route(welcome.lanes);
        self.in_flight_max = Some(welcome.in_flight_max);
        Ok(())
    }

    fn start_afresh(&mut self, epoch: [u8; 16], lanes: usize) {
        self.replica.reset(epoch, lanes);
        self.shown.push(Shown::Reset);
        for account in self.accounts.values_mut() {
            (account.base, account.effective, account.parked) = (None, None, None);
        }
    }

    /// The link is gone: batches without an answer will be sent again.
    pub fn link_down(&mut self) {
        self.in_flight_max = None;
        self.outbox.link_down();
        self.leases.link_down();
    }

    /// A message of the stream of deltas.
    pub fn delta(&mut self, delta: Delta, held: Held<'_>) -> Result<(), SyncError> {
        match delta {
            Delta::States(states) => states.into_iter().try_for_each(|state| self.offer(Arc::new(state), held)),
            Delta::Progress { lanes, as_of } => self.replica.progress(&lanes, as_of),
            Delta::Catalogue { version, index, count, bytes } => {
                let Some(readable) = self.replica.catalogue_part((version, index, count), &bytes.0)? else {
                    return Ok(());
                };
                self.shown.extend(self.replica.catalogue.clone().map(Shown::Catalogue));
                readable.into_iter().try_for_each(|state| self.offer(state, held))
            }
        }
    }

    /// Before a fetch is sent. While it runs, states of this end user are wanted although none is held.
    pub fn fetch_begins(&mut self, end_user_id: &EndUserId) {
        self.replica.fetching.insert(end_user_id.clone());
    }

    /// The fetch is over: with a state, or (`None`) it failed.
    pub fn fetched(
        &mut self,
        end_user_id: &EndUserId,
        state: Option<AccountState>,
        held: Held<'_>,
    ) -> Result<(), SyncError> {
        let offered = state.map_or(Ok(()), |state| self.offer(Arc::new(state), held));
        self.replica.fetching.remove(end_user_id);
        offered
    }

    /// Applies a state, or puts it aside.
    fn offer(&mut self, state: Arc<AccountState>, held: Held<'_>) -> Result<(), SyncError> {
        let id = state.end_user_id.clone();
        if self.replica.is_behind(&state, self.lane_of(&id))? {
            return Ok(());
        }
        let Some(account) = self.accounts.get_mut(&id) else {
            let newer = match self.replica.state(&id, held) {
                Some(known) => known.stamp < state.stamp,
                None => self.config.mode == Mode::All || self.replica.fetching.contains(&id),
            };
            if newer {
                self.replica.store(&state);
                self.shown.push(Shown::State(state));
            }
            return Ok(());
        };
        let first = account.waiting.first();
        let is_uncertain = first.is_some_and(|first| self.outbox.entries[first].uncertain);
        #[cfg(feature = "broken-rules")]
        let is_uncertain = is_uncertain && !self.applies_states_over_answers;
        if is_uncertain {
            // It may or may not hold those events: only their answer tells.
            if account.parked.as_ref().is_none_or(|parked| parked.stamp < state.stamp) {
                account.parked = Some(state);
            }
        } else if account.answered.last().is_some_and(|(answered, _)| state.stamp < *answered) {
            // It may hold some of those events, not all: the state that came with the answer, or a newer one, will come.
        } else if account.base.as_ref().is_none_or(|base| base.stamp < state.stamp) {
            self.replica.store(&state);
            account.base = Some(state);
            self.refresh(&id);
        }
        Ok(())
    }

    /// Breaks the rule that a state waits while the answer to an event is on its way that it may hold.
    #[cfg(feature = "broken-rules")]
    pub fn apply_states_over_answers(&mut self) {
        self.applies_states_over_answers = true;
    }

    /// Drops what the state holds by now, and computes what checks see. An account without pending usage is an
    /// ordinary one again.
    fn refresh(&mut self, id: &EndUserId) {
        let Some(account) = self.accounts.get_mut(id) else { return };
        if let Some(base) = &account.base {
            account.answered = account.answered.split_off(&(base.stamp + 1, 0));
        }
        if account.is_replay_due() {
            account.unseen = 0;
            account.effective = match (&account.base, &self.replica.catalogue) {
                (Some(base), Some(catalogue)) => {
                    let usage_of = |seq: &u64| &self.outbox.entries[seq].admission.usage;
                    let is_own = |hold: &Hold| self.leases.holds(id, &hold.feature_key, hold.id);
                    Some(effective(base, catalogue, account.pending().iter().map(usage_of), is_own))
                }
                (base, _) => base.clone(),
            };
            self.shown.extend(account.effective.clone().map(Shown::State));
        }
        let is_settled = account.waiting.is_empty() && account.answered.is_empty() && account.parked.is_none();
        if is_settled && !self.leases.has(id) {
            self.accounts.remove(id);
        }
    }

    fn lane_of(&self, id: &EndUserId) -> usize {
        self.lanes.map_or(0, |lanes| usize::from(lanes.lane_of(id.bucket())))
    }

    // Batches.

    /// Batches that are due, and when to ask again if nothing happens before.
    pub fn poll(&mut self, now: Timestamp) -> (Vec<Batch>, Option<Timestamp>) {
        let (replica, accounts) = (&self.replica, &self.accounts);
        let kept_max = (self.config.answered_kept_max, self.config.outbox_bytes_max);
        self.outbox.prune(kept_max, now, |seq, entry| {
            let id = &entry.admission.end_user_id;
            let is_in_state = |stamp| !accounts.get(id).is_some_and(|account| account.answered.contains(&(stamp, seq)));
            entry.status.answered_stamp().is_some_and(is_in_state) && replica.is_durable(id)
        });
        match self.in_flight_max {
            Some(in_flight_max) => self.outbox.poll(usize::from(in_flight_max), now),
            None => (Vec::new(), None),
        }
    }

    /// The reply to a batch. Replies to batches of an earlier link are ignored.
    pub fn answered(&mut self, batch: u64, reply: BatchReply, held: Held<'_>, now: Timestamp) -> Result<(), SyncError> {
        match reply {
            BatchReply::Busy { delay_ms } => {
                self.outbox.again(batch, i64::from(delay_ms) * 1_000, now);
                Ok(())
            }
            BatchReply::Answer(answer) => self.take_answer(batch, answer, held, now),
        }
    }

    /// The batch's stream broke, the link did not: the batch is sent again after a while.
    pub fn batch_failed(&mut self, batch: u64, now: Timestamp) {
        const DELAY_MICROS: i64 = 1_000_000;
        self.outbox.again(batch, DELAY_MICROS, now);
    }

    fn take_answer(
        &mut self,
        batch: u64,
        answer: BatchAnswer,
        held: Held<'_>,
        now: Timestamp,
    ) -> Result<(), SyncError> {
        let Some(seqs) = self.outbox.land(batch) else { return Ok(()) };
        let stamps: HashMap<&EndUserId, u64> =
            answer.states.iter().map(|state| (&state.end_user_id, state.stamp)).collect();
        let stamp_of = |seq: &u64| stamps.get(&self.outbox.entries[seq].admission.end_user_id).copied();
        let seqs_with_stamps: Vec<(u64, Option<u64>)> = seqs.iter().map(|seq| (*seq, stamp_of(seq))).collect();
        if answer.results.len() != seqs.len() || seqs_with_stamps.iter().any(|(_, stamp)| stamp.is_none()) {
            self.outbox.put_back(&seqs);
            return Err(SyncError::Protocol("an answer that does not fit its batch"));
        }
        let epoch = self.replica.epoch.expect("batches are sent over a link, and a link has a history");
        let mut ids = BTreeSet::new();
        for ((seq, stamp), result) in seqs_with_stamps.into_iter().zip(answer.results) {
            let id = &self.outbox.entries[&seq].admission.end_user_id;
            let account = self.accounts.get_mut(id).expect("an account is kept while an event of it waits");
            ids.insert(id.clone());
            match result {
                EventResult::Recorded { .. } => {
                    let stamp = stamp.expect("checked above");
                    account.answered.insert((stamp, seq));
                    self.outbox.settle(seq, Status::Answered { at: now, epoch, stamp });
                }
                EventResult::Refused { code, detail } => {
                    self.outbox.settle(seq, Status::Refused { at: now, code, detail });
                }
                EventResult::Failed => {
                    self.outbox.defer(seq, now);
                    continue;
                }
            }
            account.waiting.remove(&seq);
            account.unseen += 1;
        }
        // State and pending usage change in one step: the states are offered before anything is shown.
        let mut offered = Ok(());
        for state in answer.states {
            offered = offered.and(self.offer(Arc::new(state), held));
        }
        for id in ids {
            let Some(account) = self.accounts.get_mut(&id) else { continue };
            let parked = account.parked.take();
            // What the offered state has shown already needs no second computation.
            if account.unseen > 0 || parked.is_some() || account.waiting.is_empty() {
                self.refresh(&id);
            }
            if let Some(state) = parked {
                offered = offered.and(self.offer(state, held));
            }
        }
        offered
    }

    // Usage and checks.

    /// Admits usage by the ledger's rules over the state that checks see. `usage` is without `admitted_at`.
    pub fn admit(
        &mut self,
        end_user_id: &EndUserId,
        usage: Usage,
        held: Held<'_>,
        now: Timestamp,
    ) -> Result<Admitted, NotAdmitted> {
        if let Some(known) = self.find_admitted(end_user_id, &usage) {
            return known;
        }
        let (state, catalogue) = self.state_to_charge(end_user_id, held)?;
        if is_strict(&catalogue, &usage.feature_key) {
            return Err(NotAdmitted::ServerOnly);
        }
        let mut after = AccountState::clone(&state);
        let charge = charge(&mut after.wallet, &catalogue, &usage, catalogue.clock.at(now))?;
        let answer = UsageAnswer { cost: charge.cost, charged: charge.charged(), totals: after.wallet.totals() };
        let usage = Usage { admitted_at: Some(after.wallet.time), ..usage };
        let admission = Arc::new(Admission { end_user_id: end_user_id.clone(), usage, answer });
        if self.outbox.is_full(&admission, self.config.outbox_bytes_max) {
            return Err(NotAdmitted::OutboxFull);
        }
        Ok(self.take_in(admission, state, after, now))
    }

    /// What usage is decided over: the state that checks see, and the catalogue.
    fn state_to_charge(
        &self,
        end_user_id: &EndUserId,
        held: Held<'_>,
    ) -> Result<(Arc<AccountState>, Arc<Catalogue>), NotAdmitted> {
        let state = self.view(end_user_id, held).ok_or(NotAdmitted::NoState)?;
        let catalogue = self.replica.catalogue.clone().ok_or(NotAdmitted::NoState)?;
        if state.partial { Err(NotAdmitted::Partial) } else { Ok((state, catalogue)) }
    }

    /// Takes an admitted event into the outbox: checks see `after` from now on.
    fn take_in(
        &mut self,
        admission: Arc<Admission>,
        state: Arc<AccountState>,
        after: AccountState,
        now: Timestamp,
    ) -> Admitted {
        let (seq, ticket) = self.outbox.admit(Arc::clone(&admission), now);
        let account = self.accounts.entry(admission.end_user_id.clone()).or_default();
        account.base.get_or_insert(state);
        account.waiting.insert(seq);
        let after = Arc::new(after);
        account.effective = Some(Arc::clone(&after));
        Admitted { admission, ticket, replayed: false, state: Some(after), is_low: false }
    }

    /// What this end user and key were admitted as, or that it was something else.
    fn find_admitted(&self, end_user_id: &EndUserId, usage: &Usage) -> Option<Result<Admitted, NotAdmitted>> {
        let (admission, ticket) = self.outbox.find(end_user_id, &usage.key)?;
        if admission.usage.fingerprint() != usage.fingerprint() {
            return Some(Err(Refusal::IdempotencyConflict.into()));
        }
        Some(Ok(Admitted { admission, ticket, replayed: true, state: None, is_low: false }))
    }

    /// What a check of this end user reads; `None` if its state is elsewhere or on its way. A replica of all knows the
    /// empty state of whom it has not heard of.
    pub fn view(&self, end_user_id: &EndUserId, held: Held<'_>) -> Option<Arc<AccountState>> {
        let account = self.accounts.get(end_user_id);
        let known = account.and_then(|account| account.effective.clone());
        let nobody = || {
            let is_nobody = account.is_none() && self.replica.knows_nobody(end_user_id);
            is_nobody.then(|| Arc::new(AccountState::unknown(end_user_id.clone())))
        };
        known.or_else(|| self.replica.state(end_user_id, held)).or_else(nobody)
    }

    /// Forgets an account that was not used for long. False if it has pending usage or is being fetched.
    pub fn forget(&mut self, end_user_id: &EndUserId) -> bool {
        let is_free = !self.accounts.contains_key(end_user_id) && !self.replica.fetching.contains(end_user_id);
        if is_free {
            self.replica.remove(end_user_id);
        }
        is_free
    }

    /// Makes everything admitted so far due at once, and names its last event for [`Self::is_answered`].
    pub fn flush(&mut self) -> u64 {
        self.outbox.flush()
    }

    /// Whether the server has answered every event up to this one.
    pub fn is_answered(&self, event: u64) -> bool {
        self.outbox.first_waiting().is_none_or(|first| first > event)
    }

    /// Accounts with usage that is not in their state yet.
    pub fn waiting_accounts(&self) -> impl Iterator<Item = &EndUserId> {
        self.accounts.keys()
    }

    // What to show and to store.

    /// What checks must see from now on, in order.
    pub fn take_shown(&mut self) -> Vec<Shown> {
        std::mem::take(&mut self.shown)
    }

    /// Changes of the outbox for one durable commit, and the ticket that it fulfils.
    pub fn take_outbox_writes(&mut self) -> Option<(u64, Vec<OutboxWrite>)> {
        self.outbox.take_writes()
    }

    /// The outbox is durable up to this ticket.
    pub fn outbox_committed(&mut self, ticket: u64) {
        self.outbox.committed(ticket);
    }

    /// Changes of the replica for one transaction; `None` while one is under way, or until the outbox is durable as far
    /// as the changes need it.
    pub fn take_replica_writes(&mut self) -> Option<ReplicaWrites> {
        if self.sealed.is_none() {
            let waiting = self.accounts.values().filter_map(|account| account.parked.as_ref());
            let lanes = self.lanes;
            let lane_of = |id: &EndUserId| lanes.map_or(0, |lanes| usize::from(lanes.lane_of(id.bucket())));
            self.sealed = self.replica.take_writes(waiting, lane_of).map(|writes| (self.outbox.ticket(), writes));
        }
        let sealed = self.sealed.take_if(|(ticket, _)| self.outbox.is_committed(*ticket));
        sealed.map(|(_, writes)| writes)
    }

    /// The transaction is visible to readers of the file; with `durable`, it and all before it survive a crash.
    pub fn replica_committed(&mut self, generation: u64, durable: bool) {
        self.replica.committed(generation, durable);
    }

    /// Changes of states that are not stored yet: stop reading deltas when there are too many.
    pub fn replica_backlog(&self) -> usize {
        self.replica.backlog()
    }

    /// When everything shown was known to be the newest; `None` until the first load is complete. Staleness counts
    /// from it.
    pub const fn as_of(&self) -> Option<Timestamp> {
        self.replica.as_of
    }

    /// Numbers of the outbox.
    pub fn outbox_status(&self) -> OutboxStatus {
        self.outbox.status()
    }

    /// When the oldest event that waits was admitted, in the environment's time.
    pub fn oldest_waiting(&self) -> Option<Timestamp> {
        self.outbox.entries[&self.outbox.first_waiting()?].admission.usage.admitted_at
    }

    /// Refused events, with code and detail.
    pub fn refused(&self) -> impl Iterator<Item = (u64, &Admission, &str, &str)> {
        self.outbox.refused().filter_map(|(seq, entry)| match &entry.status {
            Status::Refused { code, detail, .. } => Some((seq, &*entry.admission, code.as_str(), detail.as_str())),
            Status::Waiting | Status::Answered { .. } => None,
        })
    }

    /// Refused events that are no longer kept, because there are too many: log each of them whole.
    pub fn take_dropped(&mut self) -> Vec<Arc<Admission>> {
        self.outbox.take_dropped()
    }
}
