//! Random catalogues and accounts: everybody who can say something of a feature says something of it, or nothing.

use proptest::prelude::*;
use quotastack_core::catalogue::{
    Access, Catalogue, Entitlement, Feature, FeatureKind, Merge, OveragePolicy, PlanKind, Variant,
};
use quotastack_core::entitlement::terms::Override;
use quotastack_core::ids::{PlanId, SubscriptionId, VariantId, uuid_v7};
use quotastack_core::ledger::command::{Command, Grant};
use quotastack_core::pricing::{Price, PriceModel};
use quotastack_core::subscription::state::{Overdue, Paused, Target};
use quotastack_core::subscription::{Subscription, SubscriptionStatus};
use quotastack_core::time::{Period, PeriodUnit, Timestamp};

use crate::support::{Story, at, catalogue, credits, feature_key, grant, metered, price_from, units, usage};

/// When everything is asked, in seconds; accounts are written at 0.
pub(super) const NOW: i64 = 10;
pub(super) const FEATURES: [(&str, FeatureKind); 3] =
    [("m", FeatureKind::Metered), ("b", FeatureKind::Boolean), ("c", FeatureKind::Config)];
const STATUSES: [SubscriptionStatus; 4] =
    [SubscriptionStatus::Active, SubscriptionStatus::Trialing, SubscriptionStatus::PastDue, SubscriptionStatus::Paused];

/// What somebody says of each of the three features; not all of it is for every kind.
#[derive(Debug, Clone)]
struct Said {
    enabled: Option<bool>,
    value: Option<&'static str>,
    cost: Option<i64>,
    policy: Option<OveragePolicy>,
    limit: Option<i64>,
    merge: Option<Merge>,
    /// Of an override, in seconds.
    expires: Option<i64>,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    defaults: [(bool, Option<&'static str>); 3],
    feature_policy: OveragePolicy,
    prices: Vec<i64>,
    /// A base and three add-ons: whether it may be used while overdue, and what it says.
    variants: [(bool, [Option<Said>; 3]); 4],
    /// Who is subscribed to them, since when.
    subscriptions: [Option<(SubscriptionStatus, i64)>; 4],
    overrides: [Option<Said>; 3],
    /// Amount, priority, whether only for `m`, end in seconds.
    grants: Vec<(i64, u8, bool, Option<i64>)>,
    used: i64,
    /// Units that are asked for.
    pub(super) asked: i64,
}

fn policy() -> impl Strategy<Value = OveragePolicy> {
    use OveragePolicy::{Block, Cap, Notify, Overdraft};
    prop_oneof![Just(Block), Just(Cap), Just(Overdraft), Just(Notify)]
}

fn value() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![Just(None), Just(Some("5")), Just(Some("9")), Just(Some("\"wide\""))]
}

fn said() -> impl Strategy<Value = Option<Said>> {
    let merge = prop_oneof![Just(None), Just(Some(Merge::Sum)), Just(Some(Merge::Max))];
    let expires = prop_oneof![Just(None), Just(Some(NOW - 5)), Just(Some(NOW)), Just(Some(NOW + 5))];
    let parts = (
        prop::option::of(any::<bool>()),
        value(),
        prop::option::of(0i64..9),
        prop::option::of(policy()),
        prop::option::of(0i64..50),
        merge,
        expires,
    );
    prop::option::of(parts.prop_map(|(enabled, value, cost, policy, limit, merge, expires)| Said {
        enabled,
        value,
        cost,
        policy,
        limit,
        merge,
        expires,
    }))
}

fn three<S: Strategy + Clone>(of: &S) -> [S; 3] {
    [of.clone(), of.clone(), of.clone()]
}

fn four<S: Strategy + Clone>(of: &S) -> [S; 4] {
    [of.clone(), of.clone(), of.clone(), of.clone()]
}

pub(super) fn world() -> impl Strategy<Value = World> {
    let default = (any::<bool>(), value()).boxed();
    let said = said().boxed();
    let variant = (any::<bool>(), three(&said)).boxed();
    let subscription = prop::option::of((prop::sample::select(&STATUSES[..]), 0i64..NOW)).boxed();
    let grant = (1i64..40, 90u8..110, any::<bool>(), prop::option::of(prop_oneof![Just(NOW - 5), Just(NOW + 5)]));
    let account = (prop::collection::vec(grant, 0..5), 0i64..60, 0i64..60);
    (
        three(&default),
        policy(),
        prop::collection::vec(1i64..9, 0..3),
        four(&variant),
        four(&subscription),
        three(&said),
        account,
    )
        .prop_map(
            |(defaults, feature_policy, prices, variants, subscriptions, overrides, (grants, used, asked))| World {
                defaults,
                feature_policy,
                prices,
                variants,
                subscriptions,
                overrides,
                grants,
                used,
                asked,
            },
        )
}

fn per_unit(cost: i64) -> Price {
    Price::plain(PriceModel::PerUnit { cost: credits(cost), per_units: units(1) })
}

fn text(kind: FeatureKind, value: Option<&str>) -> Option<String> {
    value.filter(|_| kind == FeatureKind::Config).map(str::to_owned)
}

fn variant_id(place: usize) -> VariantId {
    VariantId::from_uuid(uuid_v7(at(0), [u8::try_from(place).unwrap(); 10], None))
}

impl Said {
    fn entitlement(&self, kind: FeatureKind) -> Entitlement {
        let metered = kind == FeatureKind::Metered;
        Entitlement {
            access: Access { enabled: self.enabled.unwrap_or(true), value: text(kind, self.value) },
            price: self.cost.filter(|_| metered).map(per_unit),
            overage_policy: self.policy,
            overdraft_limit: self.limit.map(credits),
            merge: self.merge,
        }
    }

