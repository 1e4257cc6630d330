//! Plans and subscriptions over time. Source: docs/subscriptions.md.
//!
//! - `machine`: the table of states, as it is and as the page shows it
//! - `pairs`: every state and every command, asked of the ledger
//! - `scenarios`: the numbers of the page, one story each; `clock`: longer ones; `stories`: with credit that was bought;
//!   `contracts`: notices; `summaries` of postpaid periods; `past`: what late usage goes by; `entitled`: who may what meanwhile
//! - `found`: what a reader of the page found; `returned`: what a void brings back to what was used up
//! - `order`: what burns first where only the order of granting tells
//! - `random`: whatever is asked in whatever order, what must hold holds, also of what is announced (`told`) and of what
//!   summaries say (`tallied`)

mod clock;
mod contracts;
mod entitled;
mod found;
mod machine;
mod order;
mod pairs;
mod past;
pub(crate) mod random;
mod returned;
mod scenarios;
mod stories;
mod summaries;
mod tallied;
mod told;

use quotastack_core::catalogue::{
    BillingMode, Catalogue, GrantInterval, GrantTemplate, OveragePolicy, PlanKind, Variant, VariantPrice,
};
use quotastack_core::ids::{PlanId, SubscriptionId, VariantId, uuid_v7};
use quotastack_core::ledger::advance::read_at;
use quotastack_core::ledger::block::{BlockKind, HasLot, Lot};
use quotastack_core::ledger::command::Command;
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::ledger::wallet::Wallet;
use quotastack_core::state::AccountState;
use quotastack_core::subscription::order::{Action, ChangeCredits, EndCredits, Subscribe, SubscriptionOrder, When};
use quotastack_core::subscription::{Subscription, SubscriptionStatus};
use quotastack_core::time::{Period, PeriodUnit, Timestamp};

use crate::support::{Story, at, catalogue, credits, metered};

pub(crate) const DAYS_30: Period = Period { count: 30, unit: PeriodUnit::Day };
pub(crate) const MONTH: Period = Period { count: 1, unit: PeriodUnit::Month };

/// The start of a day of the story, from 0.
pub(crate) fn day(number: i64) -> Timestamp {
    at(number * 86_400)
}

pub(crate) fn variant_id(number: u8) -> VariantId {
    VariantId::from_uuid(uuid_v7(at(0), [number; 10], None))
}

/// A prepaid base of a plan of its own that gives `amount` per period.
pub(crate) fn base(number: u8, length: Period, amount: i64) -> Variant {
    let plan_id = PlanId::from_uuid(uuid_v7(at(0), [number; 10], None));
    Variant { grants: vec![monthly(amount)], ..Variant::new(plan_id, PlanKind::Base, length) }
}

pub(crate) fn addon(number: u8, length: Period, amount: i64) -> Variant {
    Variant { plan_kind: PlanKind::Addon, ..base(number, length, amount) }
}

pub(super) fn free(variant: Variant) -> Variant {
    Variant { price: Some(VariantPrice { amount: credits(0), currency: "USD".to_owned() }), ..variant }
}

pub(super) fn fallback(variant: Variant) -> Variant {
    Variant { fallback: true, ..variant }
}

pub(super) fn postpaid(variant: Variant) -> Variant {
    Variant { billing_mode: BillingMode::Postpaid, ..variant }
}

pub(super) fn monthly(amount: i64) -> GrantTemplate {
    GrantTemplate::new(credits(amount), GrantInterval::BillingPeriod)
}

/// The first template of a variant with rollover.
pub(super) fn rolling(mut variant: Variant, percent: u8, cap: Option<i64>) -> Variant {
    variant.grants[0].rollover_percent = percent;
    variant.grants[0].rollover_cap = cap.map(credits);
    variant
}

