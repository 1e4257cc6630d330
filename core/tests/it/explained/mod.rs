//! Why an answer is what it is: for random catalogues and accounts (`world`), the explanation alone comes to the decision
//! that a reader of the published state makes. And the override that is over, which decides nothing. Source:
//! docs/entitlements.md, "Why".

mod world;

use std::collections::BTreeMap;

use proptest::prelude::*;
use quotastack_core::api::explain::ExplainJson;
use quotastack_core::catalogue::{Access, Entitlement, Feature, FeatureKind, OveragePolicy};
use quotastack_core::entitlement::decision::{Decision, Reason};
use quotastack_core::entitlement::evaluate::{CheckRequest, decide, evaluate};
use quotastack_core::entitlement::terms::Override;
use quotastack_core::ids::SubscriptionId;
use quotastack_core::ledger::advance::read_at;
use quotastack_core::ledger::block::Block;
use quotastack_core::ledger::command::Command;
use quotastack_core::ledger::quote::quote;
use quotastack_core::ledger::wallet::Wallet;
use quotastack_core::state::AccountState;
use serde_json::{Value, json};

use self::world::{FEATURES, NOW, world};
use crate::support::{Story, at, catalogue, feature_key, grant, metered, units};

/// The decision over blocks, with its explanation.
fn explained(story: &Story, name: &str, count: i64) -> (Decision, Value, Wallet<Block>) {
    let (catalogue, key) = (&story.catalogue, feature_key(name));
    let mut wallet = story.account.wallet.clone();
    read_at(&mut wallet, catalogue, at(NOW));
    let asked = CheckRequest { feature_key: &key, units: units(count), properties: &BTreeMap::new() };
    let (decision, grounds) = decide(&wallet, story.account.version, catalogue, asked, at(NOW));
    let explain = ExplainJson::new(&wallet, catalogue, &key, &decision, grounds.as_ref());
    let explain = serde_json::to_value(explain).unwrap();
    (decision, explain, wallet)
}

fn published(story: &Story, name: &str, count: i64) -> Decision {
    let state = AccountState::publish(&story.account, 1, &story.catalogue);
    let asked = CheckRequest { feature_key: &feature_key(name), units: units(count), properties: &BTreeMap::new() };
    evaluate(&state, &story.catalogue, asked, at(NOW))
}

/// What the chain alone says of access: the reason of a denial, `None` = on. Written from the page, not from the rules.
fn access_of(chain: &[Value]) -> Result<Option<&'static str>, TestCaseError> {
    let deciding: Vec<&Value> = chain.iter().filter(|step| step["decides_access"] == true).collect();
    prop_assert_eq!(deciding.len(), 1, "{:?}", chain);
    let by = deciding[0];
    let subscriptions = || chain.iter().filter(|step| step["source"] == "variant");
    let gives = |step: &Value| step["enabled"] == true && step["withheld"].is_null();
    let own = chain.iter().find(|step| step["source"] == "end_user" && !step["enabled"].is_null());
    let expected = own
        .or_else(|| subscriptions().find(|step| gives(step)))
        .or_else(|| subscriptions().find(|step| step["enabled"] == true))
        .or_else(|| subscriptions().next())
        .or_else(|| chain.last());
    prop_assert_eq!(Some(by), expected);
    Ok(match by["withheld"].as_str() {
        _ if by["enabled"] == false => Some("off"),
        Some("paused") => Some("subscription_paused"),
        Some(_) => Some("subscription_past_due"),
        None => None,
    })
}

/// The value that the steps make which are said to give it: the first one's, with all that add to it, then the greatest.
fn value_of(chain: &[Value]) -> Value {
    let mut giving = chain.iter().filter(|step| step["gives_value"] == true);
    let Some(first) = giving.next() else { return Value::Null };
    let joining: Vec<(&str, i64)> =
        giving.map(|step| (step["merge"].as_str().unwrap(), step["value"].as_i64().unwrap())).collect();
    if joining.is_empty() {
        return first["value"].clone();
    }
    let of = |merge: &'static str| joining.iter().filter(move |(how, _)| *how == merge).map(|(_, value)| *value);
    let sum = first["value"].as_i64().unwrap() + of("sum").sum::<i64>();
    json!(of("max").fold(sum, i64::max))
}

