//! The outbox: usage on its way to the ledger, in lanes, at most one batch per lane unanswered.
//!
//! Invariants: an event is sent only when its record is durable; it stays until it was answered; a record is
//! removed an hour after its answer, and never before a durable replica holds its state. Of one account's waiting
//! events, those that may have reached the ledger are the first. Used by [`super::machine`] only.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::ids::{EndUserId, IdempotencyKey, LaneCount};
use crate::limits::BATCH_EVENTS_MAX;
use crate::sync::handover::OutboxStatus;
use crate::sync::record::{Admission, OutboxWrite, Record, Status};
use crate::time::{MICROS_PER_SECOND, Timestamp};
use crate::wire::UsageEvent;

/// How long an event waits for others to share its batch.
pub(crate) const BATCH_AGE_MICROS: i64 = 5_000;
/// Bytes of events in one batch (one event is always taken).
const BATCH_BYTES_MAX: usize = 256 << 10;
/// How long answered events are kept: for a client's repeat, and for a server that lost its history.
const ANSWERED_KEPT_MICROS: i64 = 3_600 * MICROS_PER_SECOND;
/// After a fault of the server an event waits this long.
const RETRY_MICROS: i64 = 10 * MICROS_PER_SECOND;
/// More than an event without its texts can take in an encoded batch.
const EVENT_BYTES_BASE: usize = 128;
/// Records that one look removes: whoever waits for the outbox waits no longer than that takes.
const PRUNED_MAX: usize = 4_096;

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) admission: Arc<Admission>,
    pub(crate) status: Status,
    bytes: usize,
    queued_at: Timestamp,
    /// The write that must be durable before it is sent.
    ticket: u64,
    /// It may have reached the ledger, and no answer is here.
    pub(crate) uncertain: bool,
}

/// Events of one lane to send on a stream of their own, as [`crate::wire::Request::Usage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Names the batch when its answer is handed back.
    pub id: u64,
    /// The lane.
    pub lane: u16,
    /// The events, in order of admission.
    pub events: Vec<UsageEvent>,
}

#[derive(Debug, Default)]
struct Lane {
    queue: BTreeSet<u64>,
    bytes: usize,
    in_flight: Option<(u64, Vec<u64>)>,
    not_before: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) entries: BTreeMap<u64, Entry>,
    /// Of what waits or was recorded: the key of a refused event may be used again.
    keys: HashMap<(EndUserId, IdempotencyKey), u64>,
    count: LaneCount,
    lanes: Vec<Lane>,
    /// Events that failed by a fault of the server, with the instant of their next attempt.
    deferred: BTreeSet<(Timestamp, u64)>,
    /// Recorded events in order of their answers.
    answered: VecDeque<(Timestamp, u64)>,
    /// Refused events in order of admission.
    refused: BTreeSet<u64>,
    refused_bytes: usize,
    /// Refused events that were removed, to be told of.
    dropped: Vec<Arc<Admission>>,
    /// Everything up to this event is to be sent without waiting for company.
    flush_to: u64,
    next_seq: u64,
    next_batch: u64,
    /// Events that wait for their answers.
    waiting: BTreeSet<u64>,
    /// Their bytes.
    bytes: usize,
    writes: Vec<OutboxWrite>,
    ticket: u64,
    committed: u64,
}

impl Outbox {
    /// An outbox with the stored `records`, in order of `seq`. Those that wait may have been sent before.
    pub(crate) fn open(records: Vec<Record>, now: Timestamp) -> Self {
        let one_lane = LaneCount::new(1).expect("one is a power of two");
        let mut outbox = Self {
            entries: BTreeMap::new(),
            keys: HashMap::new(),
            count: one_lane,
            lanes: vec![Lane::default()],
            deferred: BTreeSet::new(),
            answered: VecDeque::new(),
            refused: BTreeSet::new(),
            refused_bytes: 0,
            dropped: Vec::new(),
            flush_to: 0,
            next_seq: 1,
            next_batch: 1,
            waiting: BTreeSet::new(),
            bytes: 0,
            writes: Vec::new(),
            ticket: 0,
            committed: 0,
        };
        for Record { seq, admission, status } in records {
            outbox.next_seq = outbox.next_seq.max(seq + 1);
            outbox.insert(seq, admission, status, now);
        }
        let mut answered: Vec<(Timestamp, u64)> = outbox.answered.drain(..).collect();
        answered.sort_unstable();
        outbox.answered = answered.into();
        outbox
    }

