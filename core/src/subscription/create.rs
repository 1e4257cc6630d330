//! Creating a subscription: its first period opens and its plan's grants are made.
//!
//! Source: docs/subscriptions.md, "Create".

use crate::catalogue::{Catalogue, GrantInterval, PlanKind, Variant};
use crate::credits::Credits;
use crate::ids::SubscriptionId;
use crate::ledger::block::{BlockKind, Lot, Origin};
use crate::ledger::book::Book;
use crate::ledger::command::Subscribe;
use crate::ledger::entry::{Cause, EntryKind};
use crate::ledger::event::EventKind;
use crate::ledger::grant::{LotOrder, grant_lots};
use crate::ledger::outcome::Outcome;
use crate::ledger::refusal::Refusal;
use crate::subscription::{Interval, Subscription, SubscriptionStatus};

pub(crate) fn subscribe(book: &mut Book<'_>, catalogue: &Catalogue, order: &Subscribe) -> Result<Outcome, Refusal> {
    let variant = catalogue.latest_variant(order.variant_id).ok_or(Refusal::VariantUnknown(order.variant_id))?;
    let live_base = book.account.wallet.subscriptions.iter().find(|live| live.plan_kind == PlanKind::Base);
    match (variant.plan_kind, live_base) {
        (PlanKind::Base, Some(live)) => return Err(Refusal::BaseSubscriptionLive(live.id)),
        (PlanKind::Addon, None) => return Err(Refusal::NoBaseSubscription),
        _ => {}
    }
    let start = book.now();
    let end = variant.billing_period.end(start, 0);
    if end <= start {
        return Err(Refusal::PeriodWithoutEnd);
    }
    let subscription = Subscription {
        id: SubscriptionId::from_uuid(book.ids.next_uuid()),
        plan_id: variant.plan_id,
        plan_kind: variant.plan_kind,
        variant_id: order.variant_id,
        variant_version: variant.version,
        status: SubscriptionStatus::Active,
        quantity: order.quantity,
        created_at: start,
        current_period: Interval { start, end },
    };
    let given_once = &book.account.given_once;
    let lots = first_grants(&subscription, variant, |template| given_once.contains(&(order.variant_id, template)))?;
    if !lots.is_empty() {
        grant_lots(book, lots, EntryKind::Grant, Cause::Subscription(subscription.id))?;
    }
    let once = (0..).zip(&variant.grants).filter(|(_, grant)| grant.interval == GrantInterval::Once);
    book.account.given_once.extend(once.map(|(template, _)| (order.variant_id, template)));
    book.account.wallet.add_subscription(subscription.clone());
    book.effects.subscriptions.push(subscription.clone());
    book.announce(start, EventKind::SubscriptionCreated { subscription: subscription.clone() });
    Ok(Outcome::Subscribed { subscription })
}

/// The credit of a first period. A `once` template that the end user was given before gives nothing.
fn first_grants(
    subscription: &Subscription,
    variant: &Variant,
    was_given: impl Fn(u16) -> bool,
) -> Result<Vec<LotOrder>, Refusal> {
    let Interval { start, end } = subscription.current_period;
    let due = (0..).zip(&variant.grants);
    let due = due.filter(|(template, grant)| grant.interval != GrantInterval::Once || !was_given(*template));
    let lots = due.map(|(template, grant)| {
        let amount = i128::from(grant.amount.get()) * i128::from(subscription.quantity);
        let amount = i64::try_from(amount).map_err(|_| crate::credits::AmountOutOfRange).and_then(Credits::new)?;
        let lot = Lot {
            kind: BlockKind::Plan,
            priority: grant.priority,
            paid: false,
            settles_debt: grant.settles_debt,
            effective_at: start,
            expires_at: (grant.interval == GrantInterval::BillingPeriod).then_some(end),
            scope: grant.feature_keys.clone(),
            remaining: amount,
            held: Credits::ZERO,
            origin: Some(Origin { subscription_id: subscription.id, variant_id: subscription.variant_id, template }),
            cap_group: grant.cap_group.clone(),
            ended: None,
            claw_back: Credits::ZERO,
        };
        Ok(LotOrder { lot, accumulation_cap: grant.accumulation_cap })
    });
    lots.collect()
}
