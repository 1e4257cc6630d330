//! What time does to subscriptions. Bases come before add-ons, ends before pauses, changes and periods, starts last.

use crate::catalogue::{PlanKind, Variant};
use crate::ids::SubscriptionId;
use crate::ledger::block::HasLot;
use crate::ledger::motion::Motion;
use crate::subscription::machine::{Happening, next};
use crate::subscription::order::EndCredits;
use crate::subscription::state::{Occurrence, Subscription};

impl<L: HasLot> Motion<'_, L> {
    /// Lets everything happen that is due by now, until nothing is.
    pub(crate) fn run_subscriptions(&mut self) {
        while let Some((occurrence, id)) = self.next_occurrence() {
            self.occur(id, occurrence);
        }
    }

    fn next_occurrence(&self) -> Option<(Occurrence, SubscriptionId)> {
        let due = self.wallet.subscriptions.iter().filter_map(|own| {
            let (_, occurrence) = own.next_occurrence().filter(|(at, _)| *at <= self.at)?;
            Some((occurrence, own.plan_kind, own.id))
        });
        due.min().map(|(occurrence, _, id)| (occurrence, id))
    }

    fn occur(&mut self, id: SubscriptionId, occurrence: Occurrence) {
        let own = self.subscription(id);
        match occurrence {
            Occurrence::Cancel => {
                let credits = own.cancel_credits;
                self.end(id, Happening::CancelFallsDue, credits);
            }
            Occurrence::TrialEnd => {
                let converts = own.asked_to_convert || self.variant(own.target()).is_some_and(Variant::trial_converts);
                if converts {
                    self.convert(id, Happening::TrialConverts);
                } else {
                    self.end(id, Happening::TrialExpires, EndCredits::Keep);
                }
            }
            Occurrence::GraceEnd => self.end(id, Happening::GraceEnds, EndCredits::Keep),
            Occurrence::ContractEnd => self.end_term(id),
            Occurrence::Pause => {
                let resume_at = own.pause_until;
                self.pause(id, Happening::PauseFallsDue, resume_at);
            }
            Occurrence::Resume => self.resume(id, Happening::ResumeFallsDue),
            Occurrence::PeriodEnd => self.end_period(id),
            Occurrence::ContractNotice => self.announce_term_end(id),
            Occurrence::Start => self.start_scheduled(id),
            Occurrence::IntervalEnd => self.turn_intervals(id, false),
        }
    }

    /// A subscription that is not over.
    pub(super) fn subscription(&self, id: SubscriptionId) -> &Subscription {
        self.wallet.subscription(id).expect("only subscriptions that are not over are moved")
    }

    /// A copy of a subscription as `happening` leaves it, to be changed and kept with [`Self::keep`].
    pub(super) fn moving(&self, id: SubscriptionId, happening: Happening) -> Subscription {
        let mut own = self.subscription(id).clone();
        own.status = next(own.status, happening).expect("what is not allowed was refused, and time knows the table");
        own
    }

    /// Keeps a subscription as `happening` has left it, and says so.
    pub(super) fn keep(&mut self, mut after: Subscription, happening: Happening) {
        let place = self.wallet.subscriptions.iter().position(|own| own.id == after.id);
        let place = place.expect("only subscriptions that are not over are moved");
        after.cancel_at = after.cancel_at.map(|_| self.paid_until(&after));
        if after.status.is_over() {
            (after.ended_at, after.ended_by) = (Some(self.at), Some(happening));
            after.allowances.clear();
        }
        let before = std::mem::replace(&mut self.wallet.subscriptions[place], after.clone());
        if before == after {
            return;
        }
        if after.status.is_over() {
            self.wallet.subscriptions.remove(place);
        }
        let falls_back = after.plan_kind == PlanKind::Base && after.is_fallback && !before.is_fallback;
        let (before, after) = (Some(Box::new(before)), Box::new(after));
        self.tell(crate::ledger::step::Step::Moved { before, after, happening: Some(happening) });
        if falls_back {
            // Beside a fallback there are no add-ons, however a subscription comes onto it.
            for addon in self.addons(|_| true) {
                self.end(addon, Happening::BaseEnds, EndCredits::Keep);
            }
        }
    }
}
