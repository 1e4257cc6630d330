//! What callers ask of one subscription: checked against the table of states, then carried out.

use crate::ids::{SubscriptionId, VariantId};
use crate::ledger::block::HasLot;
use crate::ledger::book::Book;
use crate::ledger::motion::Motion;
use crate::ledger::outcome::Outcome;
use crate::ledger::refusal::Refusal;
use crate::subscription::change::change_happening;
use crate::subscription::machine::{Happening, next};
use crate::subscription::order::{Action, ChangeCredits, SubscriptionOrder, When};
use crate::subscription::state::{Subscription, SubscriptionStatus, Target};

pub(crate) fn act(book: &mut Book<'_>, order: &SubscriptionOrder) -> Result<Outcome, Refusal> {
    let known = book.account.subscription(order.id).ok_or(Refusal::SubscriptionUnknown(order.id))?;
    if known.status.is_over() {
        return Err(not_possible(known, aim(&order.action)));
    }
    book.carry_out(|motion| motion.act(order.id, &order.action))?;
    let subscription = book.account.subscription(order.id).expect("the subscription was just changed").clone();
    Ok(Outcome::SubscriptionChanged { subscription, standing: book.standing() })
}

impl<L: HasLot> Motion<'_, L> {
    fn act(&mut self, id: SubscriptionId, action: &Action) -> Result<(), Refusal> {
        let own = self.subscription(id);
        let happening = self.happening(own, action)?;
        let sleeps = own.paused.is_some_and(|pause| pause.with_base) && happening == Happening::Resume;
        // Another variant is paid for anew; seats, or a newer version of the same one, are not.
        let pays_not = own.status == SubscriptionStatus::PastDue && is_of_own_variant(own, action);
        if next(own.status, happening).is_none() || sleeps || pays_not {
            return Err(not_possible(own, happening));
        }
        let now = self.at;
        match *action {
            Action::Renew | Action::MarkPaid => self.renew(id, happening)?,
            Action::MarkOverdue => self.mark_overdue(id),
            Action::Convert(When::Now) => self.convert(id, happening),
            Action::Convert(When::PeriodEnd) => {
                let mut own = self.moving(id, happening);
                // Whoever asks for it does not want it canceled at the same instant.
                (own.asked_to_convert, own.cancel_at) = (true, None);
                self.keep(own, happening);
            }
            Action::Change { variant_id, quantity, at, credits } => {
                let target = Target { quantity: quantity.unwrap_or(own.quantity), ..self.latest(variant_id)? };
                self.change(id, target, at, credits)?;
            }
            Action::SetQuantity(quantity) => {
                let target = Target { quantity, ..own.target() };
                self.change(id, target, When::Now, ChangeCredits::Prorate)?;
            }
            Action::Migrate { at, credits } => {
                let target = Target { quantity: own.quantity, ..self.latest(own.variant_id)? };
                self.change(id, target, at, credits)?;
            }
            Action::Pause { at, resume_at } => {
                let from = if at == When::Now { now } else { own.current_period.end };
                if resume_at.is_some_and(|resume_at| resume_at <= from) {
                    return Err(Refusal::ResumeNotAfterPause { from });
                }
                if at == When::Now {
                    self.pause(id, happening, resume_at);
                } else {
                    let mut own = self.moving(id, happening);
                    (own.pause_at, own.pause_until) = (Some(from), resume_at);
                    self.keep(own, happening);
                }
            }
            Action::Resume => self.resume(id, happening),
            Action::Cancel { at: When::Now, credits } => self.end(id, happening, credits),
            Action::Cancel { at: When::PeriodEnd, credits } => self.cancel_at_period_end(id, credits),
            Action::Uncancel(what) => self.uncancel(id, what)?,
        }
        Ok(())
    }

    /// What an action is in the table.
    fn happening(&self, own: &Subscription, action: &Action) -> Result<Happening, Refusal> {
        let changed_to = match *action {
            Action::Change { variant_id, at: When::Now, .. } => Some(variant_id),
            Action::SetQuantity(_) | Action::Migrate { at: When::Now, .. } => Some(own.variant_id),
            _ => None,
        };
        let Some(variant_id) = changed_to else { return Ok(aim(action)) };
        let variant = self.catalogue.latest_variant(variant_id).ok_or(Refusal::VariantUnknown(variant_id))?;
        Ok(change_happening(own.status, variant))
    }

    /// The version that new subscribers of a variant get.
    fn latest(&self, variant_id: VariantId) -> Result<Target, Refusal> {
        let variant = self.catalogue.latest_variant(variant_id).ok_or(Refusal::VariantUnknown(variant_id))?;
        if variant.archived {
            return Err(Refusal::VariantArchived(variant_id));
        }
        Ok(Target { variant_id, variant_version: variant.version, quantity: 1 })
    }
}

/// Whether it leaves the subscription on its variant.
fn is_of_own_variant(own: &Subscription, action: &Action) -> bool {
    match *action {
        Action::SetQuantity(_) | Action::Migrate { .. } => true,
        Action::Change { variant_id, .. } => variant_id == own.variant_id,
        _ => false,
    }
}

/// What an action is outside a trial.
const fn aim(action: &Action) -> Happening {
    match action {
        Action::Renew => Happening::Renew,
        Action::MarkPaid => Happening::MarkPaid,
        Action::MarkOverdue => Happening::MarkOverdue,
        Action::Convert(When::Now) => Happening::Convert,
        Action::Convert(When::PeriodEnd) => Happening::ConvertAtTrialEnd,
        Action::Change { at: When::PeriodEnd, .. } | Action::Migrate { at: When::PeriodEnd, .. } => {
            Happening::ChangeAtPeriodEnd
        }
        Action::Change { .. } | Action::SetQuantity(_) | Action::Migrate { .. } => Happening::Change,
        Action::Pause { at: When::Now, .. } => Happening::Pause,
        Action::Pause { at: When::PeriodEnd, .. } => Happening::PauseAtPeriodEnd,
        Action::Resume => Happening::Resume,
        Action::Cancel { at: When::Now, .. } => Happening::Cancel,
        Action::Cancel { at: When::PeriodEnd, .. } => Happening::CancelAtPeriodEnd,
        Action::Uncancel(_) => Happening::Uncancel,
    }
}

const fn not_possible(own: &Subscription, happening: Happening) -> Refusal {
    Refusal::InvalidTransition { id: own.id, from: own.status, asked: happening }
}
