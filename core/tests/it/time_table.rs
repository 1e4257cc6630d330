//! Time at read, as bank statements. Source: docs/ledger.md, "Amounts and time".

use quotastack_core::catalogue::OveragePolicy;
use quotastack_core::ledger::command::{Grant, Usage};
use quotastack_core::ledger::event::EventKind;
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::time::Timestamp;

use crate::support::{Story, at, catalogue, credits, grant, metered, price_from, usage};

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;

fn story() -> Story {
    let overdraft = || metered(OveragePolicy::Overdraft, None);
    Story::new(catalogue([("a", overdraft()), ("b", overdraft()), ("f", metered(OveragePolicy::Block, None))]))
}

fn from_to(amount: i64, from: i64, to: i64) -> Grant {
    Grant { effective_at: Some(at(from)), expires_at: Some(at(to)), ..grant(amount) }
}

fn micros_before(seconds: i64) -> Timestamp {
    at(seconds).saturating_add_micros(-1)
}

#[test]
fn a_block_is_gone_exactly_at_its_expiry() {
    let mut story = story();
    story.apply(at(0), from_to(100, 0, 10)).unwrap();
    assert_eq!(story.read(micros_before(10)), (100, 0));
    assert_eq!(story.read(at(10)), (0, 0));
    story.apply(micros_before(10), usage("last moment", "f", 40)).unwrap();
    let refused = story.apply(at(10), usage("too late", "f", 1)).unwrap_err();
    assert_eq!(refused, Refusal::InsufficientCredits { cost: credits(1), spendable: credits(0) });
    assert_eq!(story.statement(), ["0s grant +100 = 100", "9s usage -40 = 60", "10s expire -60 = 0"]);
    let block = &story.account.wallet.lots[0];
    assert_eq!((block.original, block.expired, block.lot.remaining), (credits(100), credits(60), credits(0)));
    let kinds: Vec<&EventKind> = story.effects.events.iter().map(|event| &event.kind).collect();
    let [
        EventKind::EndUserCreated {},
        EventKind::CreditsGranted { amount: granted, .. },
        EventKind::CreditsExpired { amount, .. },
    ] = kinds[..]
    else {
        panic!("{kinds:?}")
    };
    assert_eq!((*granted, *amount), (credits(100), credits(60)));
}

#[test]
fn a_block_counts_exactly_from_its_start() {
    let mut story = story();
    story.apply(at(0), from_to(100, 10, 20)).unwrap();
    assert_eq!(story.read(micros_before(10)), (0, 0));
    assert_eq!(story.read(at(10)), (100, 0));
    assert!(story.apply(micros_before(10), usage("too early", "f", 1)).is_err());
    story.apply(at(10), usage("in time", "f", 1)).unwrap();
    assert_eq!(story.statement(), ["0s grant +0 = 0", "10s start +100 = 100", "10s usage -1 = 99"]);
}

#[test]
fn what_was_due_is_written_with_its_own_instant_and_announced_once() {
    let mut story = story();
    story.apply(at(0), from_to(5, 0, 10)).unwrap();
    story.apply(at(0), from_to(7, 20, 30)).unwrap();
    story.touch(at(1_000));
    story.touch(at(1_000));
    let statement =
        ["0s grant +5 = 5", "0s grant +0 = 5", "10s expire -5 = 0", "20s start +7 = 7", "30s expire -7 = 0"];
    assert_eq!(story.statement(), statement);
    let due = &story.effects.entries[2..];
    assert!(due.iter().all(|entry| entry.recorded_at == at(1_000)));
    let expired = story.effects.events.iter().filter(|event| matches!(event.kind, EventKind::CreditsExpired { .. }));
    assert_eq!(expired.map(|event| event.at).collect::<Vec<_>>(), [at(10), at(30)]);
    assert_eq!(story.account.version, 3, "two grants, and once what was due");
}

#[test]
fn at_one_instant_blocks_end_then_start_then_debt_is_settled_once() {
    let mut story = story();
    // Kept from settling, so that credit and debt stand side by side until the instant.
    story.apply(at(0), Grant { settles_debt: false, ..from_to(50, 0, 60) }).unwrap();
    story.apply(at(1), usage("u", "a", 62)).unwrap();
    story.apply(at(2), Grant { priority: 200, ..from_to(3, 60, 120) }).unwrap();
    story.apply(at(3), Grant { priority: 1, ..from_to(4, 60, 120) }).unwrap();
    story.apply(at(4), Grant { settles_debt: false, ..from_to(9, 0, 60) }).unwrap();
    story.touch(at(60));
    let statement = [
        "0s grant +50 = 50",
        "1s usage -50 = 0",
        "1s debt -12 = -12, owes 12",
        "2s grant +0 = -12, owes 12",
        "3s grant +0 = -12, owes 12",
        "4s grant +9 = -3, owes 12",
        "60s expire -9 = -12, owes 12",
        "60s start +7 = -5, owes 12",
        "60s debt_settled +0 = -5, owes 5",
    ];
    assert_eq!(story.statement(), statement);
    let settled = &story.effects.entries[8].body.allocations;
    let amounts: Vec<i64> = settled.iter().map(|allocation| allocation.amount.get()).collect();
    assert_eq!(amounts, [-4, -3], "in burn order, not in order of granting");
}

