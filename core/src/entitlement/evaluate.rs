//! From state, catalogue, request and now to the answer. Source: docs/entitlements.md.
//!
//! Pure and without I/O; reads a state of any age, because time is applied first.

use std::borrow::Cow;

use crate::catalogue::{Catalogue, FeatureKind};
use crate::credits::{Credits, Units};
use crate::entitlement::access::{Access, Ruling, rule};
use crate::entitlement::decision::{Decision, Reason};
use crate::entitlement::terms::{Terms, Withheld, terms};
use crate::ids::FeatureKey;
use crate::ledger::advance::read_at;
use crate::ledger::block::HasLot;
use crate::ledger::command::Properties;
use crate::ledger::quote::{Quote, quote_under};
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

/// What the answer to a check rests on. The rules that decide make it, so that it never says anything else.
#[derive(Debug, Clone)]
pub struct Grounds<'a> {
    /// Who gives the feature, or does not. Its value is in the answer.
    pub ruling: Ruling<'a>,
    /// Its price and policy; metered features.
    pub terms: Option<Terms<'a>>,
}

/// Answers a check.
pub fn evaluate(state: &AccountState, catalogue: &Catalogue, request: CheckRequest<'_>, now: Timestamp) -> Decision {
    let wallet = wallet_at(state, catalogue, now);
    decide(&wallet, state.version, catalogue, request, now).0
}

/// The answer to a check of a wallet with nothing due at `now`, and what it rests on (`None` = no such feature).
pub fn decide<'a, L: HasLot>(
    wallet: &'a Wallet<L>,
    version: u64,
    catalogue: &'a Catalogue,
    request: CheckRequest<'_>,
    now: Timestamp,
) -> (Decision, Option<Grounds<'a>>) {
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
        version,
    };
    let Some(feature) = catalogue.features.get(request.feature_key) else {
        return (decision, None);
    };
    let mut ruling = rule(wallet, catalogue, request.feature_key, feature, now);
    let terms =
        (feature.kind == FeatureKind::Metered).then(|| terms(wallet, catalogue, request.feature_key, feature, now));
    decision.reason = match (ruling.access, &terms) {
        (Access::Withheld(Withheld::Paused), _) => Reason::SubscriptionPaused,
        (Access::Withheld(Withheld::PastDue), _) => Reason::SubscriptionPastDue,
        (Access::Off, _) if base.is_none() => Reason::NoSubscription,
        (Access::Off, _) => Reason::FeatureNotInPlan,
        (Access::On, None) => Reason::Ok,
        (Access::On, Some(terms)) => match quote_under(terms, wallet, request.feature_key, request.properties, now) {
            Ok(quote) => can_pay(&mut decision, wallet, &quote, request),
            Err(_) => Reason::FeatureUnpriced,
        },
    };
    if feature.kind == FeatureKind::Config {
        decision.value = ruling.value.take().map(Cow::into_owned);
    }
    decision.overage_policy = terms.map(|terms| terms.overage_policy.0);
    decision.allowed = matches!(decision.reason, Reason::Ok | Reason::WithinOverdraft);
    (decision, Some(Grounds { ruling, terms }))
}

/// Refuses who may not use a metered feature at all; what it costs is another question.
pub fn gate<L>(wallet: &Wallet<L>, catalogue: &Catalogue, feature_key: &FeatureKey) -> Result<(), Refusal> {
    let unknown = || Refusal::FeatureUnknown(feature_key.clone());
    let feature = catalogue.features.get(feature_key).ok_or_else(unknown)?;
    if feature.kind != FeatureKind::Metered {
        return Err(Refusal::NotMetered(feature_key.clone()));
    }
    match rule(wallet, catalogue, feature_key, feature, wallet.time).access {
        Access::On => Ok(()),
        Access::Withheld(Withheld::Paused) => Err(Refusal::SubscriptionPaused(feature_key.clone())),
        Access::Withheld(Withheld::PastDue) => Err(Refusal::SubscriptionPastDue(feature_key.clone())),
        Access::Off if wallet.base().is_some() => Err(Refusal::FeatureNotInPlan(feature_key.clone())),
        Access::Off => Err(Refusal::NoSubscription(feature_key.clone())),
    }
}

fn can_pay<L: HasLot>(decision: &mut Decision, wallet: &Wallet<L>, quote: &Quote, request: CheckRequest<'_>) -> Reason {
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
fn credit_line<L: HasLot>(
    wallet: &Wallet<L>,
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
