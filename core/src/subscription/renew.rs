//! Renewing, and the payments that fail or arrive.

use crate::catalogue::{GrantInterval, Variant};
use crate::ids::SubscriptionId;
use crate::ledger::block::{BlockKind, HasLot, Lot, Reschedule};
use crate::ledger::motion::Motion;
use crate::ledger::refusal::Refusal;
use crate::subscription::allowance::Allowance;
use crate::subscription::machine::Happening;
use crate::subscription::order::ChangeCredits;
use crate::subscription::period::days_after;
use crate::subscription::state::{Overdue, Subscription, SubscriptionStatus, Target};
use crate::time::{MICROS_PER_DAY, Timestamp};

impl<L: HasLot> Motion<'_, L> {
    /// Pays: for the next period, or for the one that an unrenewed end has left open, or what had failed.
    pub(super) fn renew(&mut self, id: SubscriptionId, happening: Happening) -> Result<(), Refusal> {
        let own = self.subscription(id);
        if own.status == SubscriptionStatus::PastDue {
            let target = own.pending_change.unwrap_or(own.target());
            return self.settle_overdue(id, happening, target, ChangeCredits::Prorate);
        }
        let pays_for = own.pending_change.unwrap_or(own.target());
        let variant = self.variant(pays_for).ok_or(Refusal::VariantUnknown(pays_for.variant_id))?;
        if variant.advances_by_itself() || own.cancel_at.is_some() {
            return Err(Refusal::NotRenewable(id));
        }
        if own.renewed {
            return Err(Refusal::AlreadyRenewed(id));
        }
        // The period's clock stands in a pause.
        let clock = own.paused.map_or(self.at, |pause| pause.since);
        let days = i64::from(variant.renewal_due_days) * MICROS_PER_DAY;
        let from = own.current_period.end.saturating_add_micros(-days);
        if clock < from {
            return Err(Refusal::RenewalNotDue { from });
        }
        let mut own = self.moving(id, happening);
        own.renewed = true;
        self.keep(own, happening);
        Ok(())
    }

    /// A payment that was missing or had failed has arrived, for `target` where no period runs.
    pub(super) fn settle_overdue(
        &mut self,
        id: SubscriptionId,
        happening: Happening,
        target: Target,
        credits: ChangeCredits,
    ) -> Result<(), Refusal> {
        let mut own = self.moving(id, happening);
        let overdue = own.overdue.take().expect("what is past due says why");
        own.forget_missed_pause(self.at);
        if !overdue.is_unrenewed {
            self.keep(own, happening);
            self.sleep_with_base(id);
            return Ok(());
        }
        let variant = self.variant(target).ok_or(Refusal::VariantUnknown(target.variant_id))?;
        if credits != ChangeCredits::KeepAndAdd {
            self.end_grace(&mut own, overdue.grace_ends);
        }
        self.open_next_period(&mut own, target, variant, credits);
        self.keep(own, happening);
        self.sleep_with_base(id);
        Ok(())
    }

    /// What was left of the period that has ended ends now, by the rollover rule: the subscription goes on.
    fn end_grace(&mut self, own: &mut Subscription, grace_ends: Timestamp) {
        let Some(variant) = self.variant(own.target()) else { return };
        let (at, of) = (self.at, Subscription::clone(own));
        let ends_with_grace = |lot: &Lot| {
            lot.kind == BlockKind::Plan
                && lot.expires_at == Some(grace_ends)
                && !of.ends_at_anyway(variant, lot, grace_ends)
        };
        self.reschedule(own.id, Reschedule::EndsAt(at), ends_with_grace);
        if variant.allow_usage_while_overdue {
            let with_period = own.allowances.iter_mut().filter(|allowance| allowance.every.is_none());
            with_period.for_each(|allowance| allowance.until = at);
        }
    }

    /// A payment failed: the grace period runs from now, and periods go on.
    pub(super) fn mark_overdue(&mut self, id: SubscriptionId) {
        let mut own = self.moving(id, Happening::MarkOverdue);
        let days = self.variant(own.target()).map_or(0, |variant| variant.grace_period_days);
        own.overdue = Some(Overdue { is_unrenewed: false, grace_ends: days_after(self.at, days) });
        self.keep(own, Happening::MarkOverdue);
    }
}

impl Subscription {
    /// Whether a lot of it ends at `end` by its own template, without any grace.
    fn ends_at_anyway(&self, variant: &Variant, lot: &Lot, end: Timestamp) -> bool {
        let template = lot.origin.and_then(|origin| variant.grants.get(usize::from(origin.template)));
        template.is_some_and(|template| match (template.expires_after, template.interval) {
            (Some(after), _) => after.end(lot.effective_at, 0) == end,
            (None, GrantInterval::Every(length)) => {
                let runs = |own: &Allowance| (own.granted_at, own.until) == (lot.effective_at, end);
                self.allowances.iter().any(runs) || self.intervals.running(length, lot.effective_at).0.end == end
            }
            (None, GrantInterval::BillingPeriod | GrantInterval::Once) => false,
        })
    }
}
