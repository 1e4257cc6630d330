//! Numbers that were worked out by hand from docs/ledger.md, as bank statements: `kind amount = balance reserved debt`.

use super::story::{
    HOUR, START, Story, commit, days, feature, grant, grant_for, grant_until, refund, reserve, topup, usage, usage_at,
    usage_of,
};
use super::{Answer, Command, Commit, Grant, OverCommit, Policy, SECOND, Use};

fn overdraft() -> Story {
    Story::new([("f", feature(Policy::Overdraft, None))])
}

fn block() -> Story {
    Story::new([("f", feature(Policy::Block, None))])
}

fn adjust(amount: i64, allow_negative: bool) -> Command {
    Command::Adjust { amount, block: None, feature: None, allow_negative }
}

#[test]
fn late_usage_is_paid_from_what_has_expired_since_then_from_what_is_there() {
    let mut story = block();
    story.at(0, grant_until(100, days(1))).unwrap();
    story.at(days(2), grant(50)).unwrap();
    story.reads(&["Grant +100 = 100 0 0", "Expire -100 = 0 0 0", "Grant +50 = 50 0 0"]);

    story.at(days(2), usage_at("a", 70, HOUR)).unwrap();
    story.reads(&["Expire +70 = 120 0 0", "Usage -70 = 50 0 0"]);
    assert_eq!(story.figures().blocks[&0].expired, 30);

    story.at(days(2), usage_at("b", 40, HOUR)).unwrap();
    story.reads(&["Expire +30 = 80 0 0", "Usage -40 = 40 0 0"]);
    assert_eq!(story.remaining(), [0, 40]);

    // Exactly at its end the block was not usable; and what comes back to it expires again.
    assert_eq!(story.at(days(2), usage_at("c", 41, days(1))), Err("insufficient_credits"));
    story.at(days(2), Command::Void { event: 0 }).unwrap();
    story.reads(&["Void +70 = 110 0 0", "Expire -70 = 40 0 0"]);
    assert_eq!((story.figures().lifetime_granted, story.figures().lifetime_consumed), (150, 110));
}

#[test]
fn late_usage_may_be_35_days_old_and_five_minutes_ahead() {
    let mut story = overdraft();
    let now = days(40);
    assert_eq!(story.at(now, usage_at("a", 1, now - days(35) - 1)), Err("validation_failed"));
    assert_eq!(story.at(now, usage_at("a", 1, now + 300 * SECOND + 1)), Err("validation_failed"));
    story.at(now, usage_at("a", 1, now - days(35))).unwrap();
    story.at(now, usage_at("b", 1, now + 300 * SECOND)).unwrap();
    assert_eq!(story.model.events[1].effective_at, START + now);
}

#[test]
fn what_a_sidecar_admitted_is_recorded_whatever_its_time_and_the_credit() {
    let mut story = Story::new([("f", feature(Policy::Block, None)), ("c", feature(Policy::Cap, None))]);
    story.at(0, grant(10)).unwrap();
    let admitted = |of: Use| Use { admitted_at: Some(START), ..of };
    story.at(days(60), admitted(usage("a", 15))).unwrap();
    assert_eq!(story.model.events[0].effective_at, START + days(25));
    assert_eq!(story.totals(), (-5, 0, 5));
    story.at(days(60), admitted(usage_of("c", "b", 15))).unwrap();
    assert_eq!(story.totals(), (-5, 0, 5));
}

#[test]
fn a_void_lowers_the_open_debt_and_walks_back_two_settlements() {
    let mut story = overdraft();
    story.at(0, usage("a", 30)).unwrap();
    story.at(1, grant(10)).unwrap();
    story.at(2, grant(12)).unwrap();
    story.reads(&[
        "Usage +0 = 0 0 0",
        "Debt -30 = -30 0 30",
        "Grant +10 = -20 0 30",
        "DebtSettled +0 = -20 0 20",
        "Grant +12 = -8 0 20",
        "DebtSettled +0 = -8 0 8",
    ]);
    // 8 were still open; 12 come back to the newer block and 10 to the older.
    story.at(3, Command::Void { event: 0 }).unwrap();
    story.reads(&["Void +30 = 22 0 0"]);
    assert_eq!(story.remaining(), [10, 12]);
    assert!(story.at(4, Command::Void { event: 0 }).unwrap().replayed);
    story.reads(&[]);
}

