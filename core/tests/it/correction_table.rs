//! What people take back, as bank statements. Source: docs/ledger.md, "Corrections by people" and "Debts and
//! settlement".

use quotastack_core::catalogue::OveragePolicy;
use quotastack_core::ids::BlockId;
use quotastack_core::ledger::command::{Adjust, Command, Commit, Grant, Refund, TopupOrder, Usage, Void, VoidBlock};
use quotastack_core::ledger::debt::DebtOf;
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::ledger::refusal::Refusal;

use crate::support::{Story, at, catalogue, commit, credits, feature_key, grant, metered, reserve, topup, usage};

fn story() -> Story {
    Story::new(catalogue([
        ("a", metered(OveragePolicy::Block, None)),
        ("c", metered(OveragePolicy::Cap, None)),
        ("f", metered(OveragePolicy::Block, None)),
    ]))
}

fn bought(order: TopupOrder) -> Command {
    Command::TopUp(order)
}

fn refund(name: &str, amount: Option<i64>) -> Command {
    Command::Refund(Refund {
        topup_id: topup(name, 1).id,
        amount: amount.map(credits),
        claw_back_spent: true,
        reason: None,
    })
}

fn lower(amount: i64) -> Command {
    Command::Adjust(Adjust {
        amount: credits(-amount),
        reason: "because".to_owned(),
        block_id: None,
        feature_key: None,
        allow_negative: true,
        priority: 100,
        expires_at: None,
    })
}

fn void(event: &Usage) -> Command {
    Command::Void(Void { usage_id: event.id, reason: None })
}

fn void_block(block_id: BlockId) -> Command {
    Command::VoidBlock(VoidBlock { block_id, reason: "because".to_owned() })
}

fn scoped(name: &str, amount: i64, feature: &str) -> TopupOrder {
    let order = topup(name, amount);
    TopupOrder { grant: Grant { feature_keys: vec![feature_key(feature)], ..order.grant.clone() }, ..order }
}

#[test]
fn debt_without_feature_is_one_figure_whatever_it_came_from() {
    let mut story = story();
    story.apply(at(0), bought(topup("first", 10))).unwrap();
    story.apply(at(0), bought(topup("second", 10))).unwrap();
    story.apply(at(0), usage("all", "f", 20)).unwrap();
    story.apply(at(1), refund("first", None)).unwrap();
    story.apply(at(2), refund("second", None)).unwrap();
    story.apply(at(3), lower(5)).unwrap();
    let debts: Vec<_> = story.account.wallet.debts.iter().collect();
    let [debt] = debts[..] else { panic!("{debts:?}") };
    assert_eq!((&debt.of, debt.amount), (&DebtOf::Correction, credits(25)));
    let first = story.effects.entries.iter().find(|entry| entry.body.owed.is_some()).unwrap();
    assert_eq!(debt.since, first.seq, "it rose from 0 once");
    story.apply(at(4), grant(40)).unwrap();
    assert_eq!(story.read(at(4)), (15, 0));
}

#[test]
fn what_comes_back_to_a_block_pays_its_own_claw_back_first_also_in_part_and_in_scope() {
    let mut story = story();
    story.apply(at(0), bought(scoped("pack", 100, "f"))).unwrap();
    let event = usage("used", "f", 30);
    story.apply(at(0), event.clone()).unwrap();
    story.apply(at(0), Command::Reserve(reserve("hold", "f", 50, 3_600))).unwrap();
    // 20 are free; of the 60 that are asked back, 40 were spent or are held.
    story.apply(at(1), refund("pack", Some(60))).unwrap();
    assert_eq!(story.read(at(1)), (10, 40));
    // An adjustment's debt is part of the same figure, but the block owes 40 only.
    story.apply(at(2), lower(7)).unwrap();
    story.apply(at(3), Command::Release(crate::support::reservation_id("hold"))).unwrap();
    assert_eq!(story.read(at(3)), (3, 7), "10 of the 50 are free, and a scoped block pays no correction");
    assert_eq!(story.account.wallet.lots[0].lot.claw_back, credits(0));
    story.apply(at(4), void(&event)).unwrap();
    assert_eq!(story.read(at(4)), (33, 7));
}

