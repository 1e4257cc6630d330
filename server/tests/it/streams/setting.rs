//! The catalogue that random histories are about: the features of the stream, and variants of plans of every kind.

use std::collections::BTreeMap;

use quotastack_core::catalogue::{
    Access, BillingMode, Contract, Entitlement, Feature, GrantInterval, GrantOn, GrantTemplate, OveragePolicy,
    PlanKind, TrialEnd, Variant, VariantPrice,
};
use quotastack_core::credits::{Credits, Units};
use quotastack_core::ids::{CapGroup, FeatureKey, PlanId};
use quotastack_core::pricing::{Price, PriceModel, PriceVersion, Tier, TierMode, TierWindow, Tiered};
use quotastack_core::time::{Period, PeriodUnit, Timestamp};
use uuid::Uuid;

use crate::reference as naive;
use crate::translated::feature_of;

/// How many variants there are.
pub(crate) const VARIANTS: usize = 9;

/// When histories start: in a future in which nothing has happened yet, and where a few days lead into another month.
pub(crate) fn start() -> Timestamp {
    "2100-01-20T00:00:00Z".parse().unwrap()
}

/// The features of a world. The first one's price changes while the histories run.
pub(crate) fn features(asked: &BTreeMap<String, naive::Feature>) -> Vec<(FeatureKey, Feature)> {
    let mut features: Vec<_> = asked.iter().map(|(key, feature)| (self::key(key), feature_of(feature))).collect();
    let effective_from = start().saturating_add_micros(10 * naive::DAY);
    features[0].1.prices.push(PriceVersion { effective_from, price: per_unit(2) });
    features
}

/// The variants, each of a plan of its own.
pub(crate) fn variants() -> [Variant; VARIANTS] {
    let given = |enabled| Entitlement::plain(Access { enabled, value: None });
    let capped = GrantTemplate {
        accumulation_cap: Some(credits(15)),
        cap_group: Some(CapGroup::new("even").unwrap()),
        ..template(9, &["a"])
    };
    let once = GrantTemplate { interval: GrantInterval::Once, settles_debt: false, ..template(7, &["b"]) };
    [
        Variant {
            grants: vec![template(20, &[]), once],
            entitlements: [
                (key("a"), Entitlement { price: Some(tiered(TierWindow::BillingPeriod)), ..given(true) }),
                (key("b"), given(false)),
            ]
            .into(),
            ..variant(PlanKind::Base, 1, PeriodUnit::Month)
        },
        Variant {
            grants: vec![capped],
            entitlements: [(
                key("c"),
                Entitlement {
                    overage_policy: Some(OveragePolicy::Overdraft),
                    overdraft_limit: Some(credits(25)),
                    ..given(true)
                },
            )]
            .into(),
            ..variant(PlanKind::Base, 2, PeriodUnit::Day)
        },
        Variant {
            grants: vec![template(5, &["a", "c"])],
            entitlements: [(key("b"), Entitlement { price: Some(per_unit(3)), ..given(true) })].into(),
            ..variant(PlanKind::Addon, 5, PeriodUnit::Day)
        },
        with_trial(),
        by_intervals(),
        postpaid(),
        strict(),
        Variant { fallback: true, grants: vec![template(4, &[])], ..variant(PlanKind::Base, 1, PeriodUnit::Month) },
        Variant {
            grants: vec![GrantTemplate { rollover_percent: 100, ..template(6, &["b", "c"]) }],
            ..free(variant(PlanKind::Addon, 1, PeriodUnit::Week))
        },
    ]
}

fn with_trial() -> Variant {
    let rolling = GrantTemplate { rollover_percent: 50, rollover_cap: Some(credits(8)), ..template(30, &[]) };
    Variant {
        trial_days: 12,
        grace_period_days: 3,
        grants: vec![rolling, GrantTemplate { on: GrantOn::Trial, ..template(6, &[]) }],
        ..variant(PlanKind::Base, 1, PeriodUnit::Month)
    }
}

fn by_intervals() -> Variant {
    let every = |count, unit, amount| GrantTemplate {
        interval: GrantInterval::Every(Period { count, unit }),
        ..template(amount, &[])
    };
    let weekly = GrantTemplate { rollover_percent: 100, ..every(1, PeriodUnit::Week, 5) };
    let grants = vec![weekly, every(1, PeriodUnit::Day, 3), every(6, PeriodUnit::Hour, 2)];
    let trial =
        Variant { trial_days: 9, trial_end: Some(TrialEnd::Convert), ..variant(PlanKind::Base, 10, PeriodUnit::Day) };
    Variant { grants, ..free(trial) }
}

fn postpaid() -> Variant {
    Variant {
        billing_mode: BillingMode::Postpaid,
        trial_days: 6,
        contract: Some(Contract { notice_days: 30, periods: 2, auto_renew: true }),
        grants: vec![template(12, &[])],
        ..variant(PlanKind::Base, 5, PeriodUnit::Day)
    }
}

/// Where the grace begins, all blocks of the period come to the same end.
fn strict() -> Variant {
    let beyond =
        GrantTemplate { expires_after: Some(Period { count: 12, unit: PeriodUnit::Day }), ..template(11, &[]) };
    Variant {
        renewal_due_days: 5,
        grace_period_days: 2,
        allow_usage_while_overdue: false,
        contract: Some(Contract { notice_days: 30, periods: 2, auto_renew: false }),
        grants: vec![beyond, GrantTemplate { rollover_percent: 100, ..template(13, &[]) }],
        ..variant(PlanKind::Base, 10, PeriodUnit::Day)
    }
}

fn free(variant: Variant) -> Variant {
    Variant { price: Some(VariantPrice { amount: credits(0), currency: "USD".to_owned() }), ..variant }
}

/// Prices by tiers of a window, as an end user's own or a plan's.
pub(crate) fn tiered(window: TierWindow) -> Price {
    let tier = |up_to: Option<i64>, cost| Tier { up_to: up_to.map(units), cost: credits(cost) };
    let tiers = vec![tier(Some(7), 4), tier(Some(15), 2), tier(None, 1)];
    let model = Tiered { mode: TierMode::Graduated, per_units: units(1), window, tiers };
    Price::plain(PriceModel::Tiered(model)).checked().unwrap()
}

pub(crate) fn per_unit(cost: i64) -> Price {
    Price::plain(PriceModel::PerUnit { cost: credits(cost), per_units: units(1) })
}

pub(crate) fn credits(amount: i64) -> Credits {
    Credits::new(amount).unwrap()
}

pub(crate) fn units(count: i64) -> Units {
    Units::new(count).unwrap()
}

pub(crate) fn key(text: &str) -> FeatureKey {
    FeatureKey::new(text).unwrap()
}

fn template(amount: i64, feature_keys: &[&str]) -> GrantTemplate {
    GrantTemplate {
        priority: 2,
        feature_keys: feature_keys.iter().map(|text| key(text)).collect(),
        ..GrantTemplate::new(credits(amount), GrantInterval::BillingPeriod)
    }
}

fn variant(plan_kind: PlanKind, count: u16, unit: PeriodUnit) -> Variant {
    Variant { grace_period_days: 0, ..Variant::new(PlanId::from_uuid(Uuid::nil()), plan_kind, Period { count, unit }) }
}
