//! [`Tallies`]: what was used in the periods of a postpaid subscription, until their summaries are sent.
//!
//! A [`Tally`] is opened with its period and closed at its end; some time after that its summary is sent. An event
//! belongs to the period in which it counts. What arrives for a period whose summary was sent, or is undone of it, is
//! *late* and goes into the next summary, whichever that is. Of what was sent only its [`Stretch`]es stay, so that what
//! has been in a summary is known for as long as it can be undone. Only the ledger tallies: readers need none of it.
//!
//! Invariant: an event is in at most one tally, or it was late once; its void takes it off there, or is late itself.
//! Source: docs/subscriptions.md, "Usage summary".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::credits::{AMOUNT_MAX, Credits};
use crate::ids::{FeatureKey, SubscriptionId};
use crate::ledger::outcome::UsageRecord;
use crate::limits::{SENT_STRETCHES_MAX, UNSENT_SUMMARIES_MAX};
use crate::time::{Interval, Timestamp};

/// What was used of one feature. Of what is late, voids may outweigh it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Used {
    /// Usage that was recorded, without what was undone.
    pub events: i64,
    /// Its units; the greatest count where they are more.
    pub units: i64,
    /// What was charged for it, in the smallest credit unit; the greatest amount where it is more.
    pub cost: i64,
    /// Debt of it that went onto an invoice, likewise.
    pub billed: i64,
}

impl Used {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.units = self.units.saturating_add(other.units);
        self.cost = self.cost.saturating_add(other.cost);
        self.billed = self.billed.saturating_add(other.billed);
    }
}

/// What was used of a feature, as a summary says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureUsage {
    /// The feature.
    pub feature_key: FeatureKey,
    /// How much.
    #[serde(flatten)]
    pub used: Used,
}

/// What was used in a period, to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// When it is due.
    pub at: Timestamp,
    /// Whose period.
    pub subscription_id: SubscriptionId,
    /// The period, as far as it was postpaid.
    pub period: Interval,
    /// What was used in it, per feature.
    pub features: Vec<FeatureUsage>,
    /// What arrived of earlier periods, or was undone, since the summary before.
    pub late: Vec<FeatureUsage>,
}

type UsedByFeature = BTreeMap<FeatureKey, Used>;

/// Which events belong to a tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stretch {
    /// How many were opened before it. What counts in two belongs to the first: an import may reach back.
    number: u64,
    /// From when on events count in it.
    from: Timestamp,
    /// The last entry before it was opened: nothing recorded before belongs to it.
    opened_after: u64,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    /// Until when events count in it.
    until: Timestamp,
    /// The last entry while it was open: what was recorded by then and counts at the very end belongs to it too.
    closed_after: u64,
}

impl Stretch {
    /// Whether the event that an entry recorded belongs to it.
    fn has(&self, effective_at: Timestamp, seq: u64) -> bool {
        let ends_later = |end: End| effective_at < end.until || seq <= end.closed_after;
        seq > self.opened_after && effective_at >= self.from && self.end.is_none_or(ends_later)
    }

    /// Whether `next` goes on right where it ends.
    fn is_continued_by(&self, next: &Self) -> bool {
        self.end == Some(End { until: next.from, closed_after: next.opened_after })
    }
}

/// One period's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Tally {
    subscription_id: SubscriptionId,
    /// When the period began, by which it is known.
    period_start: Timestamp,
    stretch: Stretch,
    /// When the summary is due; `None` = the period runs.
    due: Option<Timestamp>,
    used: UsedByFeature,
}

/// All tallies of an account.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tallies {
    /// How many were ever opened.
    opened: u64,
    /// Those whose summaries are not sent, in order of opening. At most one is open.
    unsent: Vec<Tally>,
    /// What was sent, in order of opening; neighbours that touch are one.
    sent: Vec<Stretch>,
    /// What the next summary has of periods whose summary was sent.
    late: UsedByFeature,
}

impl Tallies {
    /// Whether there never was anything to tally.
    pub fn is_empty(&self) -> bool {
        self.opened == 0 && self.late.is_empty()
    }