#[test]
fn a_void_walks_back_the_settlements_newest_first_and_no_further_than_its_debt() {
    let mut story = overdraft();
    story.at(0, usage("a", 10)).unwrap();
    story.at(0, usage("b", 15)).unwrap();
    story.at(1, grant(20)).unwrap();
    story.at(2, grant(20)).unwrap();
    assert_eq!((story.remaining(), story.totals()), (vec![0, 15], (15, 0, 0)));
    // The newer block settled 5 and the older 20: the first void takes 5 and 5, the second the other 15.
    story.at(3, Command::Void { event: 0 }).unwrap();
    assert_eq!(story.remaining(), [5, 20]);
    story.at(4, Command::Void { event: 1 }).unwrap();
    assert_eq!(story.remaining(), [20, 20]);
}

#[test]
fn s11_a_refund_with_claw_back_then_the_void_of_what_was_spent() {
    let mut story = block();
    story.at(0, topup("p", 100)).unwrap();
    story.at(1, usage("a", 30)).unwrap();
    story.at(2, refund("p", None, true)).unwrap();
    story.reads(&["Grant +100 = 100 0 0", "Usage -30 = 70 0 0", "Refund -70 = 0 0 0", "Debt -30 = -30 0 30"]);
    story.at(3, Command::Void { event: 0 }).unwrap();
    story.reads(&["Void +30 = 0 0 30", "DebtSettled +0 = 0 0 0"]);
    assert_eq!(story.at(4, refund("p", None, true)), Err("invalid_transition"));
}

#[test]
fn a_refund_without_claw_back_takes_what_comes_back_later() {
    let mut story = block();
    story.at(0, topup("p", 100)).unwrap();
    story.at(1, usage("a", 30)).unwrap();
    story.at(2, refund("p", None, false)).unwrap();
    story.at(3, Command::Void { event: 0 }).unwrap();
    story.reads(&[
        "Grant +100 = 100 0 0",
        "Usage -30 = 70 0 0",
        "Refund -70 = 0 0 0",
        "Void +30 = 30 0 0",
        "Refund -30 = 0 0 0",
    ]);
}

#[test]
fn a_refund_beside_an_open_hold_that_is_released() {
    let mut story = block();
    story.at(0, topup("p", 100)).unwrap();
    story.at(1, reserve(40)).unwrap();
    story.at(2, refund("p", None, true)).unwrap();
    story.at(3, Command::Release { hold: 0 }).unwrap();
    story.reads(&[
        "Grant +100 = 100 0 0",
        "Hold +0 = 100 40 0",
        "Refund -60 = 40 40 0",
        "Debt -40 = 0 40 40",
        "Release +0 = 0 0 40",
        "DebtSettled +0 = 0 0 0",
    ]);
}

#[test]
fn a_refund_beside_an_open_hold_that_is_committed() {
    let mut story = block();
    story.at(0, topup("p", 100)).unwrap();
    story.at(1, reserve(40)).unwrap();
    story.at(2, refund("p", None, true)).unwrap();
    story.at(3, commit(0, 25)).unwrap();
    story.reads(&[
        "Grant +100 = 100 0 0",
        "Hold +0 = 100 40 0",
        "Refund -60 = 40 40 0",
        "Debt -40 = 0 40 40",
        "Commit -25 = -25 15 40",
        "Release +0 = -25 0 40",
        "DebtSettled +0 = -25 0 25",
    ]);
}

#[test]
fn a_partial_refund_leaves_the_block_alive() {
    let mut story = block();
    story.at(0, topup("p", 100)).unwrap();
    story.at(1, usage("a", 80)).unwrap();
    story.at(2, refund("p", Some(15), false)).unwrap();
    assert_eq!(story.remaining(), [5]);
    story.at(3, Command::Void { event: 0 }).unwrap();
    assert_eq!(story.remaining(), [85]);
    assert_eq!(story.at(4, refund("p", Some(86), false)), Err("validation_failed"));
    story.at(4, refund("p", Some(85), false)).unwrap();
    assert_eq!((story.remaining(), story.totals()), (vec![0], (0, 0, 0)));
}

