//! Leases in the ledger: bank statements, one line per step. Source: docs/ledger.md, "Leases".
//!
//! - `overspent`: whatever holders and others do in whatever order, nothing is spent twice

mod overspent;

use quotastack_core::ids::SidecarId;
use quotastack_core::ledger::command::{
    Command, Commit, Extend, LeaseHolder, Leased, OpenLease, ReturnLease, Usage, Void, VoidBlock,
};
use quotastack_core::ledger::event::EventKind;
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::ledger::quote::PricedBy;
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::ledger::reservation::{Reservation, ReservationStatus};
use quotastack_core::time::{MICROS_PER_SECOND, Timestamp};

use quotastack_core::catalogue::OveragePolicy;
use quotastack_core::entitlement::terms::PriceSource;

use crate::support::{Story, at, catalogue, commit, credits, grant, metered, reservation_id, usage};

fn holder(number: u8) -> LeaseHolder {
    let sidecar_id = SidecarId::from_uuid(quotastack_core::ids::uuid_v7(at(0), [number; 10], None));
    LeaseHolder { sidecar_id, run_id: [number; 16] }
}

fn open(name: &str, number: u8, need: i64, want: i64) -> OpenLease {
    OpenLease {
        id: reservation_id(name),
        holder: holder(number),
        feature_key: crate::support::feature_key("f"),
        need: credits(need),
        want: credits(want),
    }
}

fn give_back(name: &str, number: u8, returned: i64) -> ReturnLease {
    ReturnLease { id: reservation_id(name), holder: holder(number), returned: credits(returned) }
}

/// Usage that was admitted under a lease at `admitted_at`.
fn spent(key: &str, lease: &str, cost: i64, admitted_at: Timestamp) -> Usage {
    let priced_by = PricedBy { source: PriceSource::Feature, rule: None };
    let leased = Leased { id: reservation_id(lease), cost: credits(cost), priced_by };
    Usage { admitted_at: Some(admitted_at), leased: Some(leased), ..usage(key, "f", cost) }
}

fn story(amount: i64) -> Story {
    let mut story = Story::new(catalogue([("f", metered(OveragePolicy::Block, None))]));
    story.apply(at(0), grant(amount)).unwrap();
    story
}

impl Story {
    fn open(&mut self, seconds: i64, order: OpenLease) -> Result<Reservation, Refusal> {
        self.leased(seconds, Command::OpenLease(order))
    }

    fn give_back(&mut self, seconds: i64, order: ReturnLease) -> Result<Reservation, Refusal> {
        self.leased(seconds, Command::ReturnLease(order))
    }

    fn leased(&mut self, seconds: i64, command: Command) -> Result<Reservation, Refusal> {
        match self.apply(at(seconds), command)? {
            Outcome::Reserved { reservation, .. } => Ok(reservation),
            other => panic!("{other:?}"),
        }
    }

    /// Balance, reserved, debt.
    fn figures(&self) -> [i64; 3] {
        let totals = self.account.totals;
        [totals.balance.get(), totals.reserved.get(), totals.debt.get()]
    }
}

#[test]
fn a_lease_gets_what_it_needs_and_else_no_more_than_its_share() {
    let mut story = story(1_000);
    let amount = |story: &mut Story, name: &str, need, want| {
        story.open(1, open(name, 1, need, want)).map(|lease| lease.amount.get())
    };
    assert_eq!(amount(&mut story, "a", 10, 100), Ok(100), "what it wants");
    assert_eq!(amount(&mut story, "b", 10, 900), Ok(225), "a quarter of 900");
    assert_eq!(amount(&mut story, "c", 600, 900), Ok(600), "what it needs");
    let short = Refusal::InsufficientCredits { cost: credits(76), spendable: credits(75) };
    assert_eq!(amount(&mut story, "d", 76, 900), Err(short));
    assert_eq!(amount(&mut story, "e", 0, 0), Ok(1), "never nothing");
    assert_eq!(story.figures(), [1_000, 926, 0]);
}

#[test]
fn what_is_spent_costs_what_it_did_there_and_ends_the_lease_with_the_last_of_it() {
    let mut story = story(100);
    let lease = story.open(1, open("a", 1, 25, 25)).unwrap();
    assert_eq!((lease.lease.unwrap().until, lease.expires_at), (at(61), at(71)));
    // The feature costs 1 a unit; these cost what the holder said, as of when it said so.
    let event = Usage { units: crate::support::units(7), ..spent("u1", "a", 10, at(3)) };
    let Outcome::Used { record, replayed: false } = story.apply(at(5), event.clone()).unwrap() else { panic!() };
    assert_eq!((record.cost, record.charged, record.effective_at), (credits(10), credits(10), at(3)));
    assert_eq!((record.reservation_id, story.figures()), (Some(reservation_id("a")), [90, 15, 0]));
    let Outcome::Used { replayed: true, .. } = story.apply(at(5), event).unwrap() else { panic!("a repeat") };
    story.apply(at(6), spent("u2", "a", 15, at(6))).unwrap();
    assert_eq!(story.account.reservation(reservation_id("a")).unwrap().status, ReservationStatus::Committed);
    assert_eq!(story.figures(), [75, 0, 0]);
    story.apply(at(7), Command::Void(Void { usage_id: record.id, reason: None })).unwrap();
    assert_eq!(story.figures(), [85, 0, 0], "what is undone returns to its block");
}

