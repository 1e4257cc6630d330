//! Subscribing: the first period and its grants. Source: docs/ledger.md, "Amounts and time" and "Block".

use quotastack_core::catalogue::{GrantInterval, GrantTemplate, OveragePolicy, PlanKind, Variant};
use quotastack_core::ids::{PlanId, VariantId, uuid_v7};
use quotastack_core::ledger::block::BlockKind;
use quotastack_core::ledger::command::Command;
use quotastack_core::ledger::event::EventKind;
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::pricing::{Price, PriceModel, PriceVersion, Tier, TierMode, TierWindow, Tiered};
use quotastack_core::subscription::machine::Happening;
use quotastack_core::subscription::order::Subscribe;
use quotastack_core::subscription::{Subscription, SubscriptionStatus};
use quotastack_core::time::{Interval, Period, PeriodUnit, Timestamp};

use crate::support::{Story, at, catalogue, credits, feature_key, metered, units, usage};

/// January 2027 has 31 days.
const MONTH: i64 = 31 * 86_400;

fn id(number: u8) -> VariantId {
    VariantId::from_uuid(uuid_v7(at(0), [number; 10], None))
}

fn variant(plan_kind: PlanKind, grants: Vec<GrantTemplate>) -> Variant {
    let plan_id = PlanId::from_uuid(uuid_v7(at(0), [1; 10], None));
    let month = Period { count: 1, unit: PeriodUnit::Month };
    Variant { grace_period_days: 0, grants, ..Variant::new(plan_id, plan_kind, month) }
}

fn template(amount: i64, interval: GrantInterval) -> GrantTemplate {
    GrantTemplate { priority: 50, ..GrantTemplate::new(credits(amount), interval) }
}

/// Variant 1: a base with grants; 2: another base; 3: an add-on.
fn story() -> Story {
    let mut catalogue = catalogue([("f", metered(OveragePolicy::Block, None))]);
    let scoped = GrantTemplate { feature_keys: vec![feature_key("f")], ..template(7, GrantInterval::Once) };
    let grants = vec![template(1_000, GrantInterval::BillingPeriod), scoped];
    catalogue.variants.insert((id(1), 1), variant(PlanKind::Base, grants));
    catalogue.variants.insert((id(2), 1), variant(PlanKind::Base, Vec::new()));
    catalogue.variants.insert((id(3), 1), variant(PlanKind::Addon, vec![template(5, GrantInterval::BillingPeriod)]));
    Story::new(catalogue)
}

fn subscribe(number: u8, quantity: u32) -> Command {
    Command::Subscribe(Subscribe::now(id(number), quantity))
}

