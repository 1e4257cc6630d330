//! A [`Quote`]: what units of a feature cost an end user, and which price said so.
//!
//! Priced once, when recorded; nothing is ever repriced. Source: docs/ledger.md, "Price of a feature".

use serde::{Deserialize, Serialize};

use crate::catalogue::{Catalogue, OveragePolicy, PlanKind};
use crate::credits::{AmountOutOfRange, Credits, Units};
use crate::entitlement::terms::{PriceSource, Terms, terms};
use crate::ids::FeatureKey;
use crate::ledger::command::Properties;
use crate::ledger::counter::CounterKey;
use crate::ledger::refusal::Refusal;
use crate::ledger::wallet::Wallet;
use crate::pricing::{PriceModel, TierWindow};
use crate::subscription::{Subscription, SubscriptionStatus};
use crate::time::Timestamp;

/// Which price an event was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PricedBy {
    /// Where the price comes from.
    pub source: PriceSource,
    /// Index of the rule by event property that picked it; `None` = the price's own model.
    pub rule: Option<u16>,
}

/// The price of one feature for one end user and one set of properties, at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// How units become credits.
    pub model: PriceModel,
    /// Which price it is.
    pub priced_by: PricedBy,
    /// Units counted before in the window.
    pub place: Units,
    /// What the units are counted by, where the price has tiers by window.
    pub counter: Option<CounterKey>,
    /// What happens on a shortfall.
    pub overage_policy: OveragePolicy,
    /// How far debt may go; `None` = no limit.
    pub overdraft_limit: Option<Credits>,
}

impl Quote {
    /// What `units` cost.
    pub fn cost_of(&self, units: Units) -> Result<Credits, AmountOutOfRange> {
        self.model.cost_of(self.place, units)
    }
}

/// The quote for an event of `feature_key` with `properties` that counts at `effective_at`.
pub fn quote<L>(
    wallet: &Wallet<L>,
    catalogue: &Catalogue,
    feature_key: &FeatureKey,
    properties: &Properties,
    effective_at: Timestamp,
) -> Result<Quote, Refusal> {
    let unknown = || Refusal::FeatureUnknown(feature_key.clone());
    let feature = catalogue.features.get(feature_key).ok_or_else(unknown)?;
    quote_under(
        &terms(wallet, catalogue, feature_key, feature, effective_at),
        wallet,
        feature_key,
        properties,
        effective_at,
    )
}

/// The same under the terms that hold then.
pub fn quote_under<L>(
    terms: &Terms<'_>,
    wallet: &Wallet<L>,
    feature_key: &FeatureKey,
    properties: &Properties,
    effective_at: Timestamp,
) -> Result<Quote, Refusal> {
    let set = terms.price.ok_or_else(|| Refusal::FeatureUnpriced(feature_key.clone()))?;
    let rule = set.price.rule_for(properties);
    let model = rule.map_or(&set.price.model, |(_, rule)| &rule.model);
    let counter = model.window().and_then(|window| {
        let (from, until) = window_at(wallet, window, effective_at)?;
        let matches = rule.map(|(_, rule)| rule.matches.clone()).unwrap_or_default();
        Some(CounterKey { feature_key: feature_key.clone(), matches, from, until })
    });
    Ok(Quote {
        place: counter.as_ref().map_or(Units::default(), |key| wallet.counters.units_of(key)),
        model: model.clone(),
        priced_by: PricedBy { source: PriceSource::from(set.source), rule: rule.map(|(index, _)| index) },
        counter,
        overage_policy: terms.overage_policy.0,
        overdraft_limit: terms.overdraft_limit.0,
    })
}

type Window = (Option<Timestamp>, Option<Timestamp>);

/// The window that `at` falls into; `None` where every event is a window of its own.
fn window_at<L>(wallet: &Wallet<L>, window: TierWindow, at: Timestamp) -> Option<Window> {
    let calendar_month = || {
        let (from, until) = at.calendar_month();
        (Some(from), Some(until))
    };
    Some(match window {
        TierWindow::Event => return None,
        TierWindow::Lifetime => (None, None),
        TierWindow::CalendarMonth => calendar_month(),
        TierWindow::BillingPeriod => {
            let window = match wallet.past.at(at) {
                Some(then) => {
                    let base = then.iter().find(|own| own.plan_kind == PlanKind::Base && own.period.contains(at));
                    base.map(|base| base.tier_window)
                }
                // In a pause the period has not ended, whenever that may be.
                None => wallet
                    .base()
                    .filter(|base| base.current_period.contains(at) || base.status == SubscriptionStatus::Paused)
                    .map(Subscription::tier_window),
            };
            window.map_or_else(calendar_month, |window| (Some(window.start), Some(window.end)))
        }
    })
}