#[test]
fn returns_are_totals_of_the_run_that_holds_it() {
    let mut story = story(100);
    story.open(1, open("a", 1, 40, 40)).unwrap();
    story.apply(at(2), spent("u1", "a", 10, at(2))).unwrap();
    for _ in 0..2 {
        let left = story.give_back(3, give_back("a", 1, 12)).unwrap();
        assert_eq!((left.held, story.figures()), (credits(18), [90, 18, 0]), "a repeat returns nothing more");
    }
    story.give_back(3, give_back("a", 1, 5)).unwrap();
    assert_eq!(story.figures(), [90, 18, 0], "an older word neither");
    let other = Err(Refusal::LeaseOfAnother(reservation_id("a")));
    let other_run = LeaseHolder { run_id: [9; 16], ..holder(1) };
    assert_eq!(story.give_back(3, ReturnLease { holder: other_run, ..give_back("a", 1, 30) }), other);
    assert_eq!(story.open(3, OpenLease { holder: other_run, ..open("a", 1, 1, 1) }), other);
    assert_eq!(story.open(3, open("a", 1, 1, 1)).unwrap().held, credits(18), "a repeat of the opening");
    let closed = story.give_back(4, give_back("a", 1, 30)).unwrap();
    assert_eq!((closed.status, story.figures()), (ReservationStatus::Released, [90, 0, 0]));
    assert_eq!(story.give_back(5, give_back("a", 1, 31)).unwrap().status, ReservationStatus::Released);
    let unknown = Err(Refusal::ReservationUnknown(reservation_id("b")));
    assert_eq!(story.give_back(5, give_back("b", 1, 1)), unknown);
}

#[test]
fn what_no_holder_speaks_of_comes_back_after_the_grace_and_what_was_spent_is_owed_then() {
    let mut story = story(40);
    story.open(0, open("a", 1, 40, 40)).unwrap();
    story.apply(at(69), spent("in time", "a", 5, at(59))).unwrap();
    assert_eq!(story.figures(), [35, 35, 0], "after it may be spent, before its credit comes back");
    story.apply(at(70), usage("another's", "f", 30)).unwrap();
    let Outcome::Used { record, .. } = story.apply(at(71), spent("late", "a", 20, at(50))).unwrap() else { panic!() };
    assert_eq!((record.charged, record.owed, record.effective_at), (credits(20), credits(15), at(50)));
    assert_eq!(story.figures(), [-15, 0, 15]);
    let told: Vec<_> = story
        .effects
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::LeaseAbandoned { amount, .. } => Some((event.at, amount.get())),
            EventKind::LeaseLate { cost, .. } => Some((event.at, cost.get())),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(at(70), 35), (at(71), 20)]);
}

#[test]
fn a_lease_ends_with_the_first_of_its_blocks_and_its_credit_goes_with_it() {
    let mut story = story(10);
    let ending = quotastack_core::ledger::command::Grant { expires_at: Some(at(30)), ..grant(20) };
    story.apply(at(0), ending).unwrap();
    let lease = story.open(1, open("a", 1, 25, 25)).unwrap();
    assert_eq!((lease.lease.unwrap().until, lease.expires_at), (at(30), at(40)));
    story.apply(at(35), spent("u", "a", 22, at(29))).unwrap();
    assert_eq!(story.figures(), [8, 3, 0]);
    story.give_back(36, give_back("a", 1, 3)).unwrap();
    assert_eq!(story.figures(), [8, 0, 0]);
}

#[test]
fn what_a_void_takes_of_a_block_is_not_what_a_lease_holds_of_it() {
    let mut story = story(100);
    story.open(1, open("a", 1, 40, 40)).unwrap();
    let block_id = story.account.wallet.lots[0].id;
    story.apply(at(2), Command::VoidBlock(VoidBlock { block_id, reason: "test".to_owned() })).unwrap();
    assert_eq!(story.figures(), [40, 40, 0]);
    story.apply(at(3), spent("u", "a", 10, at(3))).unwrap();
    story.give_back(4, give_back("a", 1, 30)).unwrap();
    assert_eq!(story.figures(), [0, 0, 0], "the rest follows when it returns");
}

#[test]
fn nobody_but_its_holder_touches_a_lease() {
    let mut story = story(100);
    story.open(1, open("a", 1, 40, 40)).unwrap();
    let id = reservation_id("a");
    let unknown = Err(Refusal::ReservationUnknown(id));
    assert_eq!(story.apply(at(2), Command::Release(id)), unknown);
    assert_eq!(story.apply(at(2), Command::Extend(Extend { reservation_id: id, ttl_micros: 1_000_000 })), unknown);
    assert_eq!(story.apply(at(2), Command::Commit(Commit { is_final: false, ..commit("a", "u", 1) })), unknown);
    assert_eq!(story.figures(), [100, 40, 0]);
}

#[test]
fn a_holder_that_spends_more_than_it_has_is_charged_as_anybody() {
    let mut story = story(100);
    story.open(1, open("a", 1, 10, 10)).unwrap();
    story.apply(at(2), spent("u1", "a", 8, at(2))).unwrap();
    story.apply(at(2), spent("u2", "a", 5, at(2))).unwrap();
    assert_eq!(story.figures(), [87, 2, 0], "of what is free; the hold stays whole");
}
