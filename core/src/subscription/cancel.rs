//! Cancelling at the end of what is paid for, and taking that back.

use crate::ids::SubscriptionId;
use crate::ledger::block::HasLot;
use crate::ledger::motion::Motion;
use crate::ledger::refusal::Refusal;
use crate::subscription::machine::Happening;
use crate::subscription::order::{EndCredits, Uncancel};
use crate::subscription::state::Subscription;
use crate::time::Timestamp;

impl<L: HasLot> Motion<'_, L> {
    /// Will end at the end of the last period that is paid for, in a trial at its end.
    pub(super) fn cancel_at_period_end(&mut self, id: SubscriptionId, credits: EndCredits) {
        let mut own = self.moving(id, Happening::CancelAtPeriodEnd);
        (own.cancel_at, own.cancel_credits) = (Some(self.paid_until(&own)), credits);
        self.keep(own, Happening::CancelAtPeriodEnd);
    }

    /// The end of the last period that is paid for; in a trial, of the trial.
    pub(super) fn paid_until(&self, own: &Subscription) -> Timestamp {
        let length = |target| self.variant(target).map(|variant| variant.billing_period);
        let (this, next) = (length(own.target()), length(own.pending_change.unwrap_or(own.target())));
        match next.filter(|_| own.renewed) {
            None => own.current_period.end,
            Some(length) if this == next => own.series.next_end(length),
            // Another length begins another series.
            Some(length) => length.end(own.current_period.end, 0),
        }
    }

    /// Takes back what was asked for the end of the period.
    pub(super) fn uncancel(&mut self, id: SubscriptionId, what: Uncancel) -> Result<(), Refusal> {
        let mut own = self.moving(id, Happening::Uncancel);
        let clears = |field| what == Uncancel::All || what == field;
        if clears(Uncancel::CancelAt)
            && own.cancel_at.is_some()
            && let Some(follower) = self.wallet.scheduled_base().filter(|_| !own.is_fallback)
        {
            return Err(Refusal::SubscriptionScheduled(follower.id));
        }
        if clears(Uncancel::CancelAt) {
            own.cancel_at = None;
        }
        if clears(Uncancel::PauseAt) {
            (own.pause_at, own.pause_until) = (None, None);
        }
        if clears(Uncancel::PendingChange) {
            own.pending_change = None;
        }
        self.keep(own, Happening::Uncancel);
        Ok(())
    }
}
