//! Random catalogues: features of every kind and policy, five base variants and an add-on.

use std::collections::BTreeMap;

use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use quotastack_core::catalogue::{
    Access, BillingMode, Catalogue, Clock, Contract, Entitlement, Feature, FeatureKind, GrantInterval, GrantOn,
    GrantTemplate, Merge, OveragePolicy, TrialEnd, Variant, VariantPrice,
};
use quotastack_core::ids::{CapGroup, FeatureKey};
use quotastack_core::pricing::{Price, PriceModel, PriceVersion, Tier, TierMode, TierWindow, Tiered};
use quotastack_core::time::{Period, PeriodUnit, Timestamp};

use crate::plans::random::VARIANTS;
use crate::plans::{DAYS_30, MONTH, addon, base, day, variant_id};
use crate::support::{credits, feature_key, metered, units};

/// What is used in the histories, by name. Who pays by tiers: `tiered`.
pub(super) const METERED: &[&str] = &["f", "endless", "limited", "capped", "tiered"];
/// What is asked about: also what costs nothing, what has no price, and what nobody knows.
pub(super) const ASKED: &[&str] =
    &["f", "f", "endless", "limited", "capped", "tiered", "tiered", "flag", "limit", "unpriced", "ghost"];

const fn days(count: u16) -> Period {
    Period { count, unit: PeriodUnit::Day }
}

fn price() -> impl Strategy<Value = Price> {
    let windows = [TierWindow::Event, TierWindow::BillingPeriod, TierWindow::CalendarMonth, TierWindow::Lifetime];
    let tiered = (any::<bool>(), select(windows.to_vec()), 1i64..200, 0i64..9, 0i64..9).prop_map(
        |(volume, window, up_to, first, rest)| {
            PriceModel::Tiered(Tiered {
                mode: if volume { TierMode::Volume } else { TierMode::Graduated },
                per_units: units(2),
                window,
                tiers: vec![
                    Tier { up_to: Some(units(up_to)), cost: credits(first) },
                    Tier { up_to: None, cost: credits(rest) },
                ],
            })
        },
    );
    let model = prop_oneof![
        3 => (0i64..5, 1i64..4).prop_map(|(cost, per)| PriceModel::PerUnit { cost: credits(cost), per_units: units(per) }),
        1 => (0i64..50).prop_map(|cost| PriceModel::Flat { cost: credits(cost) }),
        1 => (1i64..20, 1i64..20).prop_map(|(cost, size)| PriceModel::Package { cost: credits(cost), size: units(size) }),
        2 => tiered,
    ];
    model.prop_map(Price::plain)
}

fn policy() -> impl Strategy<Value = OveragePolicy> {
    select(vec![OveragePolicy::Block, OveragePolicy::Cap, OveragePolicy::Overdraft, OveragePolicy::Notify])
}

fn entitlement() -> impl Strategy<Value = Entitlement> {
    (
        prop::bool::weighted(0.8),
        select(vec!["1", "10", "\"large\""]),
        weighted(0.3, price()),
        weighted(0.3, policy()),
        weighted(0.3, 0i64..300),
        weighted(0.5, select(vec![Merge::Sum, Merge::Max])),
    )
        .prop_map(|(enabled, value, price, overage_policy, limit, merge)| Entitlement {
            access: Access { enabled, value: Some(value.to_owned()) },
            price,
            overage_policy,
            overdraft_limit: limit.map(credits),
            merge,
        })
}

fn entitlements() -> impl Strategy<Value = BTreeMap<FeatureKey, Entitlement>> {
    let named = prop::collection::vec((select(ASKED), entitlement()), 0..7);
    named.prop_map(|named| {
        let of_config = |key: &str| key == "limit";
        let own = named.into_iter().filter(|(key, _)| *key != "ghost").map(|(key, mut own)| {
            own.access.value = own.access.value.filter(|_| of_config(key));
            (feature_key(key), own)
        });
        own.collect()
    })
}

fn grant() -> impl Strategy<Value = GrantTemplate> {
    let every = |count, unit| GrantInterval::Every(Period { count, unit });
    let intervals = vec![
        GrantInterval::BillingPeriod,
        GrantInterval::BillingPeriod,
        GrantInterval::Once,
        every(6, PeriodUnit::Hour),
        every(1, PeriodUnit::Day),
        every(1, PeriodUnit::Week),
    ];
    let how_much = (1i64..600, select(vec![50u8, 100, 100, 100]), any::<bool>(), prop::bool::weighted(0.9));
    let how_long = (
        select(intervals),
        prop::bool::weighted(0.2),
        weighted(0.3, select(vec![days(5), days(33), days(40)])),
        select(vec![0u8, 0, 50, 100]),
        weighted(0.3, 1i64..300),
    );
    let caps = (weighted(0.2, 1i64..900), weighted(0.2, select(vec!["a", "b"])));
    (how_much, how_long, caps).prop_map(
        |((amount, priority, scoped, settles_debt), (interval, trial, expires_after, percent, cap), (most, group))| {
            GrantTemplate {
                on: if trial { GrantOn::Trial } else { GrantOn::Period },
                priority,
                expires_after,
                rollover_percent: if interval == GrantInterval::Once { 0 } else { percent },
                rollover_cap: cap.map(credits),
                feature_keys: if scoped { vec![feature_key("endless"), feature_key("f")] } else { Vec::new() },
                accumulation_cap: most.map(credits),
                cap_group: group.map(|name| CapGroup::new(name).unwrap()),
                settles_debt,
                ..GrantTemplate::new(credits(amount), interval)
            }
        },
    )
}