    fn insert(&mut self, seq: u64, admission: Arc<Admission>, status: Status, now: Timestamp) {
        let bytes = bytes_of(&admission);
        let uncertain = status == Status::Waiting;
        match status {
            Status::Waiting => {
                self.waiting.insert(seq);
                self.bytes += bytes;
            }
            Status::Answered { at, .. } => self.answered.push_back((at, seq)),
            Status::Refused { .. } => {
                self.refused.insert(seq);
                self.refused_bytes += bytes;
            }
        }
        if !matches!(status, Status::Refused { .. }) {
            self.keys.insert(key_of(&admission), seq);
        }
        let entry = Entry { admission, status, bytes, queued_at: now, ticket: self.ticket, uncertain };
        self.entries.insert(seq, entry);
        if uncertain {
            self.enqueue(seq);
        }
    }

    /// Numbers for status and metrics.
    pub(crate) fn status(&self) -> OutboxStatus {
        OutboxStatus {
            waiting: self.waiting.len(),
            bytes: self.bytes,
            refused: self.refused.len(),
            refused_bytes: self.refused_bytes,
        }
    }

    /// The event of this end user and key that waits or was recorded, and its ticket.
    pub(crate) fn find(&self, end_user_id: &EndUserId, key: &IdempotencyKey) -> Option<(Arc<Admission>, u64)> {
        let entry = &self.entries[self.keys.get(&(end_user_id.clone(), key.clone()))?];
        Some((Arc::clone(&entry.admission), entry.ticket))
    }

    /// Takes a new event: `(seq, ticket)`. It is acknowledged once the ticket is committed.
    pub(crate) fn admit(&mut self, admission: Arc<Admission>, now: Timestamp) -> (u64, u64) {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.write(OutboxWrite::Put(Record { seq, admission: Arc::clone(&admission), status: Status::Waiting }));
        self.insert(seq, admission, Status::Waiting, now);
        self.entries.get_mut(&seq).expect("just inserted").uncertain = false;
        (seq, self.ticket)
    }

    pub(crate) fn write(&mut self, write: OutboxWrite) {
        self.ticket += 1;
        self.writes.push(write);
    }

    /// What is to be written in one durable commit, and the ticket that it fulfils.
    pub(crate) fn take_writes(&mut self) -> Option<(u64, Vec<OutboxWrite>)> {
        (!self.writes.is_empty()).then(|| (self.ticket, std::mem::take(&mut self.writes)))
    }

    pub(crate) fn committed(&mut self, ticket: u64) {
        self.committed = self.committed.max(ticket);
    }

    /// The ticket of the last write.
    pub(crate) const fn ticket(&self) -> u64 {
        self.ticket
    }

    pub(crate) const fn is_committed(&self, ticket: u64) -> bool {
        ticket <= self.committed
    }

    pub(crate) fn is_full(&self, admission: &Admission, bytes_max: usize) -> bool {
        self.bytes + bytes_of(admission) > bytes_max
    }

    fn lane_of(&self, seq: u64) -> usize {
        usize::from(self.count.lane_of(self.entries[&seq].admission.end_user_id.bucket()))
    }

    fn enqueue(&mut self, seq: u64) {
        let lane = self.lane_of(seq);
        if self.lanes[lane].queue.insert(seq) {
            self.lanes[lane].bytes += self.entries[&seq].bytes;
        }
    }

    /// The link is up, with this many lanes: everything without an answer is to be sent (again).
    pub(crate) fn route(&mut self, count: LaneCount) {
        self.count = count;
        self.deferred.clear();
        self.lanes = (0..count.get()).map(|_| Lane::default()).collect();
        let waiting = std::mem::take(&mut self.waiting);
        waiting.iter().for_each(|seq| self.enqueue(*seq));
        self.waiting = waiting;
    }

    /// What was in flight may or may not have arrived.
    pub(crate) fn link_down(&mut self) {
        for lane in 0..self.lanes.len() {
            self.unsend(lane);
        }
    }

    fn unsend(&mut self, lane: usize) {
        if let Some((_, seqs)) = self.lanes[lane].in_flight.take() {
            self.put_back(&seqs);
        }
    }

