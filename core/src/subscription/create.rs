//! Creating a subscription. Source: docs/subscriptions.md, "Create".

use crate::catalogue::{PlanKind, Variant};
use crate::ids::SubscriptionId;
use crate::ledger::block::HasLot;
use crate::ledger::book::Book;
use crate::ledger::motion::Motion;
use crate::ledger::outcome::Outcome;
use crate::ledger::refusal::Refusal;
use crate::ledger::wallet::Wallet;
use crate::subscription::machine::Happening;
use crate::subscription::order::{EndCredits, Subscribe};
use crate::subscription::state::{Subscription, SubscriptionStatus, Target};
use crate::time::Timestamp;

pub(crate) fn subscribe(book: &mut Book<'_>, order: &Subscribe) -> Result<Outcome, Refusal> {
    let id = SubscriptionId::from_uuid(book.ids.next_uuid());
    book.carry_out(|motion| motion.create(id, order))?;
    let subscription = book.account.subscription(id).expect("the subscription was just made").clone();
    Ok(Outcome::Subscribed { subscription })
}

impl<L: HasLot> Motion<'_, L> {
    fn create(&mut self, id: SubscriptionId, order: &Subscribe) -> Result<(), Refusal> {
        let unknown = Refusal::VariantUnknown(order.variant_id);
        let variant = self.catalogue.latest_variant(order.variant_id).ok_or(unknown)?;
        if variant.archived {
            return Err(Refusal::VariantArchived(order.variant_id));
        }
        let start = self.start_of(order, variant)?;
        let ends_after_start = variant.billing_period.end(start, 0) > start;
        if !ends_after_start {
            return Err(Refusal::PeriodWithoutEnd);
        }
        let replaced = self.room_for(variant, start)?;
        if let Some(fallback) = replaced.filter(|_| start <= self.at) {
            self.end(fallback, Happening::Replaced, EndCredits::Keep);
        }
        let (variant_id, quantity) = (order.variant_id, order.quantity);
        let target = Target { variant_id, variant_version: variant.version, quantity };
        let own = Subscription::scheduled(id, target, variant, self.at, start);
        self.add(own, variant, order.import);
        Ok(())
    }

    fn start_of(&self, order: &Subscribe, variant: &Variant) -> Result<Timestamp, Refusal> {
        let now = self.at;
        if let Some(import) = order.import {
            let runs = import.period_start <= now && now < variant.billing_period.end(import.period_start, 0);
            return if runs && order.start_at.is_none() {
                Ok(import.period_start)
            } else {
                Err(Refusal::ImportOutOfRange { now })
            };
        }
        let start = order.start_at.unwrap_or(now);
        if start < now { Err(Refusal::StartInPast { now }) } else { Ok(start) }
    }

    /// Whether the end user can have another subscription from `start` on; the fallback that it replaces.
    fn room_for(&self, variant: &Variant, start: Timestamp) -> Result<Option<SubscriptionId>, Refusal> {
        let base = self.wallet.base();
        if variant.plan_kind == PlanKind::Addon {
            return if base.is_some_and(|base| !base.is_fallback) {
                Ok(None)
            } else {
                Err(Refusal::NoBaseSubscription)
            };
        }
        if let Some(scheduled) = self.wallet.scheduled_base() {
            return Err(Refusal::SubscriptionScheduled(scheduled.id));
        }
        match base {
            None => Ok(None),
            Some(base) if base.is_fallback && !variant.fallback => Ok(Some(base.id)),
            Some(base) if start > self.at && ends_by(base, start, self.catalogue_contract(base)) => Ok(None),
            Some(base) => Err(Refusal::BaseSubscriptionLive(base.id)),
        }
    }

    /// Whether the term of its contract is the last one.
    fn catalogue_contract(&self, base: &Subscription) -> bool {
        let contract = self.variant(base.target()).and_then(|variant| variant.contract);
        contract.is_some_and(|contract| !contract.auto_renew)
    }
}

fn ends_by(base: &Subscription, start: Timestamp, is_last_term: bool) -> bool {
    let term_end = base.contract_end.filter(|_| is_last_term);
    [base.cancel_at, term_end].into_iter().flatten().any(|end| end <= start)
}

impl<L> Wallet<L> {
    /// A subscription that is not over.
    pub fn subscription(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.subscriptions.iter().find(|own| own.id == id)
    }

    /// The base subscription that has begun.
    pub fn base(&self) -> Option<&Subscription> {
        self.subscriptions.iter().find(|own| own.plan_kind == PlanKind::Base && own.is_running())
    }

    /// The base subscription that begins later.
    pub fn scheduled_base(&self) -> Option<&Subscription> {
        let is_scheduled = |own: &&Subscription| own.status == SubscriptionStatus::Scheduled;
        self.subscriptions.iter().filter(is_scheduled).find(|own| own.plan_kind == PlanKind::Base)
    }
}