#[test]
fn what_expired_is_not_clawed_back_and_nothing_is_clawed_back_twice() {
    let mut story = block();
    let grant = grant_until(100, days(1));
    story.at(0, Command::Topup { payment_reference: "p".to_owned(), grant }).unwrap();
    story.at(1, usage("a", 30)).unwrap();
    story.wait_until(days(1));
    assert_eq!(story.at(days(2), refund("p", Some(20), true)).unwrap().debt, 20);
    assert_eq!(story.at(days(2), refund("p", None, true)).unwrap().debt, 10);
}

#[test]
fn a_cap_trims_before_debt_is_settled() {
    let mut story = overdraft();
    let capped = |amount| Grant { accumulation_cap: Some(50), cap_group: Some("g".to_owned()), ..grant(amount) };
    story.at(0, capped(30)).unwrap();
    story.at(1, usage("a", 70)).unwrap();
    story.reads(&["Grant +30 = 30 0 0", "Usage -30 = 0 0 0", "Debt -40 = -40 0 40"]);
    // 100 is cut to 50; of these 40 pay the debt. Then 40 fit.
    assert_eq!(story.at(2, capped(100)).unwrap().trimmed, 50);
    story.reads(&["Grant +50 = 10 0 40", "DebtSettled +0 = 10 0 0"]);
    assert_eq!(story.at(3, capped(100)).unwrap().trimmed, 60);
    let none = Answer { trimmed: 5, ..Answer::default() };
    assert_eq!(story.at(4, capped(5)), Ok(none));
    story.reads(&["Grant +40 = 50 0 0", "Grant +0 = 50 0 0"]);
    assert_eq!(story.remaining(), [0, 10, 40]);
}

#[test]
fn an_adjustment_below_zero_is_settled_by_a_grant_without_scope() {
    let mut story = block();
    story.at(0, grant(10)).unwrap();
    assert_eq!(story.at(1, adjust(-25, false)), Err("insufficient_credits"));
    story.at(1, adjust(-25, true)).unwrap();
    story.at(2, grant_for(40, "f")).unwrap();
    story.at(3, grant(40)).unwrap();
    story.reads(&[
        "Grant +10 = 10 0 0",
        "Adjust -10 = 0 0 0",
        "Debt -15 = -15 0 15",
        "Grant +40 = 25 0 15",
        "Grant +40 = 65 0 15",
        "DebtSettled +0 = 65 0 0",
    ]);
    assert_eq!(story.remaining(), [0, 40, 25]);
    assert_eq!(story.figures().lifetime_consumed, 0);
}

#[test]
fn a_positive_adjustment_is_a_block_for_the_feature() {
    let mut story = Story::new([("f", feature(Policy::Block, None)), ("g", feature(Policy::Block, None))]);
    let for_g = Command::Adjust { amount: 9, block: None, feature: Some("g".to_owned()), allow_negative: false };
    story.at(0, for_g).unwrap();
    story.reads(&["Adjust +9 = 9 0 0"]);
    assert_eq!(story.at(1, usage("a", 1)), Err("insufficient_credits"));
    story.at(1, usage_of("g", "a", 9)).unwrap();
    assert_eq!(story.figures().lifetime_granted, 9);
}

#[test]
fn scoped_debts_are_paid_oldest_first_by_blocks_that_may() {
    let overdraft = || feature(Policy::Overdraft, None);
    let mut story = Story::new([("a", overdraft()), ("b", overdraft())]);
    story.at(0, usage_of("b", "1", 10)).unwrap();
    story.at(1, usage_of("a", "2", 10)).unwrap();
    story.at(2, grant_for(4, "a")).unwrap();
    story.at(3, grant(12)).unwrap();
    // 4 to a by its own block; of 12, 10 to b which is older and 2 to a.
    let figures = story.figures();
    assert_eq!((figures.debts[&Some("a".to_owned())], figures.debts.len()), (4, 1));
    assert_eq!((figures.features["a"].balance, figures.features["b"].balance), (-4, 0));
}

#[test]
fn a_block_that_opted_out_settles_nothing_and_still_pays() {
    let mut story = overdraft();
    story.at(0, usage("a", 5)).unwrap();
    story.at(1, Grant { settles_debt: false, ..grant(8) }).unwrap();
    assert_eq!((story.totals(), story.figures().features["f"].spendable), ((3, 0, 5), 8));
    story.at(2, usage("b", 8)).unwrap();
    assert_eq!(story.totals(), (-5, 0, 5));
}

