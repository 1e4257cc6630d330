//! Billing periods: how they open, and what happens at their end.
//!
//! Source: docs/subscriptions.md, "States".

use crate::catalogue::{GrantInterval, PlanKind, Variant};
use crate::credits::Credits;
use crate::ids::SubscriptionId;
use crate::ledger::block::{BlockKind, HasLot, Lot, Reschedule};
use crate::ledger::debt::DebtOf;
use crate::ledger::motion::Motion;
use crate::ledger::step::Step;
use crate::subscription::machine::Happening;
use crate::subscription::order::ChangeCredits;
use crate::subscription::state::{Overdue, Subscription, Target};
use crate::subscription::template::Share;
use crate::subscription::term::TermFrom;
use crate::time::{Interval, MICROS_PER_DAY, Series, Timestamp};

impl<'a, L: HasLot> Motion<'a, L> {
    /// The version of its variant that a subscription keeps.
    pub(super) fn variant(&self, target: Target) -> Option<&'a Variant> {
        self.catalogue.variant(target.variant_id, target.variant_version)
    }

    /// The end of a billing period. Source of the order: cancel, contract end, pause come before; then change, renew.
    pub(super) fn end_period(&mut self, id: SubscriptionId) {
        let own = self.subscription(id);
        let (old, end) = (own.target(), own.current_period.end);
        let new = own.pending_change.unwrap_or(old);
        let goes_on = |variant: &&Variant| own.renewed || variant.advances_by_itself();
        let Some(variant) = self.variant(new).filter(goes_on) else { return self.miss_renewal(id, end) };
        let mut own = self.moving(id, Happening::PeriodTurns);
        self.bill(&own);
        self.open_next_period(&mut own, new, variant, ChangeCredits::Prorate);
        self.keep(own, Happening::PeriodTurns);
    }

    /// The period after the one that has ended opens, on `target`. `credits` is what becomes of credit that another variant
    /// gave for intervals that go on.
    pub(super) fn open_next_period(
        &mut self,
        own: &mut Subscription,
        target: Target,
        variant: &Variant,
        credits: ChangeCredits,
    ) {
        let before = self.variant(own.target());
        let is_same = own.target() == target;
        let length = variant.billing_period;
        if let Some(before) = before {
            self.note_rolling(own, before);
        }
        if !is_same && credits == ChangeCredits::Prorate {
            // What intervals of their own have not earned goes; what cannot be taken is forgiven with the period.
            self.take_unearned(own);
        }
        (own.owed, own.renewed, own.pending_change) = (Credits::ZERO, false, None);
        let start = own.current_period.end;
        if before.is_some_and(|before| before.billing_period == length) {
            own.open(Interval { start, end: own.series.next_end(length) }, own.series.advanced());
        } else {
            let (period, series) = Series::begin(start, length);
            own.open_series(period, series);
        }
        if is_same {
            own.allowances.retain(|allowance| allowance.every.is_some());
            self.give(own, variant, Share::Opening, |template| template.interval == GrantInterval::BillingPeriod);
        } else {
            own.allowances.clear();
            own.set_target(target, variant);
            self.give(own, variant, Share::Opening, |_| true);
        }
    }

    /// A period opens now, apart from the series before.
    pub(super) fn open_period_now(&self, own: &mut Subscription, variant: &Variant) {
        let (period, series) = Series::begin(self.at, variant.billing_period);
        own.open_series(period, series);
        own.begin_term(variant, TermFrom::ThisPeriod);
    }

    /// A prepaid period has ended and nobody paid for the next one.
    fn miss_renewal(&mut self, id: SubscriptionId, end: Timestamp) {
        let mut own = self.moving(id, Happening::PeriodUnpaid);
        // A postpaid period that a prepaid one was to follow has its invoice all the same.
        self.bill(&own);
        let variant = self.variant(own.target());
        let days = variant.map_or(0, |variant| variant.grace_period_days);
        let grace_ends = days_after(end, days);
        // A grace that runs already, because a payment failed, is not lengthened.
        let grace_ends = own.overdue.map_or(grace_ends, |overdue| overdue.grace_ends.min(grace_ends)).max(self.at);
        own.overdue = Some(Overdue { is_unrenewed: true, grace_ends });
        if variant.is_some_and(|variant| variant.allow_usage_while_overdue) && end == self.at && grace_ends > end {
            let ends_with_period = |lot: &Lot| lot.kind == BlockKind::Plan && lot.expires_at == Some(end);
            self.reschedule(id, Reschedule::EndsAt(grace_ends), ends_with_period);
        }
        self.keep(own, Happening::PeriodUnpaid);
    }

    /// Usage debt of a postpaid period goes onto its invoice.
    pub(super) fn bill(&mut self, own: &Subscription) {
        let bills = self.variant(own.target()).is_some_and(Variant::bills_debt);
        if !bills || own.plan_kind != PlanKind::Base {
            return;
        }
        let open = self.wallet.debts.iter().filter_map(|debt| Some((debt.of.feature()?.clone(), debt.amount)));
        let debts: Vec<_> = open.collect();
        if debts.is_empty() {
            return;
        }
        for (feature_key, amount) in &debts {
            self.wallet.debts.lower(&DebtOf::Feature(feature_key.clone()), *amount);
        }
        self.tell(Step::Billed { subscription_id: own.id, debts });
    }

    /// Keeps a subscription whose state is the same; nothing is announced.
    pub(super) fn replace(&mut self, own: Subscription) {
        let mut subscriptions = self.wallet.subscriptions.iter_mut();
        let place = subscriptions.find(|other| other.id == own.id).expect("the subscription was just read");
        *place = own.clone();
        self.tell(Step::Turned(Box::new(own)));
    }
}

impl Subscription {
    /// Puts it on another variant, version or quantity.
    pub(super) fn set_target(&mut self, target: Target, variant: &Variant) {
        let is_other = self.variant_id != target.variant_id;
        let is_other_version = self.variant_version != target.variant_version;
        // Another version of the same does not bind anew; but it may bind, or not any more.
        let keeps_term = !is_other && variant.contract.is_some() == self.contract_end.is_some();
        (self.variant_id, self.variant_version) = (target.variant_id, target.variant_version);
        (self.plan_id, self.quantity, self.is_fallback) = (variant.plan_id, target.quantity, variant.fallback);
        if (is_other || is_other_version) && !keeps_term {
            self.begin_term(variant, TermFrom::ThisPeriod);
        }
    }
}

/// `days` after `at`.
pub(super) const fn days_after(at: Timestamp, days: u16) -> Timestamp {
    at.saturating_add_micros(days as i64 * MICROS_PER_DAY)
}
