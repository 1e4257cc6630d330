//! What a void brings back to a block that was used up: it meets what its subscription has done to the block meanwhile,
//! as if one credit had been left. Source: docs/subscriptions.md, "What time does".

use quotastack_core::ledger::command::Void;

use super::*;
use crate::support::usage;

const ALL: i64 = 1_000;

fn pause(story: &mut Story, id: SubscriptionId, number: i64) {
    story.ask(day(number), id, Action::Pause { at: When::Now, resume_at: None }).unwrap();
}

fn resume(story: &mut Story, id: SubscriptionId, number: i64) {
    story.ask(day(number), id, Action::Resume).unwrap();
}

fn use_up(story: &mut Story, number: i64, amount: i64) {
    story.apply(day(number), usage("all", "f", amount)).unwrap();
}

fn void(story: &mut Story, number: i64) {
    let usage_id = usage("all", "f", 1).id;
    story.apply(day(number), Command::Void(Void { usage_id, reason: None })).unwrap();
}

/// The balances on these days of a life in which `story` uses all there is, and of one in which it uses one less, less
/// what that one has left: the same.
fn of_all_and_of_all_but_one(
    variants: impl IntoIterator<Item = Variant>,
    days: &[i64],
    happens: impl Fn(&mut Story, SubscriptionId, i64),
) -> Vec<i64> {
    let mut story = life(variants);
    let id = story.subscribe(day(0), 1);
    let balances = [ALL, ALL - 1].map(|amount| {
        let mut story = story.clone();
        happens(&mut story, id, amount);
        days.iter().map(|number| story.balance(day(*number))).collect::<Vec<_>>()
    });
    assert_eq!(balances[0], balances[1], "one credit more or less makes no difference");
    balances[0].clone()
}

fn plan() -> Variant {
    postpaid(base(1, DAYS_30, ALL))
}

#[test]
fn after_a_pause_in_which_it_was_used_up() {
    let balances = of_all_and_of_all_but_one([plan()], &[25, 39, 40], |story, id, amount| {
        pause(story, id, 10);
        use_up(story, 11, amount);
        resume(story, id, 20);
        void(story, 25);
    });
    assert_eq!(balances, [ALL, ALL, ALL], "it ends with its period on day 40, and the next one gives");
}

#[test]
fn after_a_pause_before_which_it_was_used_up() {
    let balances = of_all_and_of_all_but_one([plan()], &[35, 39, 40], |story, id, amount| {
        use_up(story, 5, amount);
        pause(story, id, 10);
        resume(story, id, 20);
        void(story, 35);
    });
    assert_eq!(balances, [ALL, ALL, ALL]);
}

#[test]
fn inside_a_pause() {
    let balances = of_all_and_of_all_but_one([plan()], &[12, 31, 100], |story, id, amount| {
        use_up(story, 5, amount);
        pause(story, id, 10);
        void(story, 12);
    });
    assert_eq!(balances, [ALL, ALL, ALL], "nothing expires");
}

#[test]
fn inside_the_grace_and_after_it() {
    let prepaid = || base(1, DAYS_30, ALL);
    let balances = of_all_and_of_all_but_one([prepaid()], &[31, 32, 33], |story, _, amount| {
        use_up(story, 5, amount);
        story.touch(day(30));
        void(story, 31);
    });
    assert_eq!(balances, [ALL, ALL, 0]);
    let balances = of_all_and_of_all_but_one([prepaid()], &[32], |story, id, amount| {
        use_up(story, 30, amount);
        story.ask(day(31), id, Action::Renew).unwrap();
        void(story, 32);
    });
    assert_eq!(balances, [ALL], "what the old period had is over");
}

#[test]
fn after_a_reset_and_after_an_end_that_voids() {
    let balances = of_all_and_of_all_but_one([plan(), postpaid(base(2, DAYS_30, 2_000))], &[7], |story, id, amount| {
        use_up(story, 5, amount);
        story.change(day(6), id, 2, ChangeCredits::Reset);
        void(story, 7);
    });
    assert_eq!(balances, [2_000]);
    let balances = of_all_and_of_all_but_one([plan()], &[7], |story, id, amount| {
        use_up(story, 5, amount);
        story.ask(day(6), id, Action::Cancel { at: When::Now, credits: EndCredits::Void }).unwrap();
        void(story, 7);
    });
    assert_eq!(balances, [0]);
}

#[test]
fn what_comes_back_rolls_over_once_up_to_its_cap() {
    let rolls = |cap| rolling(base(1, DAYS_30, ALL), 100, cap);
    let story_of = |renewed_on: i64| {
        let mut story = life([rolls(Some(300))]);
        let id = story.subscribe(day(0), 1);
        story.ask(day(15), id, Action::SetQuantity(2)).unwrap();
        story.apply(day(16), usage("all", "f", 500)).unwrap();
        story.ask(day(renewed_on), id, Action::Renew).unwrap();
        story.touch(day(31));
        void(&mut story, 32);
        story.balance(day(32))
    };
    assert_eq!([story_of(29), story_of(31)], [2_300, 2_300], "renewed in time, and in the grace");
}

#[test]
fn what_comes_back_rolls_over_into_another_plan_too() {
    let variants = || [rolling(postpaid(base(1, DAYS_30, ALL)), 100, None), postpaid(base(2, DAYS_30, 2_000))];
    let balances = of_all_and_of_all_but_one(variants(), &[31], |story, id, amount| {
        let (variant_id, credits) = (variant_id(2), ChangeCredits::Prorate);
        story.ask(day(1), id, Action::Change { variant_id, quantity: None, at: When::PeriodEnd, credits }).unwrap();
        use_up(story, 5, amount);
        void(story, 31);
    });
    assert_eq!(balances, [3_000]);
}
