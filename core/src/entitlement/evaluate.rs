//! From state, catalogue, request and now to the answer. Source: docs/entitlements.md.
//!
//! Pure and without I/O; reads a state of any age, because time is applied first.

use std::borrow::Cow;

use crate::catalogue::{Catalogue, Feature, FeatureKind, Merge, PlanKind};
use crate::credits::{Credits, Units};
use crate::entitlement::decision::{Decision, Reason};
use crate::entitlement::terms::{Named, Withheld, entitlements, override_of, terms};
use crate::ids::FeatureKey;
use crate::ledger::advance::read_at;
use crate::ledger::command::Properties;
use crate::ledger::quote::{Quote, quote};
use crate::ledger::refusal::Refusal;
use crate::ledger::tranche::Tranche;
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
pub fn wallet_at<'a>(state: &'a AccountState, catalogue: &Catalogue, now: Timestamp) -> Cow<'a, Wallet<Tranche>> {
    if !state.wallet.is_due(now) {
        return Cow::Borrowed(&state.wallet);
    }
    let mut wallet = state.wallet.clone();
    read_at(&mut wallet, catalogue, now);
    Cow::Owned(wallet)
}

/// Answers a check.
pub fn evaluate(state: &AccountState, catalogue: &Catalogue, request: CheckRequest<'_>, now: Timestamp) -> Decision {
    let wallet = wallet_at(state, catalogue, now);
    // A command would count from here too: an account's time never goes back.
    let now = now.max(wallet.time);
    let base = wallet.base();
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
    decision.reason = match (feature.kind, access(&wallet, catalogue, request.feature_key, feature, now)) {
        (_, Access::Withheld(Withheld::Paused)) => Reason::SubscriptionPaused,
        (_, Access::Withheld(Withheld::PastDue)) => Reason::SubscriptionPastDue,
        (_, Access::Off) if base.is_none() => Reason::NoSubscription,
        (_, Access::Off) => Reason::FeatureNotInPlan,
        (FeatureKind::Boolean, Access::On(_)) => Reason::Ok,
        (FeatureKind::Config, Access::On(value)) => {
            decision.value = value.map(Cow::into_owned);
            Reason::Ok
        }
        (FeatureKind::Metered, Access::On(_)) => {
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
    match access(wallet, catalogue, feature_key, feature, wallet.time) {
        Access::On(_) => Ok(()),
        Access::Withheld(Withheld::Paused) => Err(Refusal::SubscriptionPaused(feature_key.clone())),
        Access::Withheld(Withheld::PastDue) => Err(Refusal::SubscriptionPastDue(feature_key.clone())),
        Access::Off if wallet.base().is_some() => Err(Refusal::FeatureNotInPlan(feature_key.clone())),
        Access::Off => Err(Refusal::NoSubscription(feature_key.clone())),
    }
}

/// Whether an end user is given a feature.
enum Access<'a> {
    /// Yes, with this value.
    On(Option<Cow<'a, str>>),
    /// Only by a subscription that gives nothing now.
    Withheld(Withheld),
    /// No.
    Off,
}

/// Whether the end user is given the feature, and with which value: by their override, else by their subscriptions
/// (one that is on wins), else by the feature's default.
fn access<'a, L>(
    wallet: &'a Wallet<L>,
    catalogue: &'a Catalogue,
    feature_key: &FeatureKey,
    feature: &'a Feature,
    now: Timestamp,
) -> Access<'a> {
    let mut named = entitlements(wallet, catalogue, feature_key);
    named.sort_by_key(|named| named.plan_kind != PlanKind::Base);
    let own = override_of(wallet, feature_key, now);
    let given = named.iter().any(|named| named.withheld.is_none() && named.entitlement.access.enabled);
    let by_default = named.is_empty() && feature.default.enabled;
    let withheld = || named.iter().find(|named| named.entitlement.access.enabled).and_then(|named| named.withheld);
    match own.and_then(|own| own.enabled) {
        Some(false) => return Access::Off,
        None if !given && !by_default => return withheld().map_or(Access::Off, Access::Withheld),
        Some(true) | None => {}
    }
    let own_value = own.and_then(|own| own.value.as_deref()).map(Cow::Borrowed);
    let default = || if given { None } else { feature.default.value.as_deref().map(Cow::Borrowed) };
    Access::On(own_value.or_else(|| merged(&named)).or_else(default))
}

/// The value that subscriptions give: the base's, else the first add-on's; other add-ons join it where they say so.
fn merged<'a>(named: &[Named<'a>]) -> Option<Cow<'a, str>> {
    let mut giving = named.iter().filter(|named| named.withheld.is_none() && named.entitlement.access.enabled);
    let mut value = Cow::Borrowed(giving.next()?.entitlement.access.value.as_deref()?);
    for other in giving {
        let joins = other.entitlement.merge.zip(other.entitlement.access.value.as_deref());
        let numbers = |text: &str| Some((value.parse::<i64>().ok()?, text.parse::<i64>().ok()?));
        if let Some((merge, (one, other))) = joins.and_then(|(merge, text)| Some((merge, numbers(text)?))) {
            let joined = match merge {
                Merge::Sum => one.saturating_add(other),
                Merge::Max => one.max(other),
            };
            value = Cow::Owned(joined.to_string());
        }
    }
    Some(value)
}

fn can_pay(decision: &mut Decision, wallet: &Wallet<Tranche>, quote: &Quote, request: CheckRequest<'_>) -> Reason {
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
fn credit_line(
    wallet: &Wallet<Tranche>,
    quote: &Quote,
    feature_key: &FeatureKey,
    spendable: Credits,
) -> Option<Credits> {
    if !quote.overage_policy.allows_debt() {
        return Some(spendable);
    }
    let open = wallet.debts.amount_of_feature(feature_key) + wallet.uncovered(feature_key);
    Some(spendable + (quote.overdraft_limit? - open).max(Credits::ZERO))
}