fn subscription(outcome: Outcome) -> Subscription {
    match outcome {
        Outcome::Subscribed { subscription } => subscription,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_period_opens_and_grants_per_seat() {
    let mut story = story();
    let created = subscription(story.apply(at(10), subscribe(1, 3)).unwrap());
    assert_eq!(created.current_period, Interval { start: at(10), end: at(MONTH + 10) });
    assert_eq!((created.status, created.quantity, created.variant_version), (SubscriptionStatus::Active, 3, 1));
    assert_eq!(story.statement(), ["10s grant +3021 = 3021"], "one entry for all grants of one cause");
    let [period, once] = &story.account.wallet.lots[..] else { panic!("two blocks") };
    assert_eq!((period.original, period.lot.expires_at), (credits(3_000), Some(at(MONTH + 10))));
    assert_eq!((once.original, once.lot.expires_at), (credits(21), None));
    assert_eq!(once.lot.scope, [feature_key("f")]);
    for (template, block) in [(0, period), (1, once)] {
        let origin = block.lot.origin.unwrap();
        assert_eq!((origin.subscription_id, origin.template), (created.id, template));
        assert_eq!((block.lot.kind, block.lot.priority), (BlockKind::Plan, 50));
    }
    assert_eq!(story.account.wallet.subscriptions, std::slice::from_ref(&created));
    assert_eq!(story.effects.subscriptions, [created]);
}

#[test]
fn at_the_end_of_the_period_the_subscription_and_its_credit_are_over() {
    let mut story = story();
    let created = subscription(story.apply(at(0), subscribe(1, 1)).unwrap());
    let end = at(MONTH);
    let before = end.saturating_add_micros(-1);
    assert_eq!([story.read(before), story.read(end)], [(1_007, 0), (7, 0)]);
    story.apply(before, usage("last", "f", 8)).unwrap();
    story.touch(end);
    let statement = ["0s grant +1007 = 1007", "2678399s usage -8 = 999", "2678400s expire -992 = 7"];
    assert_eq!(story.statement(), statement);
    assert_eq!(story.account.wallet.subscriptions, []);
    let expired = story.effects.subscriptions.last().unwrap();
    assert_eq!((expired.id, expired.status), (created.id, SubscriptionStatus::Expired));
    assert_eq!((expired.ended_at, expired.ended_by), (Some(end), Some(Happening::GraceEnds)));
    let [.., subscription_event, credit_event] = &story.effects.events[..] else { panic!("two events") };
    let EventKind::SubscriptionExpired { subscription: last, before, .. } = &subscription_event.kind else {
        panic!("over")
    };
    assert_eq!((&**last, before.status), (expired, SubscriptionStatus::PastDue));
    assert!(matches!(credit_event.kind, EventKind::CreditsExpired { .. }), "subscriptions end before blocks");
    subscription(story.apply(end, subscribe(2, 1)).unwrap());
}

#[test]
fn one_base_at_a_time_and_no_addon_without_one() {
    let mut story = story();
    assert_eq!(story.apply(at(0), subscribe(3, 1)), Err(Refusal::NoBaseSubscription));
    let base = subscription(story.apply(at(1), subscribe(2, 1)).unwrap());
    assert_eq!(story.apply(at(2), subscribe(1, 1)), Err(Refusal::BaseSubscriptionLive(base.id)));
    for _ in 0..2 {
        subscription(story.apply(at(3), subscribe(3, 1)).unwrap());
    }
    assert_eq!(story.apply(at(4), subscribe(9, 1)), Err(Refusal::VariantUnknown(id(9))));
    assert_eq!(story.statement(), ["3s grant +5 = 5", "3s grant +5 = 10"]);
    assert_eq!(story.account.wallet.subscriptions.len(), 3);
}

#[test]
fn a_new_subscription_gets_the_latest_version_and_a_running_one_keeps_its_own() {
    let mut story = story();
    let first = subscription(story.apply(at(0), subscribe(1, 1)).unwrap());
    let edited = Variant { version: 2, ..variant(PlanKind::Base, vec![template(1, GrantInterval::Once)]) };
    story.catalogue.variants.insert((id(1), 2), edited);
    story.touch(at(5));
    assert_eq!(story.account.wallet.subscriptions[0].variant_version, first.variant_version);
    let second = subscription(story.apply(at(MONTH), subscribe(1, 1)).unwrap());
    assert_eq!(second.variant_version, 2);
}

#[test]
fn a_once_template_gives_once_per_end_user() {
    let mut story = story();
    story.apply(at(0), subscribe(1, 1)).unwrap();
    story.apply(at(MONTH), subscribe(1, 1)).unwrap();
    assert_eq!(story.account.lifetime_granted, credits(1_000 + 7 + 1_000), "the month twice, the present once");
}

#[test]
fn seats_that_take_a_grant_out_of_range_are_refused() {
    let mut story = story();
    let huge = vec![template(quotastack_core::credits::AMOUNT_MAX, GrantInterval::Once)];
    story.catalogue.variants.insert((id(4), 1), variant(PlanKind::Base, huge));
    assert!(matches!(story.apply(at(0), subscribe(4, 2)), Err(Refusal::AmountOutOfRange(_))));
    assert!(story.effects.is_empty() && story.account.wallet.subscriptions.is_empty());
}

#[test]
fn tiers_by_billing_period_count_from_the_subscriptions_own_day() {
    let tiers = vec![Tier { up_to: Some(units(10)), cost: credits(0) }, Tier { up_to: None, cost: credits(1) }];
    let window = TierWindow::BillingPeriod;
    let tiered = Tiered { mode: TierMode::Graduated, per_units: units(1), window, tiers };
    let price = Price::plain(PriceModel::Tiered(tiered));
    let mut story = story();
    let mut feature = metered(OveragePolicy::Block, None);
    feature.prices = vec![PriceVersion { effective_from: Timestamp::MIN, price }];
    story.catalogue.features.insert(feature_key("f"), feature);
    let day = |day: i64| at((day - 1) * 86_400);
    let cost = |story: &mut Story, when, key: &str| match story.apply(when, usage(key, "f", 8)) {
        Ok(Outcome::Used { record, .. }) => record.cost.get(),
        other => panic!("{other:?}"),
    };
    story.apply(day(10), subscribe(1, 1)).unwrap();
    assert_eq!(cost(&mut story, day(25), "in January"), 0);
    assert_eq!(cost(&mut story, day(31 + 5), "in February, in the same period"), 6);
    // The period is over, and with it the subscription: from now on calendar months.
    assert_eq!(cost(&mut story, day(31 + 10), "in February, after the period"), 0);
}
