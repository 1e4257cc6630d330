//! From state, catalogue, request and now to the answer. Source: docs/entitlements.md.
//!
//! Pure and without I/O; reads a state of any age, because time is applied first.

use std::borrow::Cow;

use crate::catalogue::{Access, Catalogue, Feature, FeatureKind, OveragePolicy, PlanKind};
use crate::credits::{Credits, Units};
use crate::entitlement::decision::{Decision, Reason};
use crate::ids::FeatureKey;
use crate::ledger::advance::advance;
use crate::ledger::block::Lot;
use crate::ledger::wallet::Wallet;
use crate::pricing::Price;
use crate::state::AccountState;
use crate::time::Timestamp;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct CheckRequest<'a> {
    /// The feature.
    pub feature_key: &'a FeatureKey,
    /// How many units the caller is about to use.
    pub units: Units,
}

/// The state's wallet at `now`; copied only if something is due.
pub fn wallet_at(state: &AccountState, now: Timestamp) -> Cow<'_, Wallet<Lot>> {
    if state.wallet.next_due().is_none_or(|due| due > now) {
        return Cow::Borrowed(&state.wallet);
    }
    let mut wallet = state.wallet.clone();
    advance(&mut wallet, now, |_, _| {});
    Cow::Owned(wallet)
}

/// Answers a check.
pub fn evaluate(state: &AccountState, catalogue: &Catalogue, request: CheckRequest<'_>, now: Timestamp) -> Decision {
    let wallet = wallet_at(state, now);
    // A command would count from here too: an account's time never goes back.
    let now = now.max(wallet.time);
    let base = wallet.subscriptions.iter().find(|subscription| subscription.plan_kind == PlanKind::Base);
    let totals = wallet.feature_totals(request.feature_key);
    let mut decision = Decision {
        allowed: false,
        reason: Reason::FeatureUnknown,
        units: request.units,
        balance: totals.balance,
        reserved: totals.reserved,
        available: totals.available,
        estimated_cost: None,
        balance_after: None,
        units_affordable: None,
        value: None,
        overage_policy: None,
        subscription_status: base.map(|subscription| subscription.status),
        version: state.version,
    };
    let Some(feature) = catalogue.features.get(request.feature_key) else {
        return decision;
    };
    let access = access(&wallet, catalogue, request.feature_key, feature);
    decision.reason = match (feature.kind, access.enabled) {
        (_, false) if base.is_none() => Reason::NoSubscription,
        (_, false) => Reason::FeatureNotInPlan,
        (FeatureKind::Boolean, true) => Reason::Ok,
        (FeatureKind::Config, true) => {
            decision.value.clone_from(&access.value);
            Reason::Ok
        }
        (FeatureKind::Metered, true) => match feature.price_at(now) {
            Some(price) => can_pay(&mut decision, &wallet, feature, price, request),
            None => Reason::FeatureUnpriced,
        },
    };
    if feature.kind == FeatureKind::Metered {
        decision.overage_policy = Some(feature.overage_policy);
    }
    decision.allowed = matches!(decision.reason, Reason::Ok | Reason::WithinOverdraft);
    decision
}

/// What the end user's subscriptions give, else the feature's default. Of several, one that is on wins.
fn access<'a>(
    wallet: &Wallet<Lot>,
    catalogue: &'a Catalogue,
    feature_key: &FeatureKey,
    feature: &'a Feature,
) -> &'a Access {
    let given = |kind: PlanKind| {
        let live = wallet.subscriptions.iter().filter(move |subscription| subscription.plan_kind == kind);
        live.filter_map(|subscription| {
            catalogue
                .variants
                .get(&(subscription.variant_id, subscription.variant_version))?
                .entitlements
                .get(feature_key)
        })
    };
    let all = || given(PlanKind::Base).chain(given(PlanKind::Addon));
    all().find(|access| access.enabled).or_else(|| all().next()).unwrap_or(&feature.default)
}

fn can_pay(
    decision: &mut Decision,
    wallet: &Wallet<Lot>,
    feature: &Feature,
    price: &Price,
    request: CheckRequest<'_>,
) -> Reason {
    let spendable = wallet.spendable(request.feature_key);
    let credit = credit_line(wallet, feature, request.feature_key, spendable);
    decision.units_affordable = credit.and_then(|credit| price.units_for(credit));
    let Ok(cost) = price.cost_of(request.units) else {
        return Reason::InsufficientCredits;
    };
    decision.estimated_cost = Some(cost);
    decision.balance_after = decision.balance.checked_add(-cost).ok();
    if cost <= spendable {
        Reason::Ok
    } else if !feature.overage_policy.allows_debt() {
        Reason::InsufficientCredits
    } else if credit.is_none_or(|credit| cost <= credit) {
        Reason::WithinOverdraft
    } else {
        Reason::OverdraftLimit
    }
}

/// The most that an event may cost now, debt included; `None` = no limit.
fn credit_line(
    wallet: &Wallet<Lot>,
    feature: &Feature,
    feature_key: &FeatureKey,
    spendable: Credits,
) -> Option<Credits> {
    match feature.overage_policy {
        OveragePolicy::Block | OveragePolicy::Cap => Some(spendable),
        OveragePolicy::Overdraft | OveragePolicy::Notify => {
            let limit = feature.overdraft_limit?;
            Some(spendable + (limit - wallet.debt_of(feature_key)).max(Credits::ZERO))
        }
    }
}
