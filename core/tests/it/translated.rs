//! What the reference model says, in the words of the ledger. Read by the tests of the core and by those of the server.

use quotastack_core::catalogue::{Access, Enforcement, Feature, FeatureKind, OfflinePolicy, OveragePolicy};
use quotastack_core::credits::{Credits, Units};
use quotastack_core::ids::{CapGroup, FeatureKey};
use quotastack_core::ledger::block::BlockKind;
use quotastack_core::ledger::command::{Grant, OnInsufficient, OverCommit};
use quotastack_core::pricing::{Price, PriceModel, PriceRule, PriceVersion, Tier, TierMode, TierWindow, Tiered};
use quotastack_core::time::Timestamp;

use crate::reference as naive;

fn credits(amount: i64) -> Credits {
    Credits::new(amount).unwrap()
}

fn units(count: i64) -> Units {
    Units::new(count).unwrap()
}

pub(crate) fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

/// A metered feature, on for everybody, with this price since ever.
pub(crate) fn feature_of(feature: &naive::Feature) -> Feature {
    let rule = |rule: &naive::Rule| PriceRule { matches: rule.matches.clone(), model: model_of(&rule.price) };
    let price =
        Price { model: model_of(feature.price.as_ref().unwrap()), rules: feature.rules.iter().map(rule).collect() };
    Feature {
        kind: FeatureKind::Metered,
        default: Access { enabled: true, value: None },
        prices: vec![PriceVersion { effective_from: Timestamp::MIN, price: price.checked().unwrap() }],
        overage_policy: match feature.policy {
            naive::Policy::Block => OveragePolicy::Block,
            naive::Policy::Cap => OveragePolicy::Cap,
            naive::Policy::Overdraft => OveragePolicy::Overdraft,
            naive::Policy::Notify => OveragePolicy::Notify,
        },
        overdraft_limit: feature.overdraft_limit.map(credits),
        enforcement: Enforcement::Advisory,
        offline: OfflinePolicy::AllowUntilStale,
        summary_properties: Vec::new(),
    }
}

pub(crate) fn grant_of(asked: &naive::Grant) -> Grant {
    Grant {
        kind: kind_of(asked.kind),
        amount: credits(asked.amount),
        priority: asked.priority,
        effective_at: asked.effective_at.map(at),
        expires_at: asked.expires_at.map(at),
        paid: asked.paid,
        settles_debt: asked.settles_debt,
        feature_keys: asked.scope.iter().map(|key| FeatureKey::new(key).unwrap()).collect(),
        cap_group: asked.cap_group.as_deref().map(|group| CapGroup::new(group).unwrap()),
        accumulation_cap: asked.accumulation_cap.map(credits),
    }
}

const fn kind_of(kind: naive::BlockKind) -> BlockKind {
    match kind {
        naive::BlockKind::Plan => BlockKind::Plan,
        naive::BlockKind::Topup => BlockKind::Topup,
        naive::BlockKind::Promo => BlockKind::Promo,
        naive::BlockKind::Adjustment => BlockKind::Adjustment,
    }
}

pub(crate) const fn asked_for(policy: naive::Policy) -> OnInsufficient {
    match policy {
        naive::Policy::Block => OnInsufficient::Block,
        naive::Policy::Cap => OnInsufficient::Cap,
        naive::Policy::Overdraft => OnInsufficient::Overdraft,
        naive::Policy::Notify => OnInsufficient::Notify,
    }
}

pub(crate) const fn over_commit_of(over_commit: naive::OverCommit) -> OverCommit {
    match over_commit {
        naive::OverCommit::Draw => OverCommit::Draw,
        naive::OverCommit::Cap => OverCommit::Cap,
        naive::OverCommit::Reject => OverCommit::Reject,
    }
}

fn model_of(price: &naive::Price) -> PriceModel {
    let tiered = |mode, tiers: &[naive::Tier], per_units, window| {
        let tier = |tier: &naive::Tier| Tier { up_to: tier.up_to.map(units), cost: credits(tier.cost) };
        let window = match window {
            naive::Window::Event => TierWindow::Event,
            naive::Window::CalendarMonth => TierWindow::CalendarMonth,
            naive::Window::Lifetime => TierWindow::Lifetime,
        };
        let tiers = tiers.iter().map(tier).collect();
        PriceModel::Tiered(Tiered { mode, per_units: units(per_units), window, tiers })
    };
    match price {
        naive::Price::PerUnit { cost, per_units } => {
            PriceModel::PerUnit { cost: credits(*cost), per_units: units(*per_units) }
        }
        naive::Price::Flat { cost } => PriceModel::Flat { cost: credits(*cost) },
        naive::Price::Package { size, cost } => PriceModel::Package { cost: credits(*cost), size: units(*size) },
        naive::Price::Graduated { tiers, per_units, window } => tiered(TierMode::Graduated, tiers, *per_units, *window),
        naive::Price::Volume { tiers, per_units, window } => tiered(TierMode::Volume, tiers, *per_units, *window),
    }
}