#[test]
fn a_block_that_ends_where_another_starts_hands_over_without_gap_or_overlap() {
    let mut story = story();
    story.apply(at(0), from_to(10, 0, 60)).unwrap();
    story.apply(at(0), from_to(20, 60, 120)).unwrap();
    assert_eq!([story.read(micros_before(60)), story.read(at(60))], [(10, 0), (20, 0)]);
    assert_eq!([story.read(micros_before(120)), story.read(at(120))], [(20, 0), (0, 0)]);
}

#[test]
fn the_debt_that_rose_first_is_settled_first() {
    let mut story = story();
    story.apply(at(1), usage("b first", "b", 10)).unwrap();
    story.apply(at(2), usage("then a", "a", 10)).unwrap();
    story.apply(at(3), usage("b again", "b", 5)).unwrap();
    story.apply(at(4), grant(17)).unwrap();
    let owed: Vec<(&str, i64)> =
        story.account.wallet.debts.iter().map(|d| (d.of.feature().unwrap().as_str(), d.amount.get())).collect();
    assert_eq!(owed, [("a", 8)], "b rose from 0 before a and keeps its place as it grows");
    // Paid off and risen anew, b stands behind a.
    story.apply(at(5), usage("b anew", "b", 4)).unwrap();
    story.apply(at(6), grant(8)).unwrap();
    let owed: Vec<&str> = story.account.wallet.debts.iter().map(|d| d.of.feature().unwrap().as_str()).collect();
    assert_eq!(owed, ["b"]);
}

#[test]
fn an_overdraft_is_announced_when_a_debt_rises_from_nothing() {
    let mut story = story();
    for (second, key) in [(1, "one"), (2, "two")] {
        story.apply(at(second), usage(key, "a", 10)).unwrap();
    }
    story.apply(at(3), grant(20)).unwrap();
    story.apply(at(4), usage("three", "a", 1)).unwrap();
    let overdrawn = story.effects.events.iter().filter_map(|event| match &event.kind {
        EventKind::CreditsOverdrawn { debt, notify, .. } => Some((event.at, debt.get(), *notify)),
        _ => None,
    });
    assert_eq!(overdrawn.collect::<Vec<_>>(), [(at(1), 10, false), (at(4), 1, false)]);
}

#[test]
fn a_clock_that_goes_back_moves_no_time() {
    let mut story = story();
    story.apply(at(0), from_to(5, 0, 10)).unwrap();
    story.touch(at(10));
    story.apply(at(3), grant(7)).unwrap();
    assert!(story.apply(at(3), from_to(1, 0, 10)).is_err(), "its end is past for the account");
    assert_eq!(story.statement(), ["0s grant +5 = 5", "10s expire -5 = 0", "10s grant +7 = 7"]);
    assert!(story.effects.entries.is_sorted_by_key(|entry| entry.recorded_at));
}

#[test]
fn usage_counts_inside_its_window_only() {
    let mut story = story();
    story.apply(at(0), grant(100)).unwrap();
    let now = at(40 * DAY);
    let event = |key: &str, effective_at| Usage { effective_at: Some(effective_at), ..usage(key, "f", 1) };
    story.apply(now, event("oldest", at(5 * DAY))).unwrap();
    story.apply(now, event("ahead counts as now", at(40 * DAY + 5 * MINUTE))).unwrap();
    for (key, effective_at) in [("too old", micros_before(5 * DAY)), ("too far ahead", at(40 * DAY + 5 * MINUTE + 1))] {
        let refused = story.apply(now, event(key, effective_at)).unwrap_err();
        assert_eq!(refused, Refusal::OutsideLateWindow { now }, "{key}");
    }
    let counted: Vec<Timestamp> = story.effects.entries[1..].iter().map(|entry| entry.body.effective_at).collect();
    assert_eq!(counted, [at(5 * DAY), now]);
}

#[test]
fn work_that_a_sidecar_admitted_is_recorded_whatever_its_age_and_the_balance() {
    let mut story = story();
    let admitted = |key: &str, at| Usage { admitted_at: Some(at), ..usage(key, "f", 3) };
    let now = at(40 * DAY);
    story.apply(now, admitted("long ago", at(0))).unwrap();
    story.apply(now, admitted("by a clock ahead", at(50 * DAY))).unwrap();
    let day = 40 * DAY;
    let oldest = 5 * DAY;
    let statement = [
        format!("{oldest}s usage +0 = 0"),
        format!("{oldest}s debt -3 = -3, owes 3"),
        format!("{day}s usage +0 = -3, owes 3"),
        format!("{day}s debt -3 = -6, owes 6"),
    ];
    assert_eq!(story.statement(), statement);
}

#[test]
fn the_price_in_force_is_the_one_at_effective_at() {
    let mut story = story();
    let feature = story.catalogue.features.get_mut("f").unwrap();
    feature.prices.push(price_from(at(10), 7, 1));
    story.apply(at(0), grant(100)).unwrap();
    story.apply(micros_before(10), usage("old price", "f", 1)).unwrap();
    story.apply(at(10), usage("new price", "f", 1)).unwrap();
    story.apply(at(20), Usage { effective_at: Some(at(5)), ..usage("late, old price", "f", 1) }).unwrap();
    let statement = ["0s grant +100 = 100", "9s usage -1 = 99", "10s usage -7 = 92", "5s usage -1 = 91"];
    assert_eq!(story.statement(), statement);
}
