//! Summaries of usage: when the periods of a postpaid subscription are tallied, and when that is sent.
//!
//! A base subscription's usage is all usage of its end user, add-ons included. Source: docs/subscriptions.md, "Usage
//! summary".

use crate::catalogue::{BillingMode, PlanKind, Variant};
use crate::ledger::book::Book;
use crate::ledger::event::EventKind;
use crate::ledger::tally::Summary;
use crate::subscription::Subscription;
use crate::time::Timestamp;

impl Book<'_> {
    /// Follows a base subscription from period to period: a period that is over is closed, a postpaid one is opened.
    pub(super) fn follow_period(&mut self, before: Option<&Subscription>, after: &Subscription, at: Timestamp) {
        if after.plan_kind != PlanKind::Base {
            return;
        }
        let (seq, catalogue) = (self.account.seq, self.catalogue);
        let variant = |own: &Subscription| catalogue.variant(own.variant_id, own.variant_version);
        let period = after.billing_period();
        let tallies = &mut self.account.tallies;
        if let Some(start) = tallies.open_period(after.id)
            && period.is_none_or(|period| period.start != start)
        {
            let until = period.map_or(after.current_period.end.min(at), |period| period.start);
            let delay = before.and_then(variant).filter(|_| !tallies.is_full());
            let delay = delay.map_or(0, Variant::summary_delay_micros);
            tallies.close(after.id, until, seq, until.saturating_add_micros(delay).max(at));
        }
        let is_postpaid = variant(after).is_some_and(|variant| variant.billing_mode == BillingMode::Postpaid);
        if let Some(period) = period.filter(|_| is_postpaid)
            && tallies.open_period(after.id).is_none()
        {
            // What was used in a period before it was postpaid, or was paid for, is none of it. Of one that was imported
            // nothing was recorded here before.
            let from = if before.is_some() { period.start.max(at) } else { period.start };
            tallies.open(after.id, period.start, from, seq);
        }
    }

    /// Sends what is due by `now`, each with the instant at which it was due.
    pub(super) fn send_summaries(&mut self, now: Timestamp) {
        while let Some(summary) = self.account.tallies.take_due(now) {
            let Summary { at, subscription_id, period, features, late } = summary;
            self.announce(at, EventKind::UsageSummary { subscription_id, period, features, late });
        }
    }
}