#[test]
fn the_limit_counts_debt_and_what_open_holds_do_not_cover() {
    let mut story = Story::new([("f", feature(Policy::Notify, Some(10)))]);
    story.at(0, grant(5)).unwrap();
    assert_eq!(story.at(1, reserve(9)).unwrap().uncovered, 4);
    assert_eq!(story.at(2, usage("a", 7)), Err("overdraft_limit"));
    story.at(2, usage("a", 6)).unwrap();
    // 9 are within what the hold asked for: no new debt beyond it. 10 would be.
    assert_eq!(story.at(3, commit(0, 10)), Err("overdraft_limit"));
    story.at(3, commit(0, 9)).unwrap();
    assert_eq!(story.totals(), (-10, 0, 10));
}

#[test]
fn above_the_hold_cap_charges_what_is_held_and_uncovered_and_reject_nothing_above() {
    let over = |over_commit, units| Commit { over_commit, ..commit(0, units) };
    let mut story = overdraft();
    story.at(0, grant(5)).unwrap();
    story.at(1, reserve(8)).unwrap();
    assert_eq!(story.at(2, over(OverCommit::Reject, 9)), Err("over_commit"));
    let answer = story.at(2, over(OverCommit::Cap, 20)).unwrap();
    assert_eq!((answer.credit, answer.debt), (5, 3));
    story.reads(&["Grant +5 = 5 0 0", "Hold +0 = 5 5 0", "Commit -5 = 0 0 0", "Debt -3 = -3 0 3"]);
}

#[test]
fn a_commit_after_the_end_can_be_ordinary_usage() {
    let mut story = block();
    story.at(0, grant(10)).unwrap();
    story.at(0, reserve(8)).unwrap();
    story.at(HOUR, Commit { late_debit: true, key: Some("k".to_owned()), ..commit(0, 4) }).unwrap();
    story.reads(&["Grant +10 = 10 0 0", "Hold +0 = 10 8 0", "HoldExpired +0 = 10 0 0", "Usage -4 = 6 0 0"]);
    assert!(story.at(HOUR, Commit { late_debit: true, key: Some("k".to_owned()), ..commit(0, 4) }).unwrap().replayed);
    let again = Commit { late_debit: true, key: Some("another".to_owned()), ..commit(0, 4) };
    assert_eq!(story.at(HOUR, again), Err("reservation_committed"), "the same work is not charged twice");
    assert_eq!(story.at(HOUR, commit(0, 4)), Err("reservation_committed"));
    assert_eq!(story.totals(), (6, 0, 0));
}

#[test]
fn a_voided_commit_returns_to_the_blocks_and_not_to_the_hold() {
    let mut story = block();
    story.at(0, grant(10)).unwrap();
    story.at(0, reserve(8)).unwrap();
    story.at(1, Commit { is_final: false, ..commit(0, 3) }).unwrap();
    story.at(2, Command::Void { event: 0 }).unwrap();
    assert_eq!(story.totals(), (10, 5, 0));
    story.at(3, commit(0, 2)).unwrap();
    assert_eq!(story.totals(), (8, 0, 0));
}

#[test]
fn what_comes_back_to_a_voided_block_is_withdrawn() {
    let mut story = block();
    story.at(0, grant(10)).unwrap();
    story.at(1, reserve(4)).unwrap();
    story.at(2, Command::VoidBlock { block: 0 }).unwrap();
    story.at(3, Command::Release { hold: 0 }).unwrap();
    story.reads(&[
        "Grant +10 = 10 0 0",
        "Hold +0 = 10 4 0",
        "Withdraw -6 = 4 4 0",
        "Release +0 = 4 0 0",
        "Withdraw -4 = 0 0 0",
    ]);
}

