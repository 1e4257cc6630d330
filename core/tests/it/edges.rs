//! The ends of every range: a refusal says so and changes nothing, and what is stored can be read back.

use quotastack_core::catalogue::OveragePolicy;
use quotastack_core::credits::{AMOUNT_MAX, Credits, Units};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::apply::{Known, apply};
use quotastack_core::ledger::book::Effects;
use quotastack_core::ledger::command::{Command, Grant, OnInsufficient, Usage};
use quotastack_core::ledger::entry::Entry;
use quotastack_core::ledger::event::Event;
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::limits::LIVE_BLOCKS_MAX;
use quotastack_core::pricing::{Price, PriceModel, PriceVersion, Tier, TierMode, TierWindow, Tiered};
use quotastack_core::time::Timestamp;

use crate::support::{
    Sent, Story, at, catalogue, commit, credits, grant, metered, price_from, request, reserve, usage,
};

fn story() -> Story {
    let mut dear = metered(OveragePolicy::Overdraft, None);
    dear.prices = vec![price_from(Timestamp::MIN, AMOUNT_MAX, 1)];
    let (block, overdraft) = (metered(OveragePolicy::Block, None), metered(OveragePolicy::Overdraft, None));
    Story::new(catalogue([("f", block), ("over", overdraft.clone()), ("over_too", overdraft), ("dear", dear)]))
}

/// The refusal of a command that must change nothing.
fn refused(story: &mut Story, command: impl Into<Sent>) -> &'static str {
    let before = (story.account.clone(), story.effects.clone());
    let refusal = story.apply(story.account.wallet.time, command).unwrap_err();
    assert_eq!(before, (story.account.clone(), story.effects.clone()));
    refusal.code().as_str()
}

#[test]
fn a_grant_of_nothing_or_less_is_refused() {
    let mut story = story();
    for amount in [0, -1, -AMOUNT_MAX] {
        assert_eq!(refused(&mut story, grant(amount)), "validation_failed");
    }
    assert_eq!(story.account.version, 0, "and the end user is still unknown");
}

#[test]
fn a_block_that_would_not_live_is_refused() {
    let mut story = story();
    story.apply(at(10), grant(1)).unwrap();
    for (effective, expires) in [(None, 10), (Some(20), 20), (Some(20), 19), (Some(0), 5)] {
        let dead = Grant { effective_at: effective.map(at), expires_at: Some(at(expires)), ..grant(1) };
        assert_eq!(refused(&mut story, dead), "validation_failed", "{effective:?} {expires}");
    }
}

#[test]
fn credit_stays_within_what_a_double_holds_scheduled_blocks_included() {
    let mut story = story();
    story.apply(at(0), Grant { effective_at: Some(at(100)), ..grant(AMOUNT_MAX - 1) }).unwrap();
    assert_eq!(refused(&mut story, grant(2)), "amount_out_of_range");
    story.apply(at(0), grant(1)).unwrap();
    assert_eq!(story.read(at(100)), (AMOUNT_MAX, 0));
    story.apply(at(100), usage("all", "f", AMOUNT_MAX)).unwrap();
    assert_eq!(story.account.totals.balance, Credits::ZERO);
}

#[test]
fn what_was_granted_and_used_in_a_lifetime_stops_at_the_end_of_its_range_and_credit_does_not() {
    let mut story = story();
    story.apply(at(0), grant(AMOUNT_MAX)).unwrap();
    story.apply(at(0), usage("all", "f", AMOUNT_MAX)).unwrap();
    story.apply(at(0), grant(5)).unwrap();
    story.apply(at(0), usage("more", "over", 7)).unwrap();
    assert_eq!(story.read(at(0)), (-2, 2));
    assert_eq!((story.account.lifetime_granted, story.account.lifetime_consumed), (Credits::MAX, Credits::MAX));
}

#[test]
fn debts_stay_in_range_over_all_features() {
    let mut story = story();
    story.apply(at(0), usage("one", "over", AMOUNT_MAX)).unwrap();
    assert_eq!(refused(&mut story, usage("same feature", "over", 1)), "amount_out_of_range");
    assert_eq!(refused(&mut story, usage("other feature", "over_too", 1)), "amount_out_of_range");
    assert_eq!(story.read(at(0)), (-AMOUNT_MAX, AMOUNT_MAX));
}

#[test]
fn a_price_out_of_range_is_refused() {
    let mut story = story();
    assert_eq!(refused(&mut story, usage("u", "dear", 2)), "amount_out_of_range");
    assert_eq!(refused(&mut story, usage("v", "dear", AMOUNT_MAX)), "amount_out_of_range");
}