#[test]
fn a_refund_takes_what_has_expired_too_so_that_late_usage_has_it_no_more() {
    let mut story = story();
    let order = topup("pack", 100);
    let ends = Grant { expires_at: Some(at(10)), ..order.grant.clone() };
    story.apply(at(0), bought(TopupOrder { grant: ends, ..order })).unwrap();
    let late = |key| Usage { effective_at: Some(at(5)), ..usage(key, "f", 30) };
    story.apply(at(20), refund("pack", Some(60))).unwrap();
    story.apply(at(20), late("the rest")).unwrap();
    let refused = story.apply(at(20), late("too much")).unwrap_err();
    assert_eq!(refused, Refusal::InsufficientCredits { cost: credits(30), spendable: credits(10) });
    story.apply(at(20), refund("pack", None)).unwrap();
    let refused = story.apply(at(20), late("nothing")).unwrap_err();
    assert_eq!(refused, Refusal::InsufficientCredits { cost: credits(30), spendable: credits(0) });
    assert_eq!(
        story.statement(),
        [
            "0s grant +100 = 100",
            "10s expire -100 = 0",
            "20s expire +60 = 60",
            "20s refund -60 = 0",
            "5s expire +30 = 30",
            "5s usage -30 = 0",
            "20s expire +10 = 10",
            "20s refund -10 = 0",
            "20s debt -30 = -30, owes 30",
        ]
    );
}

#[test]
fn a_block_is_voided_once_and_once_more_changes_nothing() {
    let mut story = story();
    story.apply(at(0), grant(10)).unwrap();
    let block = story.account.wallet.lots[0].id;
    story.apply(at(1), void_block(block)).unwrap();
    let (entries, version) = (story.effects.entries.len(), story.account.version);
    let Ok(Outcome::BlockVoided { withdrawn, .. }) = story.apply(at(2), void_block(block)) else { panic!("voided") };
    assert_eq!((withdrawn, story.effects.entries.len(), story.account.version), (credits(0), entries, version));
}

#[test]
fn what_a_cap_left_out_of_a_commit_is_asked_for_by_the_next() {
    let mut story = story();
    story.apply(at(0), grant(4)).unwrap();
    story.apply(at(0), Command::Reserve(reserve("hold", "c", 4, 3_600))).unwrap();
    let part = |usage: &str, units, is_final| Command::Commit(Commit { is_final, ..commit("hold", usage, units) });
    let charged = |outcome| match outcome {
        Ok(Outcome::Committed { record, .. }) => (record.cost.get(), record.charged.get()),
        other => panic!("{other:?}"),
    };
    assert_eq!(charged(story.apply(at(1), part("first", 10, false))), (10, 4));
    story.apply(at(2), grant(100)).unwrap();
    assert_eq!(charged(story.apply(at(3), part("second", 5, true))), (11, 11), "15 units are one event");
}

#[test]
fn work_that_ends_after_its_reservation_may_be_committed_in_parts() {
    let mut story = story();
    story.apply(at(0), grant(100)).unwrap();
    story.apply(at(0), Command::Reserve(reserve("hold", "f", 10, 60))).unwrap();
    let late = |usage, is_final| Command::Commit(Commit { debit_late: true, is_final, ..commit("hold", usage, 3) });
    story.apply(at(60), late("first", false)).unwrap();
    let Ok(Outcome::Committed { reservation, .. }) = story.apply(at(61), late("second", true)) else { panic!() };
    assert_eq!((reservation.committed_units.get(), reservation.committed_cost.get()), (6, 6));
    let refused = story.apply(at(62), late("again", true)).unwrap_err();
    assert_eq!(refused.code().as_str(), "reservation_committed", "the same work is not charged twice");
    assert_eq!(story.read(at(62)), (94, 0));
}
