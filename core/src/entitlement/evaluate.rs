//! From state, catalogue, request and now to the answer. Source: docs/entitlements.md.
//!
//! Pure and without I/O; reads a state of any age, because time is applied first.

use std::borrow::Cow;

use crate::catalogue::{Catalogue, Feature, FeatureKind, PlanKind};
use crate::credits::{Credits, Units};
use crate::entitlement::decision::{Decision, Reason};
use crate::entitlement::terms::{entitlements, override_of, terms};
use crate::ids::FeatureKey;
use crate::ledger::advance::advance;
use crate::ledger::block::Lot;
use crate::ledger::command::Properties;
use crate::ledger::quote::{Quote, quote};
use crate::ledger::refusal::Refusal;
use crate::ledger::wallet::Wallet;
use crate::state::AccountState;
use crate::time::Timestamp;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct CheckRequest<'a> {
    /// The feature.
    pub feature_key: &'a FeatureKey,
    /// How many units the caller is about to use.
    pub units: Units,
    /// Properties of the event that the caller is about to report; they may pick another price.
    pub properties: &'a Properties,
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
    let (enabled, value) = access(&wallet, catalogue, request.feature_key, feature);
    decision.reason = match (feature.kind, enabled) {
        (_, false) if base.is_none() => Reason::NoSubscription,
        (_, false) => Reason::FeatureNotInPlan,
        (FeatureKind::Boolean, true) => Reason::Ok,
        (FeatureKind::Config, true) => {
            decision.value = value.map(str::to_owned);
            Reason::Ok
        }
        (FeatureKind::Metered, true) => {
            match quote(&*wallet, catalogue, request.feature_key, request.properties, now) {
                Ok(quote) => can_pay(&mut decision, &wallet, &quote, request),
                Err(_) => Reason::FeatureUnpriced,
            }
        }
    };
    if feature.kind == FeatureKind::Metered {
        let terms = terms(&*wallet, catalogue, request.feature_key, feature, now);
        decision.overage_policy = Some(terms.overage_policy);
    }
    decision.allowed = matches!(decision.reason, Reason::Ok | Reason::WithinOverdraft);
    decision
}

/// Refuses who may not use a metered feature at all; what it costs is another question.
pub fn gate<L>(wallet: &Wallet<L>, catalogue: &Catalogue, feature_key: &FeatureKey) -> Result<(), Refusal> {
    let unknown = || Refusal::FeatureUnknown(feature_key.clone());
    let feature = catalogue.features.get(feature_key).ok_or_else(unknown)?;
    if feature.kind != FeatureKind::Metered {
        return Err(Refusal::NotMetered(feature_key.clone()));
    }
    let has_base = || wallet.subscriptions.iter().any(|live| live.plan_kind == PlanKind::Base);
    match access(wallet, catalogue, feature_key, feature) {
        (true, _) => Ok(()),
        (false, _) if has_base() => Err(Refusal::FeatureNotInPlan(feature_key.clone())),
        (false, _) => Err(Refusal::NoSubscription(feature_key.clone())),
    }
}

/// Whether the end user is given the feature, and with which value: by their override, else by their subscriptions
/// (of several, one that is on wins, the base's before an add-on's), else by the feature's default.
fn access<'a, L>(
    wallet: &'a Wallet<L>,
    catalogue: &'a Catalogue,
    feature_key: &FeatureKey,
    feature: &'a Feature,
) -> (bool, Option<&'a str>) {
    let mut given = entitlements(wallet, catalogue, feature_key);
    given.sort_by_key(|(kind, _)| *kind != PlanKind::Base);
    let on = given.iter().find(|(_, given)| given.access.enabled);
    let access = on.or(given.first()).map_or(&feature.default, |(_, given)| &given.access);
    let own = override_of(wallet, feature_key, wallet.time);
    let enabled = own.and_then(|own| own.enabled).unwrap_or(access.enabled);
    let value = own.and_then(|own| own.value.as_deref()).or(access.value.as_deref());
    (enabled, value)
}

fn can_pay(decision: &mut Decision, wallet: &Wallet<Lot>, quote: &Quote, request: CheckRequest<'_>) -> Reason {
    let spendable = wallet.spendable(request.feature_key);
    let credit = credit_line(wallet, quote, request.feature_key, spendable);
    decision.units_affordable = credit.and_then(|credit| quote.model.units_for(quote.place, credit));
    let Ok(cost) = quote.cost_of(request.units) else {
        return Reason::InsufficientCredits;
    };
    decision.estimated_cost = Some(cost);
    decision.balance_after = decision.balance.checked_add(-cost).ok();
    if cost <= spendable {
        Reason::Ok
    } else if !quote.overage_policy.allows_debt() {
        Reason::InsufficientCredits
    } else if credit.is_none_or(|credit| cost <= credit) {
        Reason::WithinOverdraft
    } else {
        Reason::OverdraftLimit
    }
}

/// The most that an event may cost now, debt included; `None` = no limit.
fn credit_line(wallet: &Wallet<Lot>, quote: &Quote, feature_key: &FeatureKey, spendable: Credits) -> Option<Credits> {
    if !quote.overage_policy.allows_debt() {
        return Some(spendable);
    }
    let open = wallet.debts.amount_of_feature(feature_key) + wallet.uncovered(feature_key);
    Some(spendable + (quote.overdraft_limit? - open).max(Credits::ZERO))
}