    fn terms(&self, name: &str, kind: FeatureKind) -> Override {
        Override {
            feature_key: feature_key(name),
            enabled: self.enabled,
            value: text(kind, self.value),
            price: self.cost.filter(|_| kind == FeatureKind::Metered).map(per_unit),
            overage_policy: self.policy,
            overdraft_limit: self.limit.map(credits),
            expires_at: self.expires.map(at),
        }
    }
}

impl World {
    fn catalogue(&self) -> Catalogue {
        let feature = |place: usize| {
            let (kind, (enabled, value)) = (FEATURES[place].1, self.defaults[place]);
            // The second price is in force from a little before now on.
            let prices = self.prices.iter().zip([Timestamp::MIN, at(NOW - 1)]);
            let default = Access { enabled, value: text(kind, value) };
            let prices = prices.map(|(cost, from)| price_from(from, *cost, 1)).collect();
            Feature { kind, default, prices, ..metered(self.feature_policy, Some(20)) }
        };
        let mut catalogue = catalogue([("m", feature(0)), ("b", feature(1)), ("c", feature(2))]);
        for (place, (lenient, said)) in self.variants.iter().enumerate() {
            let plan_id = PlanId::from_uuid(variant_id(place).uuid());
            let kind = if place == 0 { PlanKind::Base } else { PlanKind::Addon };
            let mut variant = Variant::new(plan_id, kind, Period { count: 1, unit: PeriodUnit::Year });
            variant.allow_usage_while_overdue = *lenient;
            for ((name, kind), said) in FEATURES.iter().zip(said) {
                variant.entitlements.extend(said.as_ref().map(|said| (feature_key(name), said.entitlement(*kind))));
            }
            catalogue.add_variant(variant_id(place), variant);
        }
        catalogue
    }

    fn subscription(&self, place: usize, catalogue: &Catalogue) -> Option<Subscription> {
        let (status, since) = self.subscriptions[place]?;
        let target = Target { variant_id: variant_id(place), variant_version: 1, quantity: 1 };
        let id = SubscriptionId::from_uuid(variant_id(place).uuid());
        let variant = catalogue.variant(target.variant_id, 1).unwrap();
        let mut own = Subscription::scheduled(id, target, variant, at(since), at(0));
        own.status = status;
        own.trial_end = Some(at(86_400)).filter(|_| status == SubscriptionStatus::Trialing);
        own.overdue = Some(Overdue { is_unrenewed: false, grace_ends: at(86_400) });
        own.paused = Some(Paused { since: at(since), resume_at: None, with_base: false });
        Some(own)
    }

    pub(super) fn story(&self) -> Story {
        let mut story = Story::new(self.catalogue());
        for (amount, priority, scoped, expires) in &self.grants {
            let feature_keys = if *scoped { vec![feature_key("m")] } else { Vec::new() };
            let expires_at = expires.map(at);
            let given = Grant { priority: *priority, feature_keys, expires_at, ..grant(*amount) };
            story.apply(at(0), Command::Grant(given)).unwrap();
        }
        let _refused = story.apply(at(0), usage("u", "m", self.used));
        let wallet = &mut story.account.wallet;
        wallet.subscriptions = (0..4).filter_map(|place| self.subscription(place, &story.catalogue)).collect();
        let own = FEATURES.iter().zip(&self.overrides);
        wallet.overrides = own.filter_map(|((name, kind), said)| Some(said.as_ref()?.terms(name, *kind))).collect();
        story
    }
}
