//! A [`Ruling`]: whether an end user is given a feature, with which value, and who said so.
//!
//! The first that names the feature decides: the end user's override, their subscriptions (one that gives it wins),
//! the feature's default. Source: docs/entitlements.md, "Evaluation".

use std::borrow::Cow;

use crate::catalogue::{Catalogue, Feature, Merge, PlanKind};
use crate::entitlement::terms::{Named, Override, Source, Withheld, entitlements, override_of};
use crate::ids::FeatureKey;
use crate::ledger::wallet::Wallet;
use crate::time::Timestamp;

/// Whether an end user is given a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Yes.
    On,
    /// Only by a subscription that gives nothing now.
    Withheld(Withheld),
    /// No.
    Off,
}

/// What an end user is given of a feature, with everybody who named it.
#[derive(Debug, Clone)]
pub struct Ruling<'a> {
    /// What was decided.
    pub access: Access,
    /// Who decided it.
    pub decided_by: Source<'a>,
    /// JSON text; only where access is on.
    pub value: Option<Cow<'a, str>>,
    /// Who gave the value; others may have joined it ([`Named::joins`]).
    pub value_by: Option<Source<'a>>,
    /// The end user's override.
    pub own: Option<&'a Override>,
    /// What subscriptions say: the base, then add-ons, the latest started first.
    pub named: Vec<Named<'a>>,
}

/// Rules on `feature` for the owner of `wallet` at `now`.
pub fn rule<'a, L>(
    wallet: &'a Wallet<L>,
    catalogue: &'a Catalogue,
    feature_key: &FeatureKey,
    feature: &'a Feature,
    now: Timestamp,
) -> Ruling<'a> {
    let own = override_of(wallet, feature_key, now);
    let mut named = entitlements(wallet, catalogue, feature_key);
    named.sort_by_key(|named| named.subscription.plan_kind != PlanKind::Base);
    let (access, decided_by) = decided(own, &named, feature);
    let given = if access == Access::On { value(own, &mut named, feature) } else { None };
    let (value, value_by) = given.unzip();
    Ruling { access, decided_by, value, value_by, own, named }
}

fn decided<'a>(own: Option<&'a Override>, named: &[Named<'a>], feature: &Feature) -> (Access, Source<'a>) {
    let on_or_off = |enabled| if enabled { Access::On } else { Access::Off };
    if let Some((own, enabled)) = own.and_then(|own| Some((own, own.enabled?))) {
        return (on_or_off(enabled), Source::EndUser(own));
    }
    let Some(first) = named.first() else {
        return (on_or_off(feature.default.enabled), Source::Feature);
    };
    let enabled = || named.iter().filter(|named| named.entitlement.access.enabled);
    if let Some(giving) = enabled().find(|named| named.gives()) {
        return (Access::On, Source::Variant(giving.subscription.id));
    }
    let withheld = enabled().find_map(|named| Some((Access::Withheld(named.withheld?), named.subscription)));
    let (access, subscription) = withheld.unwrap_or((Access::Off, first.subscription));
    (access, Source::Variant(subscription.id))
}

/// The override's value, else what subscriptions give, else the feature's own where none of them gives the feature.
fn value<'a>(
    own: Option<&'a Override>,
    named: &mut [Named<'a>],
    feature: &'a Feature,
) -> Option<(Cow<'a, str>, Source<'a>)> {
    if let Some((own, value)) = own.and_then(|own| Some((own, own.value.as_deref()?))) {
        return Some((Cow::Borrowed(value), Source::EndUser(own)));
    }
    if named.iter().any(Named::gives) {
        return merged(named);
    }
    Some((Cow::Borrowed(feature.default.value.as_deref()?), Source::Feature))
}

/// The value that subscriptions give: the base's, else the first add-on's; other add-ons join it where they say so: first
/// all that add to it, then the greatest, so that their order makes no difference.
fn merged<'a>(named: &mut [Named<'a>]) -> Option<(Cow<'a, str>, Source<'a>)> {
    let mut giving = named.iter_mut().filter(|named| named.gives());
    let first = giving.next()?;
    let mut value = Cow::Borrowed(first.entitlement.access.value.as_deref()?);
    let mut others: Vec<_> = giving.collect();
    others.sort_by_key(|other| other.entitlement.merge == Some(Merge::Max));
    for other in others {
        let joins = other.entitlement.merge.zip(other.entitlement.access.value.as_deref());
        let numbers = |text: &str| Some((value.parse::<i64>().ok()?, text.parse::<i64>().ok()?));
        if let Some((merge, (one, added))) = joins.and_then(|(merge, text)| Some((merge, numbers(text)?))) {
            let joined = match merge {
                Merge::Sum => one.saturating_add(added),
                Merge::Max => one.max(added),
            };
            value = Cow::Owned(joined.to_string());
            other.joins = true;
        }
    }
    Some((value, Source::Variant(first.subscription.id)))
}