/// What the one who is named as the source of a part says of it.
fn part_of<'a>(story: &'a Story, name: &str, part: &Value) -> Option<(&'a Entitlement, SubscriptionId)> {
    let id: SubscriptionId = part["subscription_id"].as_str()?.parse().unwrap();
    let own = story.account.wallet.subscription(id).unwrap();
    let variant = story.catalogue.variant(own.variant_id, own.variant_version).unwrap();
    Some((&variant.entitlements[&feature_key(name)], id))
}

proptest! {
    #[test]
    fn the_explanation_comes_to_the_decision(world in world()) {
        let story = world.story();
        for (name, kind) in FEATURES {
            let (decision, explain, wallet) = explained(&story, name, world.asked);
            prop_assert_eq!(&decision, &published(&story, name, world.asked));
            let chain = explain["chain"].as_array().unwrap();
            let reason = serde_json::to_value(decision.reason).unwrap();
            let denied = access_of(chain)?;
            match denied {
                Some("off") => {
                    let expected = [Reason::NoSubscription, Reason::FeatureNotInPlan];
                    prop_assert!(expected.contains(&decision.reason), "{:?}", explain);
                }
                Some(withheld) => prop_assert_eq!(&reason, withheld),
                None => {
                    let denials = ["no_subscription", "feature_not_in_plan", "subscription_paused", "subscription_past_due"];
                    prop_assert!(denials.iter().all(|denial| reason != *denial), "{:?}", explain);
                }
            }
            let value = decision.value.as_deref().map_or(Value::Null, |text| serde_json::from_str(text).unwrap());
            prop_assert_eq!(value_of(chain), value);
            let over = [json!(at(NOW - 5)), json!(at(NOW))];
            prop_assert!(chain.iter().all(|step| !over.contains(&step["expires_at"])));
            if kind == FeatureKind::Metered {
                terms_are_explained(&story, name, &decision, &explain)?;
                payers_are_explained(&wallet, name, &explain)?;
            } else {
                for part in ["price", "overage_policy", "overdraft_limit"] {
                    prop_assert!(explain[part].is_null());
                }
                prop_assert_eq!(&explain["blocks"], &json!([]));
            }
        }
    }
}

