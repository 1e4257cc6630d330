//! Who may what while subscriptions move. Source: docs/subscriptions.md, "Catalogue"; docs/entitlements.md, "Reasons".

use std::collections::BTreeMap;

use quotastack_core::catalogue::{Access, Entitlement, Feature, FeatureKind, Merge};
use quotastack_core::entitlement::decision::{Decision, Reason};
use quotastack_core::entitlement::evaluate::{CheckRequest, evaluate};
use quotastack_core::entitlement::terms::Override;
use quotastack_core::subscription::order::{Action, When};

use super::*;
use crate::support::{feature_key, units};

fn config(value: Option<&str>) -> Feature {
    let default = Access { enabled: value.is_some(), value: value.map(str::to_owned) };
    Feature { kind: FeatureKind::Config, default, ..metered(OveragePolicy::Block, None) }
}

fn gives(mut variant: Variant, feature: &str, value: &str, merge: Option<Merge>) -> Variant {
    let access = Access { enabled: true, value: Some(value.to_owned()) };
    variant.entitlements.insert(feature_key(feature), Entitlement { merge, ..Entitlement::plain(access) });
    variant
}

fn story_of(variants: impl IntoIterator<Item = Variant>) -> Story {
    let mut story = life(variants);
    story.catalogue.features.insert(feature_key("seats"), config(None));
    story.catalogue.features.insert(feature_key("regions"), config(Some("1")));
    story
}

impl Story {
    fn check(&self, now: Timestamp, feature: &str) -> Decision {
        let state = AccountState::publish(&self.account, 1, &self.catalogue);
        let feature_key = feature_key(feature);
        let asked = CheckRequest { feature_key: &feature_key, units: units(1), properties: &BTreeMap::new() };
        evaluate(&state, &self.catalogue, asked, now)
    }
}

#[test]
fn a_pause_denies_what_that_subscription_gives_and_nothing_else() {
    let mut story = story_of([gives(base(1, DAYS_30, 10), "seats", "5", None)]);
    let id = story.subscribe(day(0), 1);
    assert_eq!(story.check(day(0), "seats").value.as_deref(), Some("5"));
    story.ask(day(1), id, Action::Pause { at: When::Now, resume_at: Some(day(3)) }).unwrap();
    let paused = story.check(day(2), "seats");
    assert_eq!((paused.allowed, paused.reason), (false, Reason::SubscriptionPaused));
    assert_eq!(paused.subscription_status, Some(SubscriptionStatus::Paused));
    assert!(story.check(day(2), "regions").allowed, "the plan does not name it");
    assert!(story.check(day(2), "f").allowed, "a wallet is not blocked by a pause");
    assert!(story.check(day(3), "seats").allowed);

    let terms = Override {
        feature_key: feature_key("seats"),
        enabled: Some(true),
        value: Some("1".to_owned()),
        price: None,
        overage_policy: None,
        overdraft_limit: None,
        expires_at: None,
    };
    story.apply(day(2), Command::SetOverride(terms)).unwrap();
    assert_eq!(story.check(day(2), "seats").value.as_deref(), Some("1"));
}

#[test]
fn past_due_denies_only_where_the_variant_says_so() {
    let strict = Variant { allow_usage_while_overdue: false, ..base(1, DAYS_30, 10) };
    let variants = [gives(strict, "seats", "5", None), gives(base(2, DAYS_30, 10), "seats", "5", None)];
    let mut story = story_of(variants);
    let mut lenient = story.clone();
    story.subscribe(day(0), 1);
    lenient.subscribe(day(0), 2);
    let denied = story.check(day(30), "seats");
    assert_eq!(
        (denied.reason, denied.subscription_status),
        (Reason::SubscriptionPastDue, Some(SubscriptionStatus::PastDue))
    );
    assert_eq!(story.balance(day(30)), 0, "and its credit ended with the period");
    assert!(lenient.check(day(30), "seats").allowed);
    assert_eq!(lenient.balance(day(30)), 10);
    assert_eq!(lenient.check(day(33), "seats").reason, Reason::NoSubscription);
}

#[test]
fn an_addons_value_joins_the_bases_as_it_says() {
    let variants = [
        gives(base(1, DAYS_30, 10), "seats", "5", None),
        gives(addon(2, DAYS_30, 1), "seats", "3", Some(Merge::Sum)),
        gives(addon(3, DAYS_30, 1), "seats", "6", Some(Merge::Max)),
        gives(addon(4, DAYS_30, 1), "seats", "99", None),
    ];
    let mut story = story_of(variants);
    story.subscribe(day(0), 1);
    let mut value_with = |number| {
        story.subscribe(day(1), number);
        story.check(day(1), "seats").value.unwrap()
    };
    assert_eq!([4, 3, 2].map(&mut value_with), ["5", "6", "8"], "5 and 3 are more than 6");
}
