//! Contracts: the terms that bind a subscription, the notice before their end, and their end.
//!
//! Source: docs/subscriptions.md, "What time does".

use crate::catalogue::Variant;
use crate::ids::SubscriptionId;
use crate::ledger::block::HasLot;
use crate::ledger::motion::Motion;
use crate::ledger::step::Step;
use crate::subscription::machine::Happening;
use crate::subscription::order::EndCredits;
use crate::subscription::state::{Subscription, SubscriptionStatus};
use crate::time::{Interval, MICROS_PER_DAY, Timestamp};

/// Which period is the first of a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TermFrom {
    /// The one that runs.
    ThisPeriod,
    /// The one after it.
    NextPeriod,
}

impl<L: HasLot> Motion<'_, L> {
    /// The contract's term ends: another one follows, or nothing.
    pub(super) fn end_term(&mut self, id: SubscriptionId) {
        let own = self.subscription(id);
        let contract = self.variant(own.target()).and_then(|variant| Some((variant, variant.contract?)));
        let Some((variant, _)) = contract.filter(|(_, contract)| contract.auto_renew) else {
            return self.end(id, Happening::ContractEnds, EndCredits::Keep);
        };
        let mut own = self.moving(id, Happening::ContractRenews);
        own.begin_term(variant, TermFrom::NextPeriod);
        if own.contract_end.is_some_and(|end| end <= self.at) {
            (own.contract_end, own.contract_notice) = (None, None);
        }
        self.keep(own, Happening::ContractRenews);
    }

    /// Says that the term will end. Once per term.
    pub(super) fn announce_term_end(&mut self, id: SubscriptionId) {
        let mut own = self.subscription(id).clone();
        let contract = self.variant(own.target()).and_then(|variant| variant.contract);
        let renews = contract.is_some_and(|contract| contract.auto_renew);
        own.contract_notice = None;
        self.replace(own.clone());
        self.tell(Step::TermEnding { subscription: Box::new(own), renews });
    }
}

impl Subscription {
    /// Binds it for a term of the variant's contract, if it has one. A trial is not bound yet.
    pub(super) fn begin_term(&mut self, variant: &Variant, from: TermFrom) {
        let contract = variant.contract.filter(|_| self.status != SubscriptionStatus::Trialing);
        let start = match from {
            TermFrom::ThisPeriod => self.current_period.start,
            TermFrom::NextPeriod => self.current_period.end,
        };
        self.contract_end = contract.map(|contract| {
            // Of the series the one that runs is the last before `next`, and after a pause none.
            let more = contract.periods.max(1) - u32::from(from == TermFrom::ThisPeriod);
            let last = self.series.next.saturating_add(more).checked_sub(1);
            last.map_or(self.current_period.end, |last| variant.billing_period.end(self.series.anchor, last))
        });
        self.contract_end.take_if(|end| *end == Timestamp::MAX);
        let term = self.contract_end.map(|end| Interval { start, end });
        self.contract_notice = contract.zip(term).and_then(|(contract, term)| notice(contract.notice_days, term));
    }

    /// Whether it is over by its cancellation when the term ends: there is nothing to announce then.
    pub(super) fn is_canceled_by_term_end(&self) -> bool {
        self.cancel_at.zip(self.contract_end).is_some_and(|(cancel_at, term_end)| cancel_at <= term_end)
    }
}

/// When the end of a term is announced: some days before it, but not in the first half of the term.
fn notice(days: u16, term: Interval) -> Option<Timestamp> {
    let half = term.start.saturating_add_micros(term.micros() / 2);
    let days_before = term.end.saturating_add_micros(-i64::from(days) * MICROS_PER_DAY);
    (days > 0).then_some(days_before.max(half))
}
