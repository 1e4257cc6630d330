//! Burn order where only the order of granting tells: readers of what was published burn as the ledger does.

use quotastack_core::ids::FeatureKey;
use quotastack_core::ledger::block::Block;
use quotastack_core::ledger::command::Grant;
use quotastack_core::ledger::tranche::Tranche;

use super::*;
use crate::support::{feature_key, grant};

fn published(story: &Story) -> Vec<Tranche> {
    AccountState::publish(&story.account, 1, &story.catalogue).wallet.lots
}

/// Templates, and what was taken of each one's lot.
type Parts = Vec<(u16, i64)>;

/// What a charge of `amount` at `now` takes: of the ledger, and of a reader.
fn burnt(story: &Story, now: Timestamp, amount: i64) -> (Parts, Parts) {
    fn burn<L: HasLot>(mut wallet: Wallet<L>, story: &Story, now: Timestamp, amount: i64) -> Parts {
        read_at(&mut wallet, &story.catalogue, now);
        let feature: FeatureKey = feature_key("f");
        let taken = wallet.burn(&feature, credits(amount), now);
        taken.iter().map(|part| (wallet.lots[part.lot].lot().origin.unwrap().template, part.amount.get())).collect()
    }
    let published = AccountState::publish(&story.account, 1, &story.catalogue).wallet;
    let blocks: Wallet<Block> = story.account.wallet.clone();
    (burn(blocks, story, now, amount), burn(published, story, now, amount))
}

/// The first template's blocks last as long as the grace; those of the second come to that when it begins.
fn plan() -> Variant {
    let mut plan = base(1, DAYS_30, 10);
    plan.grants[0].expires_after = Some(Period { count: 33, unit: PeriodUnit::Day });
    plan.grants.push(monthly(20));
    plan
}

#[test]
fn what_a_missed_payment_moves_to_the_same_end_burns_in_the_order_of_granting_for_everybody() {
    let mut story = life([plan()]);
    story.subscribe(day(0), 1);
    let before = vec![(1, 20), (0, 5)];
    assert_eq!(burnt(&story, day(29), 25), (before.clone(), before));
    let overdue = vec![(0, 10), (1, 15)];
    assert_eq!(burnt(&story, day(31), 25), (overdue.clone(), overdue));
    assert_eq!(story.balance(day(31)), 30);
}

#[test]
fn what_time_alone_has_granted_is_in_that_order_too() {
    let mut story = life([plan()]);
    let id = story.subscribe(day(0), 1);
    story.ask(day(28), id, Action::Renew).unwrap();
    let before = vec![(1, 20), (0, 5)];
    assert_eq!(burnt(&story, day(59), 25), (before.clone(), before));
    let overdue = vec![(0, 10), (1, 15)];
    assert_eq!(burnt(&story, day(61), 25), (overdue.clone(), overdue));
    assert_eq!(story.balance(day(61)), 30);
}

#[test]
fn equal_top_ups_are_one_tranche_unless_what_a_plan_gave_may_come_to_stand_between_them() {
    let end = day(33);
    let like = || Grant { expires_at: Some(end), ..grant(10) };
    let mut story = life([base(1, DAYS_30, 70)]);
    for _ in 0..3 {
        story.apply(day(0), like()).unwrap();
    }
    story.subscribe(day(0), 1);
    for _ in 0..3 {
        story.apply(day(0), like()).unwrap();
    }
    let rows = |story: &Story| -> Vec<(u32, i64)> {
        published(story).iter().map(|tranche| (tranche.granted, tranche.lot.remaining.get())).collect()
    };
    assert_eq!(rows(&story), [(1, 70), (0, 30), (2, 30)]);
    // Past due, the plan's credit ends with them, and was granted between them.
    let amounts = |now| {
        let mut wallet = AccountState::publish(&story.account, 1, &story.catalogue).wallet;
        read_at(&mut wallet, &story.catalogue, now);
        wallet.lots.iter().map(|tranche| tranche.lot.remaining.get()).collect::<Vec<_>>()
    };
    assert_eq!(amounts(day(31)), [30, 70, 30]);
    assert_eq!(story.balance(day(31)), 130);
    // Of another priority it never ties with them.
    let mut plan = base(1, DAYS_30, 70);
    plan.grants[0].priority = 50;
    let mut story = life([plan]);
    story.apply(day(0), like()).unwrap();
    story.subscribe(day(0), 1);
    story.apply(day(0), like()).unwrap();
    assert_eq!(rows(&story), [(1, 70), (0, 20)]);
}
