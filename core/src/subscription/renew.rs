//! Renewing, and the payments that fail or arrive.

use crate::ids::SubscriptionId;
use crate::ledger::block::{BlockKind, HasLot, Lot, Reschedule};
use crate::ledger::motion::Motion;
use crate::ledger::refusal::Refusal;
use crate::subscription::machine::Happening;
use crate::subscription::period::days_after;
use crate::subscription::state::{Overdue, SubscriptionStatus, Target};
use crate::time::MICROS_PER_DAY;

impl<L: HasLot> Motion<'_, L> {
    /// Pays: for the next period, or for the one that an unrenewed end has left open, or what had failed.
    pub(super) fn renew(&mut self, id: SubscriptionId, happening: Happening) -> Result<(), Refusal> {
        let own = self.subscription(id);
        if own.status == SubscriptionStatus::PastDue {
            let target = own.pending_change.unwrap_or(own.target());
            return self.settle_overdue(id, happening, target);
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
        // What was left of the period that has ended ends now, by the rollover rule: the subscription goes on.
        let ends_with_grace = |lot: &Lot| lot.kind == BlockKind::Plan && lot.expires_at == Some(overdue.grace_ends);
        self.reschedule(id, Reschedule::EndsAt(self.at), ends_with_grace);
        self.open_next_period(&mut own, target, variant);
        self.keep(own, happening);
        self.sleep_with_base(id);
        Ok(())
    }

    /// A payment failed: the grace period runs from now, and periods go on.
    pub(super) fn mark_overdue(&mut self, id: SubscriptionId) {
        let mut own = self.moving(id, Happening::MarkOverdue);
        let days = self.variant(own.target()).map_or(0, |variant| variant.grace_period_days);
        own.overdue = Some(Overdue { is_unrenewed: false, grace_ends: days_after(self.at, days) });
        self.keep(own, Happening::MarkOverdue);
    }
}
