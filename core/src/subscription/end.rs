//! How subscriptions end, and what ends or begins with them.

use crate::catalogue::PlanKind;
use crate::ids::SubscriptionId;
use crate::ledger::block::HasLot;
use crate::ledger::motion::{Motion, is_of_plan};
use crate::subscription::machine::Happening;
use crate::subscription::order::EndCredits;
use crate::subscription::state::SubscriptionStatus;

impl<L: HasLot> Motion<'_, L> {
    /// Ends a subscription by `happening`. With a base end its add-ons, and the end user falls back.
    pub(super) fn end(&mut self, id: SubscriptionId, happening: Happening, credits: EndCredits) {
        let own = self.subscription(id);
        let had_begun = own.is_running();
        // A trial is no period that anybody is billed for.
        let has_invoice = had_begun && own.status != SubscriptionStatus::Trialing;
        let mut own = self.moving(id, happening);
        self.start_clock(&mut own);
        if has_invoice {
            self.bill(&own);
        }
        if credits == EndCredits::Void {
            self.end_lots(id, is_of_plan);
        }
        self.keep(own.clone(), happening);
        if own.plan_kind != PlanKind::Base || !had_begun {
            return;
        }
        for addon in self.addons(|_| true) {
            self.end(addon, Happening::BaseEnds, credits);
        }
        if !own.is_fallback {
            self.fall_back(&own);
        }
    }
}
