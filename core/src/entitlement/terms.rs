//! Terms: at which price and under which overage policy an end user uses a feature.
//!
//! Each part comes from the first that names it: the end user's override, an add-on (the latest started), the base
//! subscription's variant, the feature. Source: docs/ledger.md, "Price of a feature".

use serde::{Deserialize, Serialize};

use crate::catalogue::{Catalogue, Entitlement, Feature, OveragePolicy, PlanKind};
use crate::credits::Credits;
use crate::ids::FeatureKey;
use crate::ledger::wallet::Wallet;
use crate::pricing::Price;
use crate::time::Timestamp;

/// Where a price comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceSource {
    /// The feature's own.
    Feature,
    /// A variant that the end user is subscribed to.
    Variant,
    /// An override of the end user.
    EndUser,
}

/// An end user's own terms for one feature. What is `None` is as it would be without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The feature.
    pub feature_key: FeatureKey,
    /// On or off.
    pub enabled: Option<bool>,
    /// JSON text; only for `config` features.
    pub value: Option<String>,
    /// Replaces the whole price.
    pub price: Option<Price>,
    /// What happens on a shortfall.
    pub overage_policy: Option<OveragePolicy>,
    /// How far debt may go.
    pub overdraft_limit: Option<Credits>,
    /// Over from this instant on; `None` = never.
    pub expires_at: Option<Timestamp>,
}

/// What holds for an end user and a feature at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms<'a> {
    /// The price, if there is one.
    pub price: Option<(&'a Price, PriceSource)>,
    /// What happens on a shortfall.
    pub overage_policy: OveragePolicy,
    /// How far debt may go; `None` = no limit.
    pub overdraft_limit: Option<Credits>,
}

/// The end user's override of a feature that holds at `at`.
pub fn override_of<'a, L>(wallet: &'a Wallet<L>, feature_key: &FeatureKey, at: Timestamp) -> Option<&'a Override> {
    let own = wallet.overrides.iter().find(|own| own.feature_key == *feature_key)?;
    own.expires_at.is_none_or(|end| at < end).then_some(own)
}

/// What the live subscriptions say of a feature, in order of precedence: add-ons, the latest started first, then the
/// base.
pub fn entitlements<'a, L>(
    wallet: &Wallet<L>,
    catalogue: &'a Catalogue,
    feature_key: &FeatureKey,
) -> Vec<(PlanKind, &'a Entitlement)> {
    let mut live: Vec<_> = wallet.subscriptions.iter().collect();
    live.sort_by_key(|live| (live.plan_kind == PlanKind::Base, std::cmp::Reverse((live.created_at, live.id))));
    let given = live.into_iter().filter_map(|live| {
        let variant = catalogue.variants.get(&(live.variant_id, live.variant_version))?;
        Some((live.plan_kind, variant.entitlements.get(feature_key)?))
    });
    given.collect()
}

/// The terms of `feature` for the owner of `wallet`. `effective_at` picks the version of the feature's own price;
/// everything else is as of the wallet's time.
pub fn terms<'a, L>(
    wallet: &'a Wallet<L>,
    catalogue: &'a Catalogue,
    feature_key: &FeatureKey,
    feature: &'a Feature,
    effective_at: Timestamp,
) -> Terms<'a> {
    let own = override_of(wallet, feature_key, effective_at);
    let given = entitlements(wallet, catalogue, feature_key);
    let own_price = own.and_then(|own| own.price.as_ref()).map(|price| (price, PriceSource::EndUser));
    let given_price = || given.iter().find_map(|(_, given)| Some((given.price.as_ref()?, PriceSource::Variant)));
    let feature_price = || feature.price_at(effective_at).map(|price| (price, PriceSource::Feature));
    Terms {
        price: own_price.or_else(given_price).or_else(feature_price),
        overage_policy: own
            .and_then(|own| own.overage_policy)
            .or_else(|| given.iter().find_map(|(_, given)| given.overage_policy))
            .unwrap_or(feature.overage_policy),
        overdraft_limit: own
            .and_then(|own| own.overdraft_limit)
            .or_else(|| given.iter().find_map(|(_, given)| given.overdraft_limit))
            .or(feature.overdraft_limit),
    }
}