fn variant(number: u8) -> impl Strategy<Value = Variant> {
    let paid = (prop::bool::weighted(0.3), weighted(0.3, select(vec![0i64, 10])), any::<bool>());
    let trial = (select(vec![0u16, 0, 3, 7]), weighted(0.5, select(vec![TrialEnd::Convert, TrialEnd::Expire])));
    let due = (1u16..6, select(vec![0u16, 3, 3, 5]), any::<bool>());
    let length = select(vec![days(7), days(10), DAYS_30, DAYS_30, MONTH]);
    let contract = weighted(0.2, (1u32..4, any::<bool>()));
    let gives = (prop::collection::vec(grant(), 1..4), entitlements());
    (paid, trial, due, length, contract, gives).prop_map(
        move |(
            (postpaid, price, carry_debt),
            (trial_days, trial_end),
            due,
            length,
            contract,
            (grants, entitlements),
        )| {
            let plan = if number == VARIANTS { addon(number, length, 1) } else { base(number, length, 1) };
            Variant {
                billing_mode: if postpaid { BillingMode::Postpaid } else { BillingMode::Prepaid },
                price: price.map(|amount| VariantPrice { amount: credits(amount), currency: "USD".to_owned() }),
                carry_debt,
                trial_days,
                trial_end,
                renewal_due_days: due.0,
                grace_period_days: due.1,
                allow_usage_while_overdue: due.2,
                contract: contract.map(|(periods, auto_renew)| Contract { periods, auto_renew, notice_days: 30 }),
                grants,
                entitlements,
                ..plan
            }
        },
    )
}

fn feature(kind: FeatureKind, default: Access, prices: Vec<PriceVersion>) -> Feature {
    Feature { kind, default, prices, ..metered(OveragePolicy::Block, None) }
}

fn features() -> impl Strategy<Value = BTreeMap<FeatureKey, Feature>> {
    let prices = (price(), price(), 1i64..90).prop_map(|(first, next, from)| {
        [(Timestamp::MIN, first), (day(from), next)]
            .map(|(effective_from, price)| PriceVersion { effective_from, price })
    });
    let metered = prop::collection::vec((prices, policy()), METERED.len());
    (metered, any::<[bool; 3]>(), 0i64..500).prop_map(|(metered, [flag, limit, given], overdraft)| {
        let mut features: BTreeMap<FeatureKey, Feature> = BTreeMap::new();
        for (key, (prices, policy)) in METERED.iter().zip(metered) {
            let default = Access { enabled: given || *key != "capped", value: None };
            let overage_policy = match *key {
                "endless" => OveragePolicy::Overdraft,
                "limited" => OveragePolicy::Notify,
                "capped" => OveragePolicy::Cap,
                _ => policy,
            };
            let overdraft_limit = (*key != "endless").then(|| credits(overdraft));
            let metered = feature(FeatureKind::Metered, default, prices.to_vec());
            features.insert(feature_key(key), Feature { overage_policy, overdraft_limit, ..metered });
        }
        let flag = Access { enabled: flag, value: None };
        features.insert(feature_key("flag"), feature(FeatureKind::Boolean, flag, Vec::new()));
        let limit = Access { enabled: limit, value: Some("3".to_owned()) };
        features.insert(feature_key("limit"), feature(FeatureKind::Config, limit, Vec::new()));
        let unpriced = Access { enabled: true, value: None };
        features.insert(feature_key("unpriced"), feature(FeatureKind::Metered, unpriced, Vec::new()));
        features
    })
}

/// A catalogue at some version, with a fallback or without.
pub(super) fn catalogue() -> impl Strategy<Value = Catalogue> {
    let variants: Vec<_> = (1..=VARIANTS).map(variant).collect();
    let clock = prop_oneof![3 => Just(Clock::Real), 1 => (0i64..1 << 50).prop_map(Clock::Ahead)];
    (features(), variants, any::<bool>(), 1u64..1_000, clock).prop_map(
        |(features, variants, falls_back, version, clock)| {
            let mut catalogue = Catalogue { version, features, clock, ..Catalogue::default() };
            for (number, variant) in (1..).zip(variants) {
                let fallback = falls_back && number == 1;
                catalogue.add_variant(variant_id(number), Variant { fallback, ..variant });
            }
            catalogue
        },
    )
}