#[test]
fn a_tier_counter_stays_within_the_largest_count() {
    let tiers = vec![Tier { up_to: None, cost: Credits::ZERO }];
    let (mode, window) = (TierMode::Volume, TierWindow::Lifetime);
    let price = Price::plain(PriceModel::Tiered(Tiered { mode, per_units: Units::ONE, window, tiers }));
    let mut feature = metered(OveragePolicy::Block, None);
    feature.prices = vec![PriceVersion { effective_from: Timestamp::MIN, price }];
    let mut story = Story::new(catalogue([("f", feature)]));
    story.apply(at(0), Command::Reserve(reserve("hold", "f", AMOUNT_MAX - 1, 3_600))).unwrap();
    assert_eq!(refused(&mut story, usage("two too many", "f", 2)), "amount_out_of_range");
    assert_eq!(refused(&mut story, Command::Reserve(reserve("another", "f", 2, 60))), "amount_out_of_range");
    story.apply(at(0), usage("one", "f", 1)).unwrap();
    assert_eq!(refused(&mut story, Command::Commit(commit("hold", "all", AMOUNT_MAX))), "amount_out_of_range");
    story.apply(at(1), Command::Commit(commit("hold", "what was reserved", AMOUNT_MAX - 1))).unwrap();
    assert_eq!(refused(&mut story, usage("one too many", "f", 1)), "amount_out_of_range");
}

#[test]
fn an_overdraft_cannot_be_asked_for_where_the_policy_allows_none() {
    let mut story = story();
    story.apply(at(0), grant(1)).unwrap();
    for ask in [OnInsufficient::Overdraft, OnInsufficient::Notify] {
        let event = Usage { on_insufficient: Some(ask), ..usage("u", "f", 2) };
        assert_eq!(refused(&mut story, event), "validation_failed");
    }
    let event = Usage { on_insufficient: Some(OnInsufficient::Block), ..usage("v", "over", 2) };
    assert_eq!(refused(&mut story, event), "insufficient_credits", "but less than the policy allows can");
}

#[test]
fn a_block_too_many_is_refused_and_a_used_up_one_makes_room() {
    let mut story = story();
    let Story { account, catalogue, .. } = &mut story;
    let mut effects = Effects::default();
    let mut send = |number: u8, command| {
        let request = request(at(0), number, command);
        apply(account, catalogue, &request, Known::default(), &mut effects)
    };
    for _ in 0..LIVE_BLOCKS_MAX {
        send(1, Command::Grant(grant(1))).unwrap();
    }
    assert_eq!(send(2, Command::Grant(grant(1))), Err(Refusal::TooManyBlocks));
    send(3, Command::Usage(usage("u", "f", 1))).unwrap();
    send(4, Command::Grant(grant(1))).unwrap();
}

#[test]
fn amounts_out_of_range_cannot_be_read() {
    for bad in ["9007199254740992", "-9007199254740992", "1.5", "1e3", "\"1\""] {
        assert!(serde_json::from_str::<Credits>(bad).is_err(), "{bad}");
        assert!(serde_json::from_str::<Units>(bad).is_err(), "{bad}");
    }
    assert!(serde_json::from_str::<Units>("-1").is_err());
    assert!(postcard::from_bytes::<Credits>(&postcard::to_stdvec(&(AMOUNT_MAX + 1)).unwrap()).is_err());
}

#[test]
fn what_is_stored_reads_back_from_json_and_from_bytes() {
    let mut story = story();
    story.apply(at(0), Grant { expires_at: Some(at(9)), ..grant(5) }).unwrap();
    let Ok(Outcome::Used { record, .. }) = story.apply(at(1), usage("u", "over", 8)) else { panic!("recorded") };
    story.apply(at(2), grant(2)).unwrap();

    let json = serde_json::to_string(&(&story.account, &story.effects.entries, &record)).unwrap();
    let (account, entries, again): (Account, Vec<Entry>, _) = serde_json::from_str(&json).unwrap();
    assert_eq!((&account, &entries, &again), (&story.account, &story.effects.entries, &record));
    let bytes = postcard::to_stdvec(&(&story.account, &story.effects.entries)).unwrap();
    let (account, entries): (Account, Vec<Entry>) = postcard::from_bytes(&bytes).unwrap();
    assert_eq!((&account, &entries), (&story.account, &story.effects.entries));

    let events = serde_json::to_value(&story.effects.events).unwrap();
    assert_eq!(events[0]["type"], "end_user.created");
    assert_eq!(events[2]["type"], "credits.overdrawn");
    assert_eq!(events[2]["data"]["debt"], credits(3).get());
    assert_eq!(serde_json::from_value::<Vec<Event>>(events).unwrap(), story.effects.events);
}