/// The catalogue of these variants, numbered from 1, and the feature `f`: 1 credit per unit, `endless` with overdraft.
pub(super) fn offering(variants: impl IntoIterator<Item = Variant>) -> Catalogue {
    let features = [("f", metered(OveragePolicy::Block, None)), ("endless", metered(OveragePolicy::Overdraft, None))];
    let mut catalogue = catalogue(features);
    for (number, variant) in (1..).zip(variants) {
        catalogue.add_variant(variant_id(number), variant);
    }
    catalogue
}

pub(super) fn life(variants: impl IntoIterator<Item = Variant>) -> Story {
    Story::new(offering(variants))
}

impl Story {
    /// Subscribes now; the subscription's id.
    pub(super) fn subscribe(&mut self, now: Timestamp, number: u8) -> SubscriptionId {
        self.try_subscribe(now, Subscribe::now(variant_id(number), 1)).unwrap().id
    }

    pub(super) fn try_subscribe(&mut self, now: Timestamp, order: Subscribe) -> Result<Subscription, Refusal> {
        match self.apply(now, Command::Subscribe(order))? {
            Outcome::Subscribed { subscription } => Ok(subscription),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn ask(&mut self, now: Timestamp, id: SubscriptionId, action: Action) -> Result<Subscription, Refusal> {
        match self.apply(now, Command::Subscription(SubscriptionOrder { id, action }))? {
            Outcome::SubscriptionChanged { subscription, .. } => Ok(subscription),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn change(&mut self, now: Timestamp, id: SubscriptionId, to: u8, credits: ChangeCredits) {
        let variant_id = variant_id(to);
        self.ask(now, id, Action::Change { variant_id, quantity: None, at: When::Now, credits }).unwrap();
    }

    /// What any reader finds: from blocks, and from what was published of them. Both say the same.
    pub(super) fn balance(&self, now: Timestamp) -> i64 {
        let mut blocks = self.account.wallet.clone();
        read_at(&mut blocks, &self.catalogue, now);
        let mut published = AccountState::publish(&self.account, 1, &self.catalogue).wallet;
        read_at(&mut published, &self.catalogue, now);
        same(&blocks, &published);
        blocks.totals().balance.get()
    }

    /// The status of a subscription as any reader finds it; `None` = it is over.
    pub(super) fn status(&self, now: Timestamp, id: SubscriptionId) -> Option<SubscriptionStatus> {
        let mut wallet = self.account.wallet.clone();
        read_at(&mut wallet, &self.catalogue, now);
        wallet.subscription(id).map(|own| own.status)
    }

    /// Kind, what was granted and what remains of each block that was ever there, in order of granting.
    pub(super) fn blocks(&self) -> Vec<(BlockKind, i64, i64)> {
        let mut blocks: Vec<_> = self.account.wallet.lots.iter().collect();
        blocks.sort_by_key(|block| block.granted);
        let row = |block: &&quotastack_core::ledger::block::Block| {
            (block.lot.kind, block.original.get(), block.lot.remaining.get())
        };
        blocks.iter().map(row).collect()
    }
}

/// Two readers find the same.
pub(super) fn same<A: HasLot, B: HasLot>(one: &Wallet<A>, other: &Wallet<B>) {
    assert_eq!(lots(one), lots(other));
    assert_eq!(one.totals(), other.totals());
    assert_eq!((&one.subscriptions, &one.given), (&other.subscriptions, &other.given));
    assert_eq!((&one.debts, &one.rollovers), (&other.debts, &other.rollovers));
}

/// Lots with credit in burn order, neighbours that no rule tells apart as one.
fn lots<L: HasLot>(wallet: &Wallet<L>) -> Vec<Lot> {
    let mut lots: Vec<Lot> = Vec::new();
    for lot in wallet.lots.iter().map(HasLot::lot).filter(|lot| lot.remaining.is_positive()) {
        match lots.last_mut().filter(|last| last.is_like(lot)) {
            Some(last) => {
                last.remaining += lot.remaining;
                last.held += lot.held;
            }
            None => lots.push(lot.clone()),
        }
    }
    lots
}

pub(super) fn cancel(at: When) -> Action {
    Action::Cancel { at, credits: EndCredits::Keep }
}
