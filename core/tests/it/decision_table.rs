//! One test per reason of a check, and what an answer says beside it. `stale_replica` is a sidecar's own answer and
//! never comes from a state.

use std::collections::BTreeMap;

use quotastack_core::catalogue::{Access, Entitlement, Feature, FeatureKind, OveragePolicy, PlanKind, Variant};
use quotastack_core::credits::{AMOUNT_MAX, Units};
use quotastack_core::entitlement::decision::{Decision, Reason};
use quotastack_core::entitlement::evaluate::{CheckRequest, evaluate};
use quotastack_core::entitlement::terms::Override;
use quotastack_core::ids::{EndUserId, PlanId, VariantId, uuid_v7};
use quotastack_core::ledger::command::{Command, Grant};
use quotastack_core::state::AccountState;
use quotastack_core::subscription::SubscriptionStatus;
use quotastack_core::subscription::order::Subscribe;
use quotastack_core::time::{Period, PeriodUnit, Timestamp};

use crate::support::{Story, at, catalogue, credits, feature_key, grant, metered, price_from, units, usage};

const DAY: i64 = 86_400;

fn flag(kind: FeatureKind, enabled: bool, value: Option<&str>) -> Feature {
    let default = Access { enabled, value: value.map(str::to_owned) };
    Feature { kind, default, prices: Vec::new(), ..metered(OveragePolicy::Block, None) }
}

/// A day's base plan names `flag`, `seats` and `closed`; an add-on gives `closed` back.
fn story() -> Story {
    let thousand =
        Feature { prices: vec![price_from(Timestamp::MIN, 15, 1_000)], ..metered(OveragePolicy::Block, None) };
    let mut catalogue = catalogue([
        ("blocked", metered(OveragePolicy::Block, None)),
        ("capped", metered(OveragePolicy::Cap, None)),
        ("limited", metered(OveragePolicy::Overdraft, Some(10))),
        ("endless", metered(OveragePolicy::Notify, None)),
        ("tokens", thousand),
        ("free", Feature { prices: vec![price_from(Timestamp::MIN, 0, 1)], ..metered(OveragePolicy::Block, None) }),
        ("unpriced", Feature { prices: vec![price_from(at(100), 1, 1)], ..metered(OveragePolicy::Block, None) }),
        ("closed", metered(OveragePolicy::Block, None)),
        ("flag", flag(FeatureKind::Boolean, false, None)),
        ("seats", flag(FeatureKind::Config, false, None)),
        ("theme", flag(FeatureKind::Config, true, Some("\"dark\""))),
    ]);
    let on = |value: Option<&str>| Access { enabled: true, value: value.map(str::to_owned) };
    let closed = || feature_key("closed");
    let base = BTreeMap::from([
        (feature_key("flag"), on(None)),
        (feature_key("seats"), on(Some("5"))),
        (closed(), Access { enabled: false, value: None }),
    ]);
    for (number, plan_kind, entitlements) in
        [(1, PlanKind::Base, base), (2, PlanKind::Addon, BTreeMap::from([(closed(), on(None))]))]
    {
        let plan_id = PlanId::from_uuid(uuid_v7(at(0), [number; 10], None));
        let day = Period { count: 1, unit: PeriodUnit::Day };
        let variant = Variant {
            grace_period_days: 0,
            entitlements: entitlements.into_iter().map(|(key, given)| (key, Entitlement::plain(given))).collect(),
            ..Variant::new(plan_id, plan_kind, day)
        };
        catalogue.variants.insert((variant_id(number), 1), variant);
    }
    Story::new(catalogue)
}

fn variant_id(number: u8) -> VariantId {
    VariantId::from_uuid(uuid_v7(at(0), [number; 10], None))
}

fn subscribe(number: u8) -> Command {
    Command::Subscribe(Subscribe::now(variant_id(number), 1))
}

fn check(story: &Story, feature: &str, count: i64, now: Timestamp) -> Decision {
    let state = AccountState::publish(&story.account, 1, &story.catalogue);
    let feature_key = feature_key(feature);
    evaluate(
        &state,
        &story.catalogue,
        CheckRequest { feature_key: &feature_key, units: units(count), properties: &BTreeMap::new() },
        now,
    )
}

