//! Terms: at which price and under which overage policy an end user uses a feature.
//!
//! Each part comes from the first that names it: the end user's override, an add-on (the latest started), the base
//! subscription's variant, the feature. Source: docs/ledger.md, "Price of a feature".

use serde::{Deserialize, Serialize};

use crate::catalogue::{Catalogue, Entitlement, Feature, OveragePolicy};
use crate::credits::Credits;
use crate::ids::{FeatureKey, SubscriptionId};
use crate::ledger::wallet::Wallet;
use crate::pricing::Price;
use crate::subscription::{Subscription, SubscriptionStatus};
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

/// Who says something of a feature, in order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// The end user's override.
    EndUser(&'a Override),
    /// The variant of this subscription of theirs.
    Variant(SubscriptionId),
    /// The feature itself.
    Feature,
}

impl From<Source<'_>> for PriceSource {
    fn from(source: Source<'_>) -> Self {
        match source {
            Source::EndUser(_) => Self::EndUser,
            Source::Variant(_) => Self::Variant,
            Source::Feature => Self::Feature,
        }
    }
}

/// A price in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetPrice<'a> {
    /// The price.
    pub price: &'a Price,
    /// Who set it.
    pub source: Source<'a>,
    /// From when on the version of the feature's own price is in force.
    pub effective_from: Option<Timestamp>,
}

/// What holds for an end user and a feature at an instant, each part with who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms<'a> {
    /// The price, if there is one.
    pub price: Option<SetPrice<'a>>,
    /// What happens on a shortfall.
    pub overage_policy: (OveragePolicy, Source<'a>),
    /// How far debt may go; `None` = no limit.
    pub overdraft_limit: (Option<Credits>, Source<'a>),
}

/// The end user's override of a feature that holds at `at`.
pub fn override_of<'a, L>(wallet: &'a Wallet<L>, feature_key: &FeatureKey, at: Timestamp) -> Option<&'a Override> {
    let own = wallet.overrides.iter().find(|own| own.feature_key == *feature_key)?;
    own.expires_at.is_none_or(|end| at < end).then_some(own)
}

/// What one subscription says of a feature.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// The subscription.
    pub subscription: &'a Subscription,
    /// What its variant says.
    pub entitlement: &'a Entitlement,
    /// Why it does not give it now; prices and policies hold all the same.
    pub withheld: Option<Withheld>,
    /// Whether its value has joined that of another.
    pub joins: bool,
}

impl Named<'_> {
    /// Whether it gives the feature now.
    pub const fn gives(&self) -> bool {
        self.entitlement.access.enabled && self.withheld.is_none()
    }
}

/// Why a subscription does not give what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Withheld {
    /// It, or its base, is paused.
    Paused,
    /// It is past due, and its variant allows no usage then.
    PastDue,
}

/// What the subscriptions that have begun say of a feature, in order of precedence: add-ons, the latest started first,
/// then the base.
pub fn entitlements<'a, L>(
    wallet: &'a Wallet<L>,
    catalogue: &'a Catalogue,
    feature_key: &FeatureKey,
) -> Vec<Named<'a>> {
    let base_is_paused = wallet.base().is_some_and(|base| base.status == SubscriptionStatus::Paused);
    let named = wallet.running().into_iter().filter_map(|own| {
        let variant = catalogue.variant(own.variant_id, own.variant_version)?;
        let withheld = match own.status {
            SubscriptionStatus::Paused => Some(Withheld::Paused),
            SubscriptionStatus::PastDue if !variant.allow_usage_while_overdue => Some(Withheld::PastDue),
            _ if base_is_paused => Some(Withheld::Paused),
            _ => None,
        };
        let entitlement = variant.entitlements.get(feature_key)?;
        Some(Named { subscription: own, entitlement, withheld, joins: false })
    });
    named.collect()
}

/// What the variants that an end user was or is subscribed to at `at` say of a feature, in order of precedence.
fn said_at<'a, L>(
    wallet: &'a Wallet<L>,
    catalogue: &'a Catalogue,
    feature_key: &FeatureKey,
    at: Timestamp,
) -> Vec<(SubscriptionId, &'a Entitlement)> {
    let said =
        |id, variant_id, version| Some((id, catalogue.variant(variant_id, version)?.entitlements.get(feature_key)?));
    match wallet.past.at(at) {
        Some(then) => then.iter().filter_map(|own| said(own.id, own.variant_id, own.variant_version)).collect(),
        None => {
            let now = wallet.running();
            now.into_iter().filter_map(|own| said(own.id, own.variant_id, own.variant_version)).collect()
        }
    }
}

/// The terms of `feature` for the owner of `wallet`: what was subscribed to at `effective_at` says, the version of the
/// feature's own price that was in force then, and the end user's own terms as they are now.
pub fn terms<'a, L>(
    wallet: &'a Wallet<L>,
    catalogue: &'a Catalogue,
    feature_key: &FeatureKey,
    feature: &'a Feature,
    effective_at: Timestamp,
) -> Terms<'a> {
    let own = override_of(wallet, feature_key, effective_at);
    let given = said_at(wallet, catalogue, feature_key, effective_at);
    let feature_price = || {
        let version = feature.price_version_at(effective_at)?;
        Some(SetPrice { price: &version.price, source: Source::Feature, effective_from: Some(version.effective_from) })
    };
    let set_price = |(price, source)| SetPrice { price, source, effective_from: None };
    let own_or_given = Parts { own, given: &given };
    Terms {
        price: own_or_given
            .first(|own| own.price.as_ref(), |given| given.price.as_ref())
            .map(set_price)
            .or_else(feature_price),
        overage_policy: own_or_given
            .first(|own| own.overage_policy, |given| given.overage_policy)
            .unwrap_or((feature.overage_policy, Source::Feature)),
        overdraft_limit: own_or_given
            .first(|own| own.overdraft_limit, |given| given.overdraft_limit)
            .map_or((feature.overdraft_limit, Source::Feature), |(limit, source)| (Some(limit), source)),
    }
}

/// Those who come before the feature itself.
struct Parts<'a, 'b> {
    own: Option<&'a Override>,
    given: &'b [(SubscriptionId, &'a Entitlement)],
}

impl<'a> Parts<'a, '_> {
    /// The first of them that says something of one part.
    fn first<T>(
        &self,
        of_own: impl Fn(&'a Override) -> Option<T>,
        of_given: impl Fn(&'a Entitlement) -> Option<T>,
    ) -> Option<(T, Source<'a>)> {
        let own = self.own.and_then(|own| Some((of_own(own)?, Source::EndUser(own))));
        own.or_else(|| {
            let said = |(id, entitlement): &(_, &'a Entitlement)| Some((of_given(entitlement)?, Source::Variant(*id)));
            self.given.iter().find_map(said)
        })
    }
}
