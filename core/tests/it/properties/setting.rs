//! The features and plans that random histories are about.

use quotastack_core::catalogue::{
    Access, Catalogue, Entitlement, GrantInterval, GrantTemplate, OveragePolicy, PlanKind, Variant,
};
use quotastack_core::ids::{PlanId, VariantId, uuid_v7};
use quotastack_core::pricing::{Price, PriceModel, PriceVersion, Tier, TierMode, TierWindow, Tiered};
use quotastack_core::time::{Period, PeriodUnit, Timestamp};

use super::tick;
use crate::model::{FEATURES, ModelFeature, Policy, VARIANTS};
use crate::support::{at, catalogue, credits, feature_key, metered, price_from, units};

pub(super) fn variant_id(index: usize) -> VariantId {
    VariantId::from_uuid(uuid_v7(at(0), [u8::try_from(index).unwrap(); 10], None))
}

/// The model's features and variants as the ledger has them.
pub(super) fn property_catalogue() -> Catalogue {
    let mut built = catalogue(FEATURES.map(|known| {
        let policy = match known.policy {
            Policy::Block => OveragePolicy::Block,
            Policy::Cap => OveragePolicy::Cap,
            Policy::Overdraft => OveragePolicy::Overdraft,
            Policy::Notify => OveragePolicy::Notify,
        };
        let mut feature = metered(policy, known.limit);
        let from = |ticks| if ticks == i64::MIN { Timestamp::MIN } else { tick(ticks) };
        feature.prices = known.prices.iter().map(|(ticks, cost, per)| price_from(from(*ticks), *cost, *per)).collect();
        feature.prices.extend(tiered(&known));
        (known.name, feature)
    }));
    for (index, known) in VARIANTS.iter().enumerate() {
        let grants = known.grants.iter().map(|(amount, once, priority, scope)| GrantTemplate {
            priority: *priority,
            feature_keys: scope.iter().map(|key| feature_key(key)).collect(),
            ..GrantTemplate::new(
                credits(*amount),
                if *once { GrantInterval::Once } else { GrantInterval::BillingPeriod },
            )
        });
        let given =
            known.gives.map(|(name, enabled)| (feature_key(name), Entitlement::plain(Access { enabled, value: None })));
        let plan_id = PlanId::from_uuid(uuid_v7(at(0), [9; 10], None));
        let plan_kind = if known.base { PlanKind::Base } else { PlanKind::Addon };
        let billing_period = Period { count: u16::try_from(known.ticks / 4).unwrap(), unit: PeriodUnit::Day };
        let variant = Variant {
            // Prepaid and not renewed: a subscription is over with its first period.
            grace_period_days: 0,
            grants: grants.collect(),
            entitlements: given.into_iter().collect(),
            ..Variant::new(plan_id, plan_kind, billing_period)
        };
        built.variants.insert((variant_id(index), 1), variant);
    }
    built
}

/// The price of a feature with tiers.
fn tiered(known: &ModelFeature) -> Option<PriceVersion> {
    let tiers = known
        .tiers
        .iter()
        .map(|(last, cost)| Tier { up_to: (*last < i64::MAX).then(|| units(*last)), cost: credits(*cost) });
    let tiers: Vec<Tier> = tiers.collect();
    let window = TierWindow::Lifetime;
    let model = PriceModel::Tiered(Tiered { mode: TierMode::Graduated, per_units: units(1), window, tiers });
    let price = Price::plain(model).checked().ok()?;
    Some(PriceVersion { effective_from: Timestamp::MIN, price })
}