#[test]
fn at_one_instant_holds_end_then_blocks_end_then_blocks_start_then_debt_is_settled() {
    let mut story = overdraft();
    let end = 300 * SECOND;
    story.at(0, grant_until(10, end)).unwrap();
    story.at(0, Grant { effective_at: Some(START + end), ..grant(7) }).unwrap();
    story.at(0, reserve(10)).unwrap();
    story.at(1, usage("a", 4)).unwrap();
    story.wait_until(end);
    story.reads(&[
        "Grant +10 = 10 0 0",
        "Grant +0 = 10 0 0",
        "Hold +0 = 10 10 0",
        "Usage +0 = 10 10 0",
        "Debt -4 = 6 10 4",
        "HoldExpired +0 = 6 0 4",
        "Expire -10 = -4 0 4",
        "Start +7 = 3 0 4",
        "DebtSettled +0 = 3 0 0",
    ]);
}

#[test]
fn what_comes_back_lowers_the_claw_back_debt_of_its_block_and_the_rest_is_free() {
    // Only for f: it settles no debt without a feature, but what was clawed back of itself.
    let mut story = block();
    let grant = grant_for(100, "f");
    story.at(0, Command::Topup { payment_reference: "p".to_owned(), grant }).unwrap();
    story.at(1, usage("a", 80)).unwrap();
    let answer = story.at(2, refund("p", Some(50), true)).unwrap();
    assert_eq!((answer.credit, answer.debt), (20, 30));
    story.at(3, Command::Void { event: 0 }).unwrap();
    assert_eq!((story.remaining(), story.totals()), (vec![50], (50, 0, 0)));
    story.at(4, usage("b", 50)).unwrap();
    assert_eq!(story.at(5, refund("p", None, true)).unwrap().debt, 50);
}

#[test]
fn a_payment_reference_is_one_topup_for_ever() {
    let mut story = block();
    story.at(0, topup("p", 100)).unwrap();
    assert!(story.at(1, topup("p", 100)).unwrap().replayed);
    assert_eq!(story.at(1, topup("p", 101)), Err("idempotency_conflict"));
    story.at(2, refund("p", None, false)).unwrap();
    assert!(story.at(3, topup("p", 100)).unwrap().replayed);
    assert_eq!(story.totals(), (0, 0, 0));
}

#[test]
fn a_hold_lives_a_second_to_a_day_and_no_longer_than_that_by_extending() {
    let mut story = block();
    let reserve = |ttl| match reserve(1) {
        Command::Reserve { feature, units, properties, .. } => Command::Reserve { feature, units, properties, ttl },
        other => other,
    };
    story.at(0, grant(10)).unwrap();
    assert_eq!(story.at(0, reserve(SECOND - 1)), Err("validation_failed"));
    assert_eq!(story.at(0, reserve(days(1) + 1)), Err("validation_failed"));
    story.at(0, reserve(HOUR)).unwrap();
    story.at(HOUR - 1, Command::Extend { hold: 0, ttl: days(1) }).unwrap();
    story.wait_until(days(1) - 1);
    assert_eq!(story.totals(), (10, 1, 0));
    story.wait_until(days(1));
    assert_eq!(story.totals(), (10, 0, 0));
    assert_eq!(story.at(days(1), Command::Extend { hold: 0, ttl: HOUR }), Err("reservation_expired"));
}

#[test]
fn a_call_may_ask_for_block_or_cap_and_for_debt_only_where_the_policy_is_debt() {
    let features = [("f", feature(Policy::Block, None)), ("o", feature(Policy::Overdraft, None))];
    let mut story = Story::new(features);
    let asking = |of: Use, policy| Use { on_insufficient: Some(policy), ..of };
    story.at(0, grant(10)).unwrap();
    assert_eq!(story.at(1, asking(usage("a", 15), Policy::Notify)), Err("validation_failed"));
    assert_eq!(story.at(1, asking(usage_of("o", "a", 15), Policy::Block)), Err("insufficient_credits"));
    assert_eq!(story.at(1, asking(usage("a", 15), Policy::Cap)).unwrap().cost(), 10);
    assert_eq!(story.at(2, asking(usage_of("o", "b", 15), Policy::Notify)).unwrap().debt, 15);
}

#[test]
fn amounts_stay_within_two_to_the_53() {
    let mut story = block();
    story.at(0, grant((1 << 53) - 1)).unwrap();
    assert_eq!(story.at(1, grant(1)), Err("amount_out_of_range"));
    assert_eq!(story.at(1, usage("a", 1 << 53)), Err("amount_out_of_range"));
}