fn terms_are_explained(story: &Story, name: &str, decision: &Decision, explain: &Value) -> Result<(), TestCaseError> {
    let key = feature_key(name);
    let own = story.account.wallet.overrides.iter().find(|own| own.feature_key == key);
    let feature = &story.catalogue.features[&key];
    let policy = &explain["overage_policy"];
    prop_assert_eq!(&policy["value"], &json!(decision.overage_policy));
    let limit = &explain["overdraft_limit"];
    for (part, of_own, of_feature) in [
        (policy, own.map(|own| json!(own.overage_policy)), json!(feature.overage_policy)),
        (limit, own.map(|own| json!(own.overdraft_limit)), json!(feature.overdraft_limit)),
    ] {
        let said = match (part["source"].as_str().unwrap(), part_of(story, name, part)) {
            ("variant", Some((given, _))) if part == policy => json!(given.overage_policy),
            ("variant", Some((given, _))) => json!(given.overdraft_limit),
            ("end_user", None) => of_own.unwrap(),
            ("feature", None) => of_feature,
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(&part["value"], &said);
    }
    let quoted = quote(&story.account.wallet, &story.catalogue, &key, &BTreeMap::new(), at(NOW));
    let price = &explain["price"];
    let Ok(quoted) = quoted else {
        prop_assert!(price.is_null());
        return Ok(());
    };
    prop_assert_eq!(&price["source"], &json!(quoted.priced_by.source));
    prop_assert_eq!(json!(quoted.overage_policy), policy["value"].clone());
    prop_assert_eq!(json!(quoted.overdraft_limit), limit["value"].clone());
    if let Some(cost) = decision.estimated_cost {
        prop_assert_eq!(price["price"]["cost"].as_i64().unwrap() * decision.units.get(), cost.get());
    }
    let set = match (price["source"].as_str().unwrap(), part_of(story, name, price)) {
        ("variant", Some((given, _))) => given.price.as_ref(),
        ("end_user", None) => own.unwrap().price.as_ref(),
        ("feature", None) => feature.price_at(at(NOW)),
        other => panic!("{other:?}"),
    };
    prop_assert_eq!(&set.unwrap().model, &quoted.model);
    let second = price["source"] == "feature" && feature.prices.len() == 2;
    prop_assert_eq!(&price["effective_from"], &if second { json!(at(NOW - 1)) } else { Value::Null });
    Ok(())
}

/// A charge takes from the blocks that are named, in their order, all that they are said to have.
fn payers_are_explained(wallet: &Wallet<Block>, name: &str, explain: &Value) -> Result<(), TestCaseError> {
    let spendable = wallet.spendable(&feature_key(name));
    let mut charged = wallet.clone();
    let taken = charged.burn(&feature_key(name), spendable, wallet.time);
    let taken: Vec<Value> = taken
        .iter()
        .map(|part| {
            let Block { id, lot, .. } = &wallet.lots[part.lot];
            let (kind, priority, end) = (lot.kind, lot.priority, lot.expires_at);
            json!({"id": id, "kind": kind, "priority": priority, "available": part.amount, "expires_at": end})
        })
        .collect();
    prop_assert_eq!(&explain["blocks"], &json!(taken));
    prop_assert_eq!(&explain["more_blocks"], &json!(false));
    Ok(())
}

#[test]
fn an_override_that_is_over_decides_nothing_though_nothing_else_is_due() {
    let off = Feature { default: Access { enabled: false, value: None }, ..metered(OveragePolicy::Block, None) };
    let mut story = Story::new(catalogue([("f", off)]));
    let terms = Override {
        feature_key: feature_key("f"),
        enabled: Some(true),
        value: None,
        price: None,
        overage_policy: None,
        overdraft_limit: None,
        expires_at: Some(at(NOW)),
    };
    story.apply(at(0), grant(5)).unwrap();
    story.apply(at(0), Command::SetOverride(terms)).unwrap();
    let state = AccountState::publish(&story.account, 1, &story.catalogue);
    let key = feature_key("f");
    let asked = CheckRequest { feature_key: &key, units: units(1), properties: &BTreeMap::new() };
    assert_eq!(evaluate(&state, &story.catalogue, asked, at(NOW - 1)).reason, Reason::Ok);
    assert_eq!(evaluate(&state, &story.catalogue, asked, at(NOW)).reason, Reason::NoSubscription);
    assert_eq!(explained(&story, "f", 1).1["chain"].as_array().unwrap().len(), 1);
}

#[test]
fn many_blocks_are_named_in_part_and_an_unknown_feature_has_no_explanation() {
    let mut story = Story::new(catalogue([("f", metered(OveragePolicy::Block, None))]));
    for _ in 0..101 {
        story.apply(at(0), grant(1)).unwrap();
    }
    let (_, explain, _) = explained(&story, "f", 1);
    assert_eq!((explain["blocks"].as_array().unwrap().len(), &explain["more_blocks"]), (100, &json!(true)));
    let (decision, explain, _) = explained(&story, "ghost", 1);
    assert_eq!(decision.reason, Reason::FeatureUnknown);
    let nothing = json!({"chain": [], "price": null, "overage_policy": null, "overdraft_limit": null, "blocks": [],
        "more_blocks": false});
    assert_eq!(explain, nothing);
}
