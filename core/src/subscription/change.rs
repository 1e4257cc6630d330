//! Changing the variant, its version, or the quantity. Source: docs/subscriptions.md, "Change".

use crate::catalogue::Variant;
use crate::credits::Credits;
use crate::ids::SubscriptionId;
use crate::ledger::block::{BlockKind, HasLot, Lot};
use crate::ledger::motion::Motion;
use crate::ledger::refusal::Refusal;
use crate::ledger::step::Step;
use crate::subscription::machine::Happening;
use crate::subscription::order::{ChangeCredits, When};
use crate::subscription::state::{Subscription, SubscriptionStatus, Target};
use crate::subscription::template::Share;

impl<L: HasLot> Motion<'_, L> {
    /// Puts a subscription on `target`, now or from the end of its period on.
    pub(super) fn change(
        &mut self,
        id: SubscriptionId,
        target: Target,
        at: When,
        credits: ChangeCredits,
    ) -> Result<(), Refusal> {
        let own = self.subscription(id);
        if target == own.target() {
            return Err(Refusal::NothingToChange(id));
        }
        let variant = self.variant(target).ok_or(Refusal::VariantUnknown(target.variant_id))?;
        if variant.plan_kind != own.plan_kind {
            return Err(Refusal::OtherPlanKind);
        }
        match at {
            When::PeriodEnd => {
                let mut own = self.moving(id, Happening::ChangeAtPeriodEnd);
                own.pending_change = Some(target);
                self.keep(own, Happening::ChangeAtPeriodEnd);
            }
            When::Now if own.is_unrenewed() && credits != ChangeCredits::Reset => {
                self.settle_overdue(id, Happening::Change, target, credits)?;
            }
            When::Now => self.change_now(id, target, variant, credits),
        }
        Ok(())
    }

    fn change_now(&mut self, id: SubscriptionId, target: Target, variant: &Variant, credits: ChangeCredits) {
        let before = self.subscription(id);
        let was_trialing = before.status == SubscriptionStatus::Trialing;
        let happening = change_happening(before.status, variant);
        let stays_in_trial = happening == Happening::ChangeInTrial;
        let old_length = self.variant(before.target()).map(|old| old.billing_period);
        let is_other_length = old_length != Some(variant.billing_period);
        let is_reset = credits == ChangeCredits::Reset;
        let opens = !stays_in_trial && (was_trialing || is_reset || is_other_length);

        let mut own = self.moving(id, happening);
        own.overdue = None;
        // Other seats leave what was to come, and may be paid for, as it is but for their number.
        let is_of_seats = Target { quantity: before.quantity, ..target } == before.target();
        let coming = before.pending_change.filter(|_| is_of_seats);
        own.pending_change =
            coming.map(|coming| Target { quantity: target.quantity, ..coming }).filter(|it| *it != target);
        // A renewal pays for a period of the length that it was asked for.
        own.renewed &= !is_other_length;
        match credits {
            ChangeCredits::Prorate => self.take_unearned(&mut own),
            ChangeCredits::Reset => {
                self.end_lots(id, |lot| lot.kind == BlockKind::Plan);
                own.owed = Credits::ZERO;
            }
            ChangeCredits::KeepAndAdd => {}
        }
        if !was_trialing && (opens || !variant.bills_debt()) {
            self.bill(&own);
        }
        if own.is_fallback && variant.fallback {
            self.forget_given(&own);
        }
        own.allowances.clear();
        own.set_target(target, variant);
        if opens {
            self.open_period_now(&mut own, variant);
            own.pause_at = own.pause_at.map(|_| own.current_period.end);
        }
        if was_trialing && !stays_in_trial {
            own.trial_end = Some(self.at);
        }
        if stays_in_trial {
            self.wallet.given.trials.insert(own.plan_id);
        }
        let share = match credits {
            ChangeCredits::KeepAndAdd | ChangeCredits::Reset => Share::Full,
            ChangeCredits::Prorate if opens => Share::Opening,
            ChangeCredits::Prorate => Share::Left,
        };
        self.give(&mut own, variant, share, |_| true);
        own.forget_missed_pause(self.at);
        self.keep(own, happening);
        self.sleep_with_base(id);
    }

    /// Takes back what recurring grants have not earned, each from its own block as far as it is free; the rest is
    /// owed.
    pub(super) fn take_unearned(&mut self, own: &mut Subscription) {
        let mut parts = Vec::new();
        for allowance in &own.allowances {
            let unearned = allowance.unearned(self.at);
            let is_its_block = |lot: &Lot| {
                let of = lot.origin.map(|origin| (origin.variant_id, origin.template));
                lot.kind == BlockKind::Plan
                    && lot.effective_at == allowance.granted_at
                    && of == Some((own.variant_id, allowance.template))
            };
            own.owed += unearned - self.take_back(own.id, unearned, is_its_block, &mut parts);
        }
        if !parts.is_empty() {
            self.tell(Step::Withdrawn { subscription_id: own.id, parts, ends: false });
        }
    }
}

/// What a change now to `variant` is: it stays in a trial if that variant has one.
pub(super) fn change_happening(status: SubscriptionStatus, variant: &Variant) -> Happening {
    let stays = status == SubscriptionStatus::Trialing && variant.trial_days > 0;
    if stays { Happening::ChangeInTrial } else { Happening::Change }
}
