//! What summaries must say, found out from the outside: by looking at subscriptions as events announce them, and at each
//! usage as it is recorded or undone.

use std::collections::BTreeMap;

use quotastack_core::credits::Credits;
use quotastack_core::ids::{FeatureKey, UsageId};
use quotastack_core::ledger::event::{Event, EventKind};
use quotastack_core::ledger::outcome::{Outcome, UsageRecord};
use quotastack_core::ledger::tally::FeatureUsage;

use super::*;

/// Events, units, cost, billed; per feature.
type Sums = BTreeMap<FeatureKey, [i64; 4]>;

struct Watched {
    of: SubscriptionId,
    period_start: Timestamp,
    from: Timestamp,
    until: Option<Timestamp>,
    due: Option<Timestamp>,
    is_sent: bool,
    sums: Sums,
}

/// All periods that are or were postpaid, and where each usage is.
#[derive(Default)]
pub(super) struct Tallied {
    periods: Vec<Watched>,
    late: Sums,
    places: BTreeMap<UsageId, (usize, UsageRecord)>,
    pub(super) summaries: usize,
    pub(super) summaries_with_late: usize,
}

fn add(sums: &mut Sums, feature: &FeatureKey, figures: [i64; 4]) {
    let there = sums.entry(feature.clone()).or_default();
    for (there, figure) in there.iter_mut().zip(figures) {
        *there += figure;
    }
}

fn without_nothing(sums: &Sums) -> Sums {
    sums.iter().filter(|(_, figures)| **figures != [0; 4]).map(|(key, figures)| (key.clone(), *figures)).collect()
}

fn said(features: &[FeatureUsage]) -> Sums {
    let row = |usage: &FeatureUsage| {
        let used = usage.used;
        (usage.feature_key.clone(), [used.events, used.units, used.cost, used.billed])
    };
    features.iter().map(row).collect()
}

/// The start of the billing period that a subscription is in.
fn period_of(own: &Subscription) -> Option<Timestamp> {
    let is_open = match own.status {
        SubscriptionStatus::Active | SubscriptionStatus::Paused => true,
        SubscriptionStatus::PastDue => !own.overdue.unwrap().is_unrenewed,
        _ => false,
    };
    is_open.then_some(own.current_period.start)
}

impl Tallied {
    /// Events that were written since, in order.
    pub(super) fn hear(&mut self, events: &[Event], catalogue: &Catalogue) {
        for event in events {
            match &event.kind {
                EventKind::SubscriptionCreated { subscription } => self.moved(event.at, None, subscription, catalogue),
                EventKind::SubscriptionUpdated { subscription, before, .. }
                | EventKind::SubscriptionCanceled { subscription, before, .. }
                | EventKind::SubscriptionExpired { subscription, before, .. } => {
                    self.moved(event.at, Some(before), subscription, catalogue);
                }
                EventKind::DebtBilled { subscription_id, debts } => {
                    let open = self.periods.iter_mut().find(|own| own.of == *subscription_id && own.until.is_none());
                    let sums = open.map_or(&mut self.late, |own| &mut own.sums);
                    debts.iter().for_each(|(feature, amount)| add(sums, feature, [0, 0, 0, amount.get()]));
                }
                EventKind::UsageSummary { subscription_id, period, features, late } => {
                    self.summaries += 1;
                    self.summaries_with_late += usize::from(!late.is_empty());
                    let is_it =
                        |own: &&mut Watched| own.of == *subscription_id && own.from == period.start && !own.is_sent;
                    let own = self.periods.iter_mut().find(is_it).expect("a period that has no summary yet");
                    assert_eq!((Some(period.end), Some(event.at)), (own.until, own.due));
                    assert_eq!(said(features), without_nothing(&own.sums));
                    assert_eq!(said(late), without_nothing(&std::mem::take(&mut self.late)));
                    own.is_sent = true;
                }
                _ => {}
            }
        }
    }

    fn moved(&mut self, at: Timestamp, before: Option<&Subscription>, after: &Subscription, catalogue: &Catalogue) {
        if after.plan_kind != PlanKind::Base {
            return;
        }
        let variant = |own: &Subscription| &catalogue.variants[&(own.variant_id, own.variant_version)];
        let new = period_of(after);
        let open = self.periods.iter_mut().find(|own| own.of == after.id && own.until.is_none());
        let goes_on = open.as_ref().is_some_and(|own| Some(own.period_start) == new);
        if let Some(own) = open.filter(|_| !goes_on) {
            let until = new.unwrap_or(at.min(after.current_period.end));
            let minutes = i64::from(variant(before.unwrap()).summary_delay_minutes);
            (own.until, own.due) = (Some(until), Some(until.saturating_add_micros(minutes * 60_000_000).max(at)));
        }
        if let Some(start) = new.filter(|_| !goes_on && variant(after).billing_mode == BillingMode::Postpaid) {
            // Only what was imported has a past in which nothing was recorded here.
            let from = if before.is_some() { start.max(at) } else { start };
            let (of, sums) = (after.id, Sums::new());
            self.periods.push(Watched { of, period_start: start, from, until: None, due: None, is_sent: false, sums });
        }
    }

    /// What came of a command.
    pub(super) fn carried_out(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Used { record, replayed: false } | Outcome::Committed { record, .. } => {
                let at = record.effective_at;
                let is_in = |own: &Watched| own.from <= at && own.until.is_none_or(|until| at < until);
                if let Some(place) = self.periods.iter().position(is_in) {
                    self.places.insert(record.id, (place, record.clone()));
                    self.change(place, record, 1);
                }
            }
            Outcome::Voided { record, replayed: false } => {
                if let Some((place, usage)) = self.places.remove(&record.usage_id) {
                    self.change(place, &usage, -1);
                }
            }
            _ => {}
        }
    }

    /// A void took debt off invoices: off the newest first.
    pub(super) fn taken_off(&mut self, billed: &[(FeatureKey, Credits)]) {
        for (feature, amount) in billed {
            let mut left = amount.get();
            for own in self.periods.iter_mut().rev().filter(|own| !own.is_sent) {
                let part = own.sums.get(feature).map_or(0, |figures| figures[3]).min(left);
                add(&mut own.sums, feature, [0, 0, 0, -part]);
                left -= part;
            }
            add(&mut self.late, feature, [0, 0, 0, -left]);
        }
    }

    fn change(&mut self, place: usize, usage: &UsageRecord, sign: i64) {
        let own = &mut self.periods[place];
        let sums = if own.is_sent { &mut self.late } else { &mut own.sums };
        add(sums, &usage.feature_key, [sign, sign * usage.units.get(), sign * usage.charged.get(), 0]);
    }
}