    /// Events that another history than `epoch` answered wait again: the server may not know them. Returns each
    /// one's `seq`, and the stamp of the answer.
    pub(crate) fn send_answered_again(&mut self, epoch: [u8; 16]) -> Vec<(u64, Option<u64>)> {
        let entries = &self.entries;
        let is_of_another =
            |seq: u64| matches!(entries[&seq].status, Status::Answered { epoch: known, .. } if known != epoch);
        let (again, kept) = self.answered.drain(..).partition(|(_, seq)| is_of_another(*seq));
        self.answered = kept;
        let again: VecDeque<(Timestamp, u64)> = again;
        let mut stamps = Vec::with_capacity(again.len());
        for (_, seq) in &again {
            let entry = self.entries.get_mut(seq).expect("what is answered is kept as an entry");
            stamps.push((*seq, entry.status.answered_stamp()));
            entry.status = Status::Waiting;
            entry.uncertain = true;
            let (bytes, admission) = (entry.bytes, Arc::clone(&entry.admission));
            self.waiting.insert(*seq);
            self.bytes += bytes;
            self.write(OutboxWrite::Put(Record { seq: *seq, admission, status: Status::Waiting }));
        }
        stamps
    }

    pub(crate) fn flush(&mut self) -> u64 {
        self.flush_to = self.next_seq - 1;
        self.flush_to
    }

    /// The first event without an answer.
    pub(crate) fn first_waiting(&self) -> Option<u64> {
        self.waiting.first().copied()
    }

    /// Batches that are due, at most `in_flight_max` unanswered in all; and when to look again.
    pub(crate) fn poll(&mut self, in_flight_max: usize, now: Timestamp) -> (Vec<Batch>, Option<Timestamp>) {
        while let Some((at, seq)) = self.deferred.first().copied().filter(|(at, _)| *at <= now) {
            self.deferred.remove(&(at, seq));
            self.enqueue(seq);
        }
        let mut batches = Vec::new();
        let mut wake = self.deferred.first().map(|(at, _)| *at);
        let mut in_flight = self.lanes.iter().filter(|lane| lane.in_flight.is_some()).count();
        for lane in 0..self.lanes.len() {
            if in_flight >= in_flight_max || self.lanes[lane].in_flight.is_some() {
                continue;
            }
            match self.due(lane) {
                Some(at) if at <= now => {
                    batches.push(self.form_batch(lane));
                    in_flight += 1;
                }
                due => wake = [wake, due].into_iter().flatten().min(),
            }
        }
        (batches, wake)
    }

    /// When the lane's next batch is due; `None` without a durable event.
    fn due(&self, lane: usize) -> Option<Timestamp> {
        let lane = &self.lanes[lane];
        let first = lane.queue.first()?;
        let entry = &self.entries[first];
        if entry.ticket > self.committed {
            return None;
        }
        let full = lane.queue.len() >= BATCH_EVENTS_MAX || lane.bytes >= BATCH_BYTES_MAX || *first <= self.flush_to;
        let ripe = if full { Timestamp::MIN } else { entry.queued_at.saturating_add_micros(BATCH_AGE_MICROS) };
        Some(ripe.max(lane.not_before))
    }

    fn form_batch(&mut self, index: usize) -> Batch {
        let lane = &mut self.lanes[index];
        let (mut seqs, mut events, mut bytes) = (Vec::new(), Vec::new(), 0);
        for seq in &lane.queue {
            let entry = self.entries.get_mut(seq).expect("what is queued is an entry");
            let full = seqs.len() == BATCH_EVENTS_MAX || bytes + entry.bytes > BATCH_BYTES_MAX;
            if entry.ticket > self.committed || (full && !seqs.is_empty()) {
                break;
            }
            entry.uncertain = true;
            bytes += entry.bytes;
            seqs.push(*seq);
            events.push(UsageEvent {
                end_user_id: entry.admission.end_user_id.clone(),
                usage: entry.admission.usage.clone(),
            });
        }
        seqs.iter().for_each(|seq| {
            lane.queue.remove(seq);
        });
        lane.bytes -= bytes;
        let id = self.next_batch;
        self.next_batch += 1;
        lane.in_flight = Some((id, seqs));
        Batch { id, lane: u16::try_from(index).expect("there are at most 256 lanes"), events }
    }