    /// When the next summary is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.unsent.iter().filter_map(|tally| tally.due).min()
    }

    /// The start of the period of a subscription that is tallied now.
    pub(super) fn open_period(&self, id: SubscriptionId) -> Option<Timestamp> {
        self.unsent.iter().find(|tally| tally.is_open_of(id)).map(|tally| tally.period_start)
    }

    /// Whether so many summaries wait that the next one must not.
    pub(super) fn is_full(&self) -> bool {
        self.unsent.len() >= UNSENT_SUMMARIES_MAX
    }

    /// Begins to tally the period since `period_start` of a subscription, from `from` on, after the entry `seq`.
    pub(super) fn open(&mut self, id: SubscriptionId, period_start: Timestamp, from: Timestamp, seq: u64) {
        let stretch = Stretch { number: self.opened, from, opened_after: seq, end: None };
        self.opened += 1;
        self.unsent.push(Tally { subscription_id: id, period_start, stretch, due: None, used: BTreeMap::new() });
    }

    /// The period that is tallied of a subscription is over since `until`, after the entry `seq`; its summary is due.
    pub(super) fn close(&mut self, id: SubscriptionId, until: Timestamp, seq: u64, due: Timestamp) {
        if let Some(tally) = self.unsent.iter_mut().find(|tally| tally.is_open_of(id)) {
            tally.stretch.end = Some(End { until, closed_after: seq });
            tally.due = Some(due);
        }
    }

    /// Counts usage that was recorded.
    pub(super) fn count(&mut self, usage: &UsageRecord) {
        let used = Used { events: 1, units: usage.units.get(), cost: usage.charged.get(), billed: 0 };
        self.change(usage, used);
    }

    /// Takes off usage that was undone, and what of its debt invoices have.
    pub(super) fn uncount(&mut self, usage: &UsageRecord, billed: Credits) {
        let used = Used { events: -1, units: -usage.units.get(), cost: -usage.charged.get(), billed: 0 };
        self.change(usage, used);
        // The newest invoice gives first.
        let mut left = billed.get();
        for own in self.unsent.iter_mut().rev().filter_map(|tally| tally.used.get_mut(&usage.feature_key)) {
            let part = own.billed.min(left);
            own.billed -= part;
            left -= part;
        }
        if left > 0 {
            let late = self.late.entry(usage.feature_key.clone()).or_default();
            late.billed = late.billed.saturating_sub(left);
        }
    }

    /// Debts have gone onto the invoice of a subscription. Without a period, they go into the next summary.
    pub(super) fn bill(&mut self, id: SubscriptionId, debts: &[(FeatureKey, Credits)]) {
        let open = self.unsent.iter_mut().find(|tally| tally.is_open_of(id));
        let used = open.map_or(&mut self.late, |tally| &mut tally.used);
        for (feature_key, amount) in debts {
            let own = used.entry(feature_key.clone()).or_default();
            own.billed = own.billed.saturating_add(amount.get());
        }
    }

    /// The next summary that is due at `now`; it counts as sent.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<Summary> {
        let due = (0..).zip(&self.unsent).filter_map(|(place, tally)| Some((tally.due?, place)));
        let (at, place) = due.min().filter(|(at, _)| *at <= now)?;
        let tally = self.unsent.remove(place);
        let end = tally.stretch.end.expect("what is due is closed");
        self.note_sent(tally.stretch);
        Some(Summary {
            at,
            subscription_id: tally.subscription_id,
            period: Interval { start: tally.stretch.from, end: end.until },
            features: listed(tally.used),
            late: listed(std::mem::take(&mut self.late)),
        })
    }

    fn change(&mut self, usage: &UsageRecord, used: Used) {
        if let Some(there) = self.used_by(usage.effective_at, usage.seq) {
            there.entry(usage.feature_key.clone()).or_default().add(used);
        }
    }

    /// Where an event is tallied: in its period, or as late; `None` = it is of no postpaid period.
    fn used_by(&mut self, effective_at: Timestamp, seq: u64) -> Option<&mut UsedByFeature> {
        let sent = self.sent.iter().find(|stretch| stretch.has(effective_at, seq)).map(|stretch| stretch.number);
        let tally = self.unsent.iter_mut().find(|tally| tally.stretch.has(effective_at, seq));
        match (sent, tally) {
            (Some(sent), Some(tally)) if tally.stretch.number < sent => Some(&mut tally.used),
            (Some(_), _) => Some(&mut self.late),
            (None, tally) => tally.map(|tally| &mut tally.used),
        }
    }

    fn note_sent(&mut self, stretch: Stretch) {
        let place = self.sent.partition_point(|other| other.number < stretch.number);
        self.sent.insert(place, stretch);
        self.sent.dedup_by(|next, before| {
            let touch = before.is_continued_by(next);
            if touch {
                before.end = next.end;
            }
            touch
        });
        let beyond = self.sent.len().saturating_sub(SENT_STRETCHES_MAX);
        self.sent.drain(..beyond);
    }
}

impl Tally {
    fn is_open_of(&self, id: SubscriptionId) -> bool {
        self.subscription_id == id && self.stretch.end.is_none()
    }
}

/// What is not nothing, as far as every reader of JSON holds it exactly.
fn listed(used: UsedByFeature) -> Vec<FeatureUsage> {
    let something = used.into_iter().filter(|(_, used)| *used != Used::default());
    let cut = |sum: i64| sum.clamp(-AMOUNT_MAX, AMOUNT_MAX);
    let cut =
        |Used { events, units, cost, billed }| Used { events, units: cut(units), cost: cut(cost), billed: cut(billed) };
    something.map(|(feature_key, used)| FeatureUsage { feature_key, used: cut(used) }).collect()
}
