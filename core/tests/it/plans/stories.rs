//! Stories of credit that plans and top-ups give side by side.

use quotastack_core::ledger::block::BlockKind;
use quotastack_core::ledger::command::{Command, Grant, TopupOrder};
use quotastack_core::subscription::order::ChangeCredits;

use super::*;
use crate::support::{grant, topup, usage};

/// A pack of `amount` that burns after what plans give.
fn pack(name: &str, amount: i64) -> Command {
    let order = topup(name, amount);
    Command::TopUp(TopupOrder { grant: Grant { priority: 200, paid: true, ..grant(amount) }, ..order })
}

#[test]
fn who_is_on_the_free_plan_meets_the_paywall_and_goes_on_with_packs() {
    let mut story = life([fallback(base(1, DAYS_30, 50))]);
    story.subscribe(day(0), 1);
    story.apply(day(3), usage("all of it", "f", 50)).unwrap();
    let wall = Refusal::InsufficientCredits { cost: credits(1), spendable: credits(0) };
    assert_eq!(story.apply(day(3), usage("one more", "f", 1)), Err(wall));
    story.apply(day(4), pack("first", 100)).unwrap();
    story.apply(day(4), usage("one more", "f", 30)).unwrap();
    assert_eq!([4, 29, 30].map(|number| story.balance(day(number))), [70, 70, 70 + 50], "packs stay, the month is new");
    story.apply(day(31), usage("of both", "f", 60)).unwrap();
    assert_eq!([31, 60].map(|number| story.balance(day(number))), [60, 60 + 50], "the month's burnt before the pack");
}

#[test]
fn an_upgrade_and_a_downgrade_half_way_in_each_mode() {
    let story = life([base(1, DAYS_30, 1_000), base(2, DAYS_30, 4_000)]);
    let changed = |from, to, credits| {
        let mut story = story.clone();
        let id = story.subscribe(day(0), from);
        story.apply(day(1), usage("some", "f", 200)).unwrap();
        story.change(day(15), id, to, credits);
        let end = story.account.wallet.base().unwrap().current_period.end;
        (story.balance(day(15)), end)
    };
    assert_eq!(changed(1, 2, ChangeCredits::Prorate), (300 + 2_000, day(30)), "half of 1,000 goes back");
    assert_eq!(changed(1, 2, ChangeCredits::Reset), (4_000, day(45)));
    assert_eq!(changed(1, 2, ChangeCredits::KeepAndAdd), (800 + 4_000, day(30)));
    assert_eq!(changed(2, 1, ChangeCredits::Prorate), (1_800 + 500, day(30)), "half of 4,000 goes back");
    assert_eq!(changed(2, 1, ChangeCredits::Reset), (1_000, day(45)));
    assert_eq!(changed(2, 1, ChangeCredits::KeepAndAdd), (3_800 + 1_000, day(30)));
}

#[test]
fn a_pack_that_was_bought_before_an_upgrade_survives_it() {
    for mode in [ChangeCredits::Prorate, ChangeCredits::Reset, ChangeCredits::KeepAndAdd] {
        let mut story = life([base(1, DAYS_30, 100), base(2, DAYS_30, 900)]);
        let id = story.subscribe(day(0), 1);
        story.apply(day(1), pack("bought", 70)).unwrap();
        story.apply(day(2), usage("all of the plan's and some", "f", 110)).unwrap();
        story.change(day(15), id, 2, mode);
        let bought = story.account.wallet.lots.iter().find(|block| block.lot.kind == BlockKind::Topup).unwrap();
        assert_eq!((bought.lot.remaining, bought.lot.expires_at), (credits(60), None), "{mode:?}");
        // Half of the 100 was not earned and is spent: under prorate it is owed, and never taken from what was bought.
        let given = if mode == ChangeCredits::Prorate { 450 - 50 } else { 900 };
        assert_eq!(story.balance(day(15)), 60 + given, "{mode:?}");
    }
}