    fn lane_in_flight(&self, batch: u64) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.in_flight.as_ref().is_some_and(|(id, _)| *id == batch))
    }

    /// Takes the events of a batch out of flight, for their answers. `None` for a batch of an earlier link.
    pub(crate) fn land(&mut self, batch: u64) -> Option<Vec<u64>> {
        let lane = self.lane_in_flight(batch)?;
        self.lanes[lane].in_flight.take().map(|(_, seqs)| seqs)
    }

    /// Events that were taken out of flight go back to their lanes.
    pub(crate) fn put_back(&mut self, seqs: &[u64]) {
        seqs.iter().for_each(|seq| self.enqueue(*seq));
    }

    /// The batch was not done, or it is not known whether it was: again after `delay_micros`.
    pub(crate) fn again(&mut self, batch: u64, delay_micros: i64, now: Timestamp) {
        if let Some(lane) = self.lane_in_flight(batch) {
            self.unsend(lane);
            self.lanes[lane].not_before = now.saturating_add_micros(delay_micros);
        }
    }

    /// An event failed by a fault of the server: again later, apart from the others. It stays uncertain: an attempt
    /// over an earlier link may still be on its way.
    pub(crate) fn defer(&mut self, seq: u64, now: Timestamp) {
        self.deferred.insert((now.saturating_add_micros(RETRY_MICROS), seq));
    }

    /// An event has its final answer.
    pub(crate) fn settle(&mut self, seq: u64, status: Status) {
        let entry = self.entries.get_mut(&seq).expect("what was in flight is an entry");
        entry.status = status.clone();
        entry.uncertain = false;
        self.waiting.remove(&seq);
        self.bytes -= entry.bytes;
        let admission = Arc::clone(&entry.admission);
        match &status {
            Status::Answered { at, .. } => self.answered.push_back((*at, seq)),
            Status::Refused { .. } => {
                self.refused.insert(seq);
                self.refused_bytes += entry.bytes;
                self.keys.remove(&key_of(&admission));
            }
            Status::Waiting => unreachable!("an answer ends the waiting"),
        }
        self.write(OutboxWrite::Put(Record { seq, admission, status }));
    }

    /// Removes what was recorded long ago, or what is more than `kept_max`, oldest first, if `is_durable`; and of the
    /// refused what is more than `refused_bytes_max`. Some now, the rest at the next look.
    pub(crate) fn prune(
        &mut self,
        (kept_max, refused_bytes_max): (usize, usize),
        now: Timestamp,
        is_durable: impl Fn(u64, &Entry) -> bool,
    ) {
        for _ in 0..PRUNED_MAX {
            let Some((at, seq)) = self.answered.front().copied() else { break };
            let is_old = now.micros_since(at) > ANSWERED_KEPT_MICROS || self.answered.len() > kept_max;
            if !is_old || !is_durable(seq, &self.entries[&seq]) {
                break;
            }
            self.answered.pop_front();
            let entry = self.remove(seq);
            self.keys.remove(&key_of(&entry.admission));
        }
        while self.refused_bytes > refused_bytes_max {
            let seq = self.refused.pop_first().expect("bytes are of events");
            let entry = self.remove(seq);
            self.refused_bytes -= entry.bytes;
            self.dropped.push(entry.admission);
        }
    }

    fn remove(&mut self, seq: u64) -> Entry {
        self.write(OutboxWrite::Remove(seq));
        self.entries.remove(&seq).expect("what was answered is kept as an entry")
    }

    /// Refused events, in order of admission.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.refused.iter().map(|seq| (*seq, &self.entries[seq]))
    }

    /// Refused events that were removed since the last call.
    pub(crate) fn take_dropped(&mut self) -> Vec<Arc<Admission>> {
        std::mem::take(&mut self.dropped)
    }
}

fn key_of(admission: &Admission) -> (EndUserId, IdempotencyKey) {
    (admission.end_user_id.clone(), admission.usage.key.clone())
}

fn bytes_of(admission: &Admission) -> usize {
    let usage = &admission.usage;
    let texts = [admission.end_user_id.as_str(), usage.key.as_str(), usage.feature_key.as_str()];
    let properties = usage.properties.iter().map(|(name, value)| name.len() + value.len() + 4);
    EVENT_BYTES_BASE + texts.iter().map(|text| text.len()).sum::<usize>() + properties.sum::<usize>()
}
