//! Why an answer is what it is: `explain` of an answer, out of what the rules that decided it rested on.
//!
//! Only the server has it: blocks have names there. Source: docs/entitlements.md, "Why".

use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::price::PriceJson;
use crate::catalogue::{Catalogue, Merge, OveragePolicy, PlanKind};
use crate::credits::Credits;
use crate::entitlement::decision::Decision;
use crate::entitlement::evaluate::Grounds;
use crate::entitlement::terms::{Named, PriceSource, SetPrice, Source, Withheld};
use crate::ids::{BlockId, FeatureKey, SubscriptionId, VariantId};
use crate::ledger::block::{Block, BlockKind};
use crate::ledger::wallet::Wallet;
use crate::limits::EXPLAINED_BLOCKS_MAX;
use crate::subscription::SubscriptionStatus;
use crate::time::Timestamp;

/// Where each part of an answer comes from.
#[derive(Debug, Serialize)]
pub struct ExplainJson<'a> {
    /// Everybody who names the feature, in order of precedence; the feature itself is the last.
    chain: Vec<StepJson<'a>>,
    price: Option<SetPriceJson>,
    overage_policy: Option<PartJson<OveragePolicy>>,
    overdraft_limit: Option<PartJson<Option<Credits>>>,
    blocks: Vec<PayerJson>,
    more_blocks: bool,
}

#[derive(Debug, Serialize)]
struct StepJson<'a> {
    source: PriceSource,
    subscription_id: Option<SubscriptionId>,
    plan_kind: Option<PlanKind>,
    plan_variant_id: Option<VariantId>,
    variant_version: Option<u32>,
    status: Option<SubscriptionStatus>,
    withheld: Option<Withheld>,
    enabled: Option<bool>,
    value: Option<&'a RawValue>,
    merge: Option<Merge>,
    expires_at: Option<Timestamp>,
    decides_access: bool,
    gives_value: bool,
}

#[derive(Debug, Serialize)]
struct SetPriceJson {
    price: PriceJson,
    source: PriceSource,
    subscription_id: Option<SubscriptionId>,
    effective_from: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct PartJson<T> {
    value: T,
    source: PriceSource,
    subscription_id: Option<SubscriptionId>,
}

#[derive(Debug, Serialize)]
struct PayerJson {
    id: BlockId,
    kind: BlockKind,
    priority: u8,
    available: Credits,
    expires_at: Option<Timestamp>,
}

impl<'a> ExplainJson<'a> {
    /// The explanation of `decision`, which was made of `wallet` and has these grounds; `None` = no such feature.
    pub fn new(
        wallet: &Wallet<Block>,
        catalogue: &'a Catalogue,
        feature_key: &FeatureKey,
        decision: &Decision,
        grounds: Option<&Grounds<'a>>,
    ) -> Self {
        let terms = grounds.and_then(|grounds| grounds.terms);
        let payers = || wallet.payers_now(feature_key).filter(|_| terms.is_some());
        let feature = catalogue.features.get(feature_key);
        let payer = |(block, available): (&Block, Credits)| PayerJson {
            id: block.id,
            kind: block.lot.kind,
            priority: block.lot.priority,
            available,
            expires_at: block.lot.expires_at,
        };
        Self {
            chain: grounds.zip(feature).map_or(Vec::new(), |(grounds, feature)| {
                let value_by = grounds.ruling.value_by.filter(|_| decision.value.is_some());
                let own = grounds.ruling.own.map(|own| StepJson {
                    enabled: own.enabled,
                    value: own.value.as_deref().map(json_text),
                    expires_at: own.expires_at,
                    ..StepJson::of(Source::EndUser(own), grounds, value_by)
                });
                let named = grounds.ruling.named.iter().map(|named| StepJson::of_named(named, grounds, value_by));
                let default = StepJson {
                    enabled: Some(feature.default.enabled),
                    value: feature.default.value.as_deref().map(json_text),
                    ..StepJson::of(Source::Feature, grounds, value_by)
                };
                own.into_iter().chain(named).chain([default]).collect()
            }),
            price: terms.and_then(|terms| terms.price).map(SetPriceJson::new),
            overage_policy: terms.map(|terms| PartJson::new(terms.overage_policy)),
            overdraft_limit: terms.map(|terms| PartJson::new(terms.overdraft_limit)),
            blocks: payers().take(EXPLAINED_BLOCKS_MAX).map(payer).collect(),
            more_blocks: payers().nth(EXPLAINED_BLOCKS_MAX).is_some(),
        }
    }
}

impl<'a> StepJson<'a> {
    /// One that says nothing yet.
    fn of(source: Source<'a>, grounds: &Grounds<'a>, value_by: Option<Source<'a>>) -> Self {
        Self {
            source: source.into(),
            subscription_id: None,
            plan_kind: None,
            plan_variant_id: None,
            variant_version: None,
            status: None,
            withheld: None,
            enabled: None,
            value: None,
            merge: None,
            expires_at: None,
            decides_access: grounds.ruling.decided_by == source,
            gives_value: value_by == Some(source),
        }
    }

    fn of_named(named: &Named<'a>, grounds: &Grounds<'a>, value_by: Option<Source<'a>>) -> Self {
        let (own, access) = (named.subscription, &named.entitlement.access);
        let step = Self::of(Source::Variant(own.id), grounds, value_by);
        Self {
            subscription_id: Some(own.id),
            plan_kind: Some(own.plan_kind),
            plan_variant_id: Some(own.variant_id),
            variant_version: Some(own.variant_version),
            status: Some(own.status),
            withheld: named.withheld,
            enabled: Some(access.enabled),
            value: access.value.as_deref().map(json_text),
            merge: named.entitlement.merge,
            gives_value: step.gives_value || (value_by.is_some() && named.joins),
            ..step
        }
    }
}

impl SetPriceJson {
    fn new(set: SetPrice<'_>) -> Self {
        Self {
            price: PriceJson::of(set.price),
            source: set.source.into(),
            subscription_id: subscription_of(set.source),
            // The first price of a feature holds for all time before it.
            effective_from: set.effective_from.filter(|from| *from > Timestamp::MIN),
        }
    }
}

impl<T> PartJson<T> {
    fn new((value, source): (T, Source<'_>)) -> Self {
        Self { value, source: source.into(), subscription_id: subscription_of(source) }
    }
}

const fn subscription_of(source: Source<'_>) -> Option<SubscriptionId> {
    match source {
        Source::Variant(subscription_id) => Some(subscription_id),
        Source::EndUser(_) | Source::Feature => None,
    }
}

fn json_text(text: &str) -> &RawValue {
    serde_json::from_str(text).expect("values of the catalogue and of overrides are JSON")
}