fn reason(story: &Story, feature: &str, count: i64, second: i64) -> (bool, Reason) {
    let decision = check(story, feature, count, at(second));
    (decision.allowed, decision.reason)
}

#[test]
fn ok_says_what_it_would_cost_and_leave() {
    let mut story = story();
    story.apply(at(0), grant(100)).unwrap();
    let decision = check(&story, "tokens", 1_001, at(1));
    assert_eq!((decision.allowed, decision.reason), (true, Reason::Ok));
    assert_eq!((decision.balance, decision.reserved, decision.available), (credits(100), credits(0), credits(100)));
    assert_eq!((decision.estimated_cost, decision.balance_after), (Some(credits(16)), Some(credits(84))));
    assert_eq!(decision.units_affordable, Some(units(6_666)), "6,667 would cost 100.005, rounded up 101");
    assert_eq!((decision.overage_policy, decision.version), (Some(OveragePolicy::Block), 1));
}

#[test]
fn insufficient_credits_under_block_and_cap() {
    let mut story = story();
    story.apply(at(0), grant(10)).unwrap();
    for feature in ["blocked", "capped"] {
        assert_eq!(reason(&story, feature, 10, 1), (true, Reason::Ok));
        assert_eq!(reason(&story, feature, 11, 1), (false, Reason::InsufficientCredits));
    }
    let beyond_the_range = check(&story, "tokens", AMOUNT_MAX, at(1));
    assert_eq!((beyond_the_range.allowed, beyond_the_range.reason), (false, Reason::InsufficientCredits));
}

#[test]
fn within_overdraft_up_to_the_limit_and_overdraft_limit_beyond() {
    let mut story = story();
    story.apply(at(0), grant(5)).unwrap();
    assert_eq!(reason(&story, "limited", 5, 1), (true, Reason::Ok));
    assert_eq!(reason(&story, "limited", 15, 1), (true, Reason::WithinOverdraft));
    assert_eq!(reason(&story, "limited", 16, 1), (false, Reason::OverdraftLimit));
    assert_eq!(check(&story, "limited", 1, at(1)).units_affordable, Some(units(15)));
    story.apply(at(1), usage("u", "limited", 12)).unwrap();
    assert_eq!(check(&story, "limited", 1, at(2)).units_affordable, Some(units(3)), "open debt counts");
    assert_eq!(reason(&story, "limited", 4, 2), (false, Reason::OverdraftLimit));
    let endless = check(&story, "endless", 1_000_000, at(2));
    assert_eq!((endless.allowed, endless.reason, endless.units_affordable), (true, Reason::WithinOverdraft, None));
    let open = check(&story, "limited", 0, at(2));
    assert_eq!((open.reason, open.balance), (Reason::Ok, credits(-7)));
}

#[test]
fn feature_unknown() {
    assert_eq!(reason(&story(), "ghost", 1, 0), (false, Reason::FeatureUnknown));
}

#[test]
fn feature_unpriced_until_its_first_price_is_in_force() {
    let mut story = story();
    story.apply(at(0), grant(10)).unwrap();
    assert_eq!(reason(&story, "unpriced", 1, 99), (false, Reason::FeatureUnpriced));
    assert_eq!(reason(&story, "unpriced", 1, 100), (true, Reason::Ok));
    assert_eq!(check(&story, "unpriced", 1, at(99)).estimated_cost, None);
}

#[test]
fn a_check_reads_prices_no_earlier_than_the_accounts_time() {
    let mut story = story();
    story.apply(at(200), grant(10)).unwrap();
    assert_eq!(reason(&story, "unpriced", 1, 50), (true, Reason::Ok), "a charge would count from second 200 too");
    story.apply(at(50), usage("u", "unpriced", 1)).unwrap();
}

#[test]
fn no_subscription_then_given_by_the_plan_then_over_at_its_end() {
    let mut story = story();
    assert_eq!(reason(&story, "flag", 1, 0), (false, Reason::NoSubscription));
    assert_eq!(reason(&story, "seats", 1, 0), (false, Reason::NoSubscription));
    story.apply(at(0), subscribe(1)).unwrap();
    let seats = check(&story, "seats", 1, at(DAY - 1));
    assert_eq!((seats.allowed, seats.reason, seats.value.as_deref()), (true, Reason::Ok, Some("5")));
    assert_eq!(seats.subscription_status, Some(SubscriptionStatus::Active));
    assert_eq!(reason(&story, "flag", 1, DAY - 1), (true, Reason::Ok));
    let over = check(&story, "flag", 1, at(DAY));
    assert_eq!((over.allowed, over.reason, over.subscription_status), (false, Reason::NoSubscription, None));
}

