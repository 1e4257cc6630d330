//! The scenarios of docs/subscriptions.md with their numbers, one story each.

use quotastack_core::ledger::block::BlockKind;
use quotastack_core::ledger::command::{Command, Grant, Refund, Reserve, Void};
use quotastack_core::ledger::event::EventKind;
use quotastack_core::subscription::SubscriptionStatus;
use quotastack_core::subscription::order::{Action, ChangeCredits, When};

use super::*;
use crate::support::{grant, reservation_id, reserve, topup, usage};

#[test]
fn s1_a_change_takes_back_what_is_not_earned_and_what_is_spent_already_is_owed() {
    let mut story = life([base(1, DAYS_30, 1_000), base(2, DAYS_30, 2_000)]);
    let id = story.subscribe(day(0), 1);
    story.apply(day(1), usage("much", "f", 600)).unwrap();
    story.change(day(15), id, 2, ChangeCredits::Prorate);
    assert_eq!(story.balance(day(15)), 900, "400 taken, 100 owed, 900 granted");
    assert_eq!(story.blocks(), [(BlockKind::Plan, 1_000, 0), (BlockKind::Plan, 900, 900)]);

    let mut story = life([base(1, DAYS_30, 1_000), base(2, DAYS_30, 2_000)]);
    let id = story.subscribe(day(0), 1);
    story.apply(day(1), usage("little", "f", 100)).unwrap();
    story.change(day(15), id, 2, ChangeCredits::Prorate);
    assert_eq!(story.blocks(), [(BlockKind::Plan, 1_000, 400), (BlockKind::Plan, 1_000, 1_000)]);
}

#[test]
fn s2_flipping_every_day_between_two_variants_and_spending_all_grants_what_one_of_them_does() {
    let mut story = life([base(1, DAYS_30, 1_000), base(2, DAYS_30, 1_000)]);
    let id = story.subscribe(day(0), 1);
    let mut spent = 0;
    for number in 0..30 {
        if number > 0 {
            story.change(day(number), id, if number % 2 == 0 { 1 } else { 2 }, ChangeCredits::Prorate);
        }
        let left = story.balance(day(number));
        if left > 0 {
            story.apply(day(number), usage(&format!("day {number}"), "f", left)).unwrap();
        }
        spent += left;
    }
    assert_eq!(spent, 1_000);
}

#[test]
fn s3_what_a_hold_gives_back_after_the_end_follows_into_the_rollover_up_to_its_cap() {
    let mut story = life([free(rolling(base(1, DAYS_30, 1_000), 100, Some(500)))]);
    story.subscribe(day(0), 1);
    let end = day(30);
    let held = Reserve { ttl_micros: 86_400_000_000, ..reserve("long", "f", 900, 1) };
    story.apply(end.saturating_add_micros(-1), Command::Reserve(held)).unwrap();
    assert_eq!(story.balance(end), 900 + 100 + 1_000, "the hold, what rolled, and the new grant");
    story.touch(end);
    let rolled = |story: &Story| story.blocks().into_iter().find(|block| block.0 == BlockKind::Rollover).unwrap();
    assert_eq!(rolled(&story), (BlockKind::Rollover, 100, 100));
    story.apply(end.saturating_add_micros(1), Command::Release(reservation_id("long"))).unwrap();
    assert_eq!(rolled(&story), (BlockKind::Rollover, 500, 500));
    assert_eq!(story.balance(end.saturating_add_micros(1)), 500 + 1_000, "500 expired");
}

#[test]
fn s4_what_rolled_over_burns_first_and_does_not_roll_again() {
    let mut story = life([free(rolling(base(1, DAYS_30, 100), 100, None))]);
    story.subscribe(day(0), 1);
    story.apply(day(29), usage("half", "f", 50)).unwrap();
    assert_eq!(story.balance(day(30)), 150);
    story.apply(day(31), usage("more", "f", 60)).unwrap();
    assert_eq!(story.balance(day(60)), 90 + 100);
}

#[test]
fn s5_a_cap_trims_the_new_grant_after_the_rollover() {
    let mut capped = free(rolling(base(1, DAYS_30, 100), 100, None));
    capped.grants[0].accumulation_cap = Some(credits(150));
    let mut story = life([capped]);
    story.subscribe(day(0), 1);
    assert_eq!([0, 30, 60].map(|number| story.balance(day(number))), [100, 100 + 50, 50 + 100]);
    story.touch(day(60));
    let expected = [
        (BlockKind::Plan, 100, 0),
        (BlockKind::Rollover, 100, 0),
        (BlockKind::Plan, 50, 0),
        (BlockKind::Rollover, 50, 50),
        (BlockKind::Plan, 100, 100),
    ];
    assert_eq!(story.blocks(), expected);
}

#[test]
fn s6_a_renewal_in_grace_rolls_what_is_left_then_and_without_one_it_is_gone() {
    let mut story = life([rolling(base(1, DAYS_30, 1_000), 50, None)]);
    let id = story.subscribe(day(0), 1);
    story.apply(day(29), usage("before", "f", 700)).unwrap();
    assert_eq!(story.status(day(30), id), Some(SubscriptionStatus::PastDue));
    story.apply(day(31), usage("in grace", "f", 100)).unwrap();
    let mut lapsed = story.clone();
    let renewed = story.ask(day(32), id, Action::Renew).unwrap();
    assert_eq!(story.balance(day(32)), 1_100);
    assert_eq!((renewed.current_period.start, renewed.current_period.end), (day(30), day(60)), "no free days");
    assert_eq!((lapsed.balance(day(33)), lapsed.status(day(33), id)), (0, None));
    lapsed.touch(day(33));
    assert_eq!(lapsed.account.ended[0].status, SubscriptionStatus::Expired);
}

#[test]
fn s7_a_postpaid_period_bills_its_debt_and_the_next_begins_without_it() {
    let mut story = life([postpaid(base(1, DAYS_30, 100))]);
    story.subscribe(day(0), 1);
    story.apply(day(10), usage("over", "endless", 150)).unwrap();
    assert_eq!(story.balance(day(29)), -50);
    assert_eq!((story.balance(day(30)), story.read(day(30)).1), (100, 0));
    story.touch(day(30));
    let billed: Vec<_> = story.effects.entries.iter().flat_map(|entry| &entry.body.billed).collect();
    assert_eq!(billed, [&(crate::support::feature_key("endless"), credits(50))]);
    story.touch(day(31));
    let overage = story.effects.events.iter().find_map(|event| match &event.kind {
        EventKind::UsageSummary { features, .. } => Some(features[0].used.billed),
        _ => None,
    });
    assert_eq!(overage, Some(50));
}

#[test]
fn s8_the_fallback_gives_once_per_period_however_often_one_comes_back() {
    let mut story = life([fallback(base(1, DAYS_30, 50)), base(2, DAYS_30, 1_000)]);
    story.subscribe(day(0), 1);
    for number in [1, 3] {
        let paid = story.subscribe(day(number), 2);
        let void = Action::Cancel { at: When::Now, credits: EndCredits::Void };
        story.ask(day(number + 1), paid, void).unwrap();
        let base = story.account.wallet.base().unwrap();
        assert!(base.is_fallback, "back on the free plan");
    }
    assert_eq!(story.balance(day(5)), 50);
    assert_eq!(story.balance(day(30)), 50, "the next period of the first day's anchor");
}

#[test]
fn s9_a_microsecond_after_the_end_every_reader_says_what_the_ledger_will_write() {
    let mut story = life([base(1, DAYS_30, 1_000)]);
    let id = story.subscribe(day(0), 1);
    story.apply(day(28), usage("most", "f", 990)).unwrap();
    story.ask(day(28), id, Action::Renew).unwrap();
    let end = day(30);
    let instants = [end.saturating_add_micros(-1), end, end.saturating_add_micros(1)];
    assert_eq!(instants.map(|now| story.balance(now)), [10, 1_000, 1_000]);
    story.touch(instants[2]);
    assert_eq!(story.balance(instants[2]), 1_000);
}

#[test]
fn s10_a_pause_keeps_the_plans_credit_and_nothing_else() {
    let mut story = life([base(1, DAYS_30, 500)]);
    let id = story.subscribe(day(0), 1);
    story.apply(day(0), Grant { expires_at: Some(day(20)), ..grant(20) }).unwrap();
    let pause = Action::Pause { at: When::Now, resume_at: Some(day(50)) };
    story.ask(day(10), id, pause).unwrap();
    assert_eq!([19, 20, 49].map(|number| story.balance(day(number))), [520, 500, 500]);
    assert_eq!(story.status(day(49), id), Some(SubscriptionStatus::Paused));
    assert_eq!((story.balance(day(50)), story.status(day(50), id)), (500, Some(SubscriptionStatus::Active)));
    story.touch(day(50));
    let plan = story.account.wallet.lots.iter().find(|block| block.lot.kind == BlockKind::Plan).unwrap();
    assert_eq!(plan.lot.expires_at, Some(day(70)));
    assert_eq!(story.account.wallet.base().unwrap().current_period.end, day(70));
}

#[test]
fn s11_a_void_pays_back_what_a_claw_back_made_owed() {
    let mut story = life([]);
    let (bought, spent) = (topup("pay", 100), usage("spent", "f", 30));
    let refund = Refund { topup_id: bought.id, amount: None, claw_back_spent: true, reason: None };
    let void = Void { usage_id: spent.id, reason: None };
    story.apply(day(0), Command::TopUp(bought)).unwrap();
    story.apply(day(1), spent).unwrap();
    story.apply(day(2), Command::Refund(refund)).unwrap();
    assert_eq!(story.read(day(2)), (-30, 30), "70 went back, 30 are owed");
    story.apply(day(3), Command::Void(void)).unwrap();
    assert_eq!(story.read(day(3)), (0, 0));
}