#[test]
fn feature_not_in_plan_unless_an_addon_gives_it() {
    let mut story = story();
    story.apply(at(0), grant(10)).unwrap();
    assert_eq!(reason(&story, "closed", 1, 0), (true, Reason::Ok), "metered features are on by default");
    story.apply(at(1), subscribe(1)).unwrap();
    assert_eq!(reason(&story, "closed", 1, 2), (false, Reason::FeatureNotInPlan));
    story.apply(at(3), subscribe(2)).unwrap();
    assert_eq!(reason(&story, "closed", 1, 4), (true, Reason::Ok));
}

#[test]
fn the_default_answers_where_no_plan_names_the_feature() {
    let story = story();
    let theme = check(&story, "theme", 1, at(0));
    assert_eq!((theme.allowed, theme.value.as_deref()), (true, Some("\"dark\"")));
    assert_eq!((theme.estimated_cost, theme.units_affordable, theme.overage_policy), (None, None, None));
}

#[test]
fn a_price_of_nothing_is_affordable_without_limit() {
    let free = check(&story(), "free", AMOUNT_MAX, at(0));
    assert_eq!((free.allowed, free.estimated_cost, free.units_affordable), (true, Some(credits(0)), None));
}

#[test]
fn scoped_credit_counts_for_its_features_only() {
    let mut story = story();
    story.apply(at(0), Grant { feature_keys: vec![feature_key("capped")], ..grant(10) }).unwrap();
    assert_eq!(check(&story, "capped", 1, at(1)).balance, credits(10));
    let other = check(&story, "blocked", 1, at(1));
    assert_eq!((other.balance, other.reason), (credits(0), Reason::InsufficientCredits));
}

#[test]
fn an_unknown_end_user_gets_a_normal_answer() {
    let story = story();
    let state = AccountState::unknown(EndUserId::new("never seen").unwrap());
    let ask = |feature: &str| {
        let feature_key = feature_key(feature);
        evaluate(
            &state,
            &story.catalogue,
            CheckRequest { feature_key: &feature_key, units: Units::ONE, properties: &BTreeMap::new() },
            at(0),
        )
    };
    let reasons =
        ["blocked", "endless", "theme", "flag", "ghost"].map(|feature| (ask(feature).allowed, ask(feature).reason));
    let expected = [
        (false, Reason::InsufficientCredits),
        (true, Reason::WithinOverdraft),
        (true, Reason::Ok),
        (false, Reason::NoSubscription),
        (false, Reason::FeatureUnknown),
    ];
    assert_eq!(reasons, expected);
    assert_eq!((ask("blocked").version, ask("blocked").balance), (0, credits(0)));
}

#[test]
fn a_balance_after_beyond_the_range_is_absent() {
    let mut story = story();
    story.apply(at(0), usage("u", "endless", AMOUNT_MAX)).unwrap();
    let decision = check(&story, "endless", 1, at(1));
    assert_eq!((decision.balance, decision.balance_after), (credits(-AMOUNT_MAX), None));
    let json = serde_json::to_string(&decision).unwrap();
    assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), decision);
}

#[test]
fn an_override_is_over_at_its_end_although_nothing_else_is_due() {
    let mut story = story();
    let terms = Override {
        feature_key: feature_key("flag"),
        enabled: Some(true),
        value: None,
        price: None,
        overage_policy: None,
        overdraft_limit: None,
        expires_at: Some(at(50)),
    };
    story.apply(at(0), Command::SetOverride(terms)).unwrap();
    let state = AccountState::publish(&story.account, 1, &story.catalogue);
    let (feature_key, properties) = (feature_key("flag"), BTreeMap::new());
    let request = CheckRequest { feature_key: &feature_key, units: Units::ONE, properties: &properties };
    let reason = |now| evaluate(&state, &story.catalogue, request, now).reason;
    assert_eq!(reason(at(50).saturating_add_micros(-1)), Reason::Ok);
    assert_eq!(reason(at(50)), Reason::NoSubscription);
}
