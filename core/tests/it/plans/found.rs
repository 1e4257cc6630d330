//! What a reader of the page found the code to do otherwise, each with the numbers that it should have had.

use quotastack_core::catalogue::{Access, Contract, Entitlement, TrialEnd};
use quotastack_core::credits::{AMOUNT_MAX, Units};
use quotastack_core::ledger::command::Usage;
use quotastack_core::ledger::entry::EntryKind;
use quotastack_core::ledger::event::EventKind;
use quotastack_core::pricing::{Price, PriceModel, Tier, TierMode, TierWindow, Tiered};
use quotastack_core::subscription::order::{Import, ImportGrants, Uncancel};

use super::*;
use crate::support::{feature_key, units, usage};

const WEEK: Period = Period { count: 1, unit: PeriodUnit::Week };

fn weekly(number: u8) -> Variant {
    let template = GrantTemplate { interval: GrantInterval::Every(WEEK), ..monthly(100) };
    Variant { grants: vec![template], ..postpaid(base(number, DAYS_30, 1)) }
}

fn to_2(at: When) -> Action {
    Action::Change { variant_id: variant_id(2), quantity: None, at, credits: ChangeCredits::Prorate }
}

fn pause(story: &mut Story, id: SubscriptionId, from: i64, to: i64) {
    story.ask(day(from), id, Action::Pause { at: When::Now, resume_at: None }).unwrap();
    story.ask(day(to), id, Action::Resume).unwrap();
}

#[test]
fn sums_of_a_period_may_be_beyond_the_range_of_amounts() {
    let mut story = life([postpaid(base(1, DAYS_30, 1))]);
    story.subscribe(day(0), 1);
    for number in 0..3 {
        let now = day(number);
        story.apply(now, crate::support::grant(AMOUNT_MAX - 1)).unwrap_or_else(|_| panic!("there is room"));
        let all = story.balance(now);
        story.apply(now, usage(&format!("{number}"), "endless", all)).unwrap();
    }
    let stored = serde_json::to_string(&story.account.tallies).unwrap();
    let read: quotastack_core::ledger::tally::Tallies = serde_json::from_str(&stored).unwrap();
    assert_eq!(read, story.account.tallies);
    story.touch(day(31));
    let cost = story.effects.events.iter().find_map(|event| match &event.kind {
        EventKind::UsageSummary { features, .. } => Some(features[0].used.cost),
        _ => None,
    });
    assert_eq!(cost, Some(AMOUNT_MAX), "what every reader holds exactly");
}

#[test]
fn a_change_after_a_pause_prorates_weekly_credit_as_without_it() {
    let mut story = life([weekly(1), weekly(2)]);
    let id = story.subscribe(day(0), 1);
    pause(&mut story, id, 10, 11);
    story.change(day(11), id, 2, ChangeCredits::Prorate);
    assert_eq!(story.balance(day(11)), 99, "58 goes, 57 comes");
    assert_eq!([14, 15, 21, 22].map(|number| story.balance(day(number))), [99, 100, 100, 100]);
}

#[test]
fn a_change_after_a_pause_prorates_the_period_without_the_pause() {
    let mut story = life([base(1, DAYS_30, 1_000), base(2, DAYS_30, 1_000)]);
    let id = story.subscribe(day(0), 1);
    pause(&mut story, id, 10, 50);
    story.change(day(50), id, 2, ChangeCredits::Prorate);
    assert_eq!(story.balance(day(50)), 999);
}

#[test]
fn changing_the_free_plan_gives_what_is_left_of_it() {
    let mut story = life([fallback(base(1, DAYS_30, 1_000)), base(2, DAYS_30, 5)]);
    let id = story.subscribe(day(0), 1);
    story.ask(day(1), id, Action::SetQuantity(2)).unwrap();
    assert_eq!(story.balance(day(1)), 1_000 - 967 + 1_933);
    // Back on it within the period in which it was given, there is nothing, and nothing of it to change.
    let paid = story.subscribe(day(2), 2);
    story.ask(day(3), paid, Action::Cancel { at: When::Now, credits: EndCredits::Void }).unwrap();
    let before = story.balance(day(3));
    let again = story.account.wallet.base().unwrap().id;
    story.ask(day(4), again, Action::SetQuantity(3)).unwrap();
    assert_eq!(story.balance(day(4)), before);
}

#[test]
fn a_postpaid_plan_that_is_left_has_its_debt_billed() {
    let variants = [postpaid(base(1, DAYS_30, 100)), base(2, DAYS_30, 100)];
    let billed = |story: &Story| -> i64 {
        let entries = story.effects.entries.iter().filter(|entry| entry.body.kind == EntryKind::DebtBilled);
        entries.map(|entry| entry.body.amount.get()).sum()
    };
    let mut unrenewed = life(variants.clone());
    let id = unrenewed.subscribe(day(0), 1);
    unrenewed.apply(day(5), usage("u", "endless", 150)).unwrap();
    let mut at_once = unrenewed.clone();
    let (at, credits) = (When::PeriodEnd, ChangeCredits::Prorate);
    unrenewed.ask(day(6), id, Action::Change { variant_id: variant_id(2), quantity: None, at, credits }).unwrap();
    unrenewed.touch(day(30));
    assert_eq!((billed(&unrenewed), unrenewed.account.totals.debt.get()), (50, 0));
    at_once.change(day(6), id, 2, ChangeCredits::KeepAndAdd);
    assert_eq!(billed(&at_once), 50);
}

#[test]
fn another_version_binds_or_no_longer_binds() {
    let bound = Variant { contract: Some(Contract::new(2, true)), ..free(base(1, DAYS_30, 1)) };
    let unbound = free(base(1, DAYS_30, 1));
    for (first, second) in [(&bound, &unbound), (&unbound, &bound)] {
        let mut story = life([first.clone()]);
        let id = story.subscribe(day(0), 1);
        story.catalogue.add_variant(variant_id(1), Variant { version: 2, ..second.clone() });
        let migrate = Action::Migrate { at: When::Now, credits: ChangeCredits::Prorate };
        let own = story.ask(day(3), id, migrate).unwrap();
        assert_eq!(own.contract_end.is_some(), second.contract.is_some());
        assert_eq!(story.status(day(100), id), Some(SubscriptionStatus::Active));
    }
}

#[test]
fn cancelled_at_its_end_ends_with_the_last_period_that_is_paid_for() {
    let year = Period { count: 1, unit: PeriodUnit::Year };
    let mut story = life([base(1, DAYS_30, 1), base(2, year, 1)]);
    let id = story.subscribe(day(0), 1);
    let (at, credits) = (When::PeriodEnd, ChangeCredits::Prorate);
    story.ask(day(28), id, Action::Change { variant_id: variant_id(2), quantity: None, at, credits }).unwrap();
    story.ask(day(29), id, Action::Renew).unwrap();
    let own = story.ask(day(29), id, cancel(When::PeriodEnd)).unwrap();
    assert_eq!(own.cancel_at, Some(day(30 + 365)));
    assert_eq!(story.status(day(30 + 364), id), Some(SubscriptionStatus::Active));
    assert_eq!(story.status(day(30 + 365), id), None);

    let mut reset = life([base(1, DAYS_30, 1), base(2, DAYS_30, 1)]);
    let id = reset.subscribe(day(0), 1);
    reset.ask(day(29), id, Action::Renew).unwrap();
    reset.ask(day(29), id, cancel(When::PeriodEnd)).unwrap();
    reset.change(day(29), id, 2, ChangeCredits::Reset);
    assert_eq!(reset.account.wallet.base().unwrap().cancel_at, Some(day(29 + 30 + 30)), "the renewed one is paid for");
}

#[test]
fn a_period_that_a_pause_has_not_let_end_is_one_window() {
    let tiers = vec![Tier { up_to: Some(units(100)), cost: credits(10) }, Tier { up_to: None, cost: credits(1) }];
    let (mode, window) = (TierMode::Graduated, TierWindow::BillingPeriod);
    let model = PriceModel::Tiered(Tiered { mode, per_units: Units::ONE, window, tiers });
    let access = Access { enabled: true, value: None };
    let mut variant = free(base(1, DAYS_30, 1));
    let entitlement = Entitlement { price: Some(Price::plain(model)), ..Entitlement::plain(access) };
    variant.entitlements.insert(feature_key("endless"), entitlement);
    let mut story = life([variant]);
    let id = story.subscribe(day(0), 1);
    story.apply(day(5), usage("first", "endless", 100)).unwrap();
    story.ask(day(10), id, Action::Pause { at: When::Now, resume_at: None }).unwrap();
    let Outcome::Used { record, .. } = story.apply(day(33), usage("in the pause", "endless", 10)).unwrap() else {
        panic!("usage is recorded")
    };
    assert_eq!(record.cost, credits(10));
    // Nor is it another one for what arrives once it has ended in the pause.
    story.ask(day(35), id, cancel(When::Now)).unwrap();
    let late = Usage { effective_at: Some(day(34)), ..usage("late", "endless", 10) };
    let Outcome::Used { record, .. } = story.apply(day(36), late).unwrap() else { panic!("usage is recorded") };
    assert_eq!(record.cost, credits(10));
}

#[test]
fn no_addon_is_awake_while_its_base_is_paused() {
    let trial = Variant { trial_days: 5, ..postpaid(addon(3, DAYS_30, 10)) };
    let mut story = life([postpaid(base(1, DAYS_30, 100)), postpaid(addon(2, DAYS_30, 10)), trial]);
    let base = story.subscribe(day(0), 1);
    let own_pause = story.subscribe(day(0), 2);
    let in_trial = story.subscribe(day(0), 3);
    story.ask(day(1), own_pause, Action::Pause { at: When::Now, resume_at: None }).unwrap();
    story.ask(day(2), base, Action::Pause { at: When::Now, resume_at: None }).unwrap();
    story.ask(day(3), own_pause, Action::Resume).unwrap();
    for addon in [own_pause, in_trial] {
        assert_eq!(story.status(day(6), addon), Some(SubscriptionStatus::Paused));
    }
    story.ask(day(7), base, Action::Resume).unwrap();
    for addon in [own_pause, in_trial] {
        assert_eq!(story.status(day(7), addon), Some(SubscriptionStatus::Active));
    }
}

#[test]
fn a_trial_ends_as_the_variant_says_that_it_was_changed_to() {
    let on_trial = |number, end| Variant { trial_days: 10, trial_end: Some(end), ..postpaid(base(number, DAYS_30, 1)) };
    let mut story = life([on_trial(1, TrialEnd::Expire), on_trial(2, TrialEnd::Convert)]);
    let id = story.subscribe(day(0), 1);
    let mut back = story.clone();
    story.change(day(3), id, 2, ChangeCredits::Prorate);
    assert_eq!(story.status(day(10), id), Some(SubscriptionStatus::Active));
    back.change(day(3), id, 2, ChangeCredits::Prorate);
    back.change(day(4), id, 1, ChangeCredits::Prorate);
    assert_eq!(back.status(day(10), id), None);
}

#[test]
fn a_term_ends_with_a_period_also_after_a_pause() {
    let bound = Variant { contract: Some(Contract::new(4, false)), ..postpaid(base(1, MONTH, 1)) };
    let mut story = life([bound]);
    // 30 January: the ends of the periods are not the same number of days apart.
    let id = story.subscribe(day(29), 1);
    pause(&mut story, id, 50, 51);
    let ends = |story: &Story| {
        let own = story.account.wallet.base().unwrap();
        let end = |index| MONTH.end(own.series.anchor, index);
        (own.contract_end.unwrap(), [end(0), end(1), end(2)])
    };
    let (term, periods) = ends(&story);
    assert_eq!(term, periods[2], "the current period, and three more");
}

#[test]
fn a_pause_that_was_missed_unpaid_is_off() {
    let mut story = life([Variant { grace_period_days: 30, ..postpaid(base(1, DAYS_30, 1)) }]);
    let id = story.subscribe(day(0), 1);
    story.ask(day(5), id, Action::Pause { at: When::PeriodEnd, resume_at: None }).unwrap();
    story.ask(day(20), id, Action::MarkOverdue).unwrap();
    let own = story.ask(day(35), id, Action::MarkPaid).unwrap();
    assert_eq!((own.status, own.pause_at), (SubscriptionStatus::Active, None));
}

#[test]
fn the_addon_that_started_last_says_the_price() {
    let at_cost = |number, cost| {
        let mut variant = free(addon(number, DAYS_30, 1));
        let access = Access { enabled: true, value: None };
        let model = PriceModel::Flat { cost: credits(cost) };
        let entitlement = Entitlement { price: Some(Price::plain(model)), ..Entitlement::plain(access) };
        variant.entitlements.insert(feature_key("endless"), entitlement);
        variant
    };
    let mut story = life([free(base(1, DAYS_30, 1)), at_cost(2, 5), at_cost(3, 9)]);
    story.subscribe(day(0), 1);
    story.try_subscribe(day(0), Subscribe { start_at: Some(day(2)), ..Subscribe::now(variant_id(2), 1) }).unwrap();
    story.subscribe(day(1), 3);
    let Outcome::Used { record, .. } = story.apply(day(3), usage("u", "endless", 1)).unwrap() else {
        panic!("usage is recorded")
    };
    assert_eq!(record.cost, credits(5));
}

#[test]
fn the_free_plan_gives_once_per_interval_however_one_comes_to_it() {
    let begin = || {
        let mut story = life([fallback(base(1, DAYS_30, 50)), base(2, DAYS_30, 10)]);
        story.subscribe(day(0), 1);
        story
    };
    let void = Action::Cancel { at: When::Now, credits: EndCredits::Void };
    // By a change from what is paid.
    let mut story = begin();
    for number in 1..4 {
        let paid = story.subscribe(day(number), 2);
        story.change(day(number), paid, 1, ChangeCredits::Prorate);
        assert_eq!(story.balance(day(number)), 50);
    }
    // By an import.
    let mut story = begin();
    for number in 1..4 {
        let id = story.account.wallet.base().unwrap().id;
        story.ask(day(number), id, cancel(When::Now)).unwrap();
        let import = Some(quotastack_core::subscription::order::Import {
            period_start: day(number),
            grants: quotastack_core::subscription::order::ImportGrants::Full,
        });
        story.try_subscribe(day(number), Subscribe { import, ..Subscribe::now(variant_id(1), 1) }).unwrap();
        assert_eq!(story.balance(day(number)), 50);
    }
    // By a reset after coming back.
    let mut story = begin();
    let paid = story.subscribe(day(1), 2);
    story.ask(day(2), paid, void).unwrap();
    let before = story.balance(day(2));
    let id = story.account.wallet.base().unwrap().id;
    let (at, credits) = (When::Now, ChangeCredits::Reset);
    story.ask(day(3), id, Action::Change { variant_id: variant_id(1), quantity: Some(2), at, credits }).unwrap();
    assert!(story.balance(day(3)) <= before);
}

#[test]
fn a_free_plan_that_begins_to_give_gives_what_is_left_and_what_it_gives_once() {
    let nothing = Variant { grants: vec![], ..fallback(base(1, DAYS_30, 50)) };
    let once = GrantTemplate { interval: GrantInterval::Once, ..monthly(30) };
    let something = Variant { grants: vec![monthly(50), once], version: 2, ..nothing.clone() };
    let mut story = life([nothing]);
    let id = story.subscribe(day(0), 1);
    story.catalogue.add_variant(variant_id(1), something);
    story.ask(day(15), id, Action::Migrate { at: When::Now, credits: ChangeCredits::Prorate }).unwrap();
    assert_eq!(story.balance(day(15)), 25 + 30);
}

#[test]
fn a_change_inside_a_trial_bills_nothing() {
    let on_trial = |variant| Variant { trial_days: 10, ..variant };
    let mut story = life([on_trial(postpaid(base(1, DAYS_30, 100))), on_trial(base(2, DAYS_30, 100))]);
    let id = story.subscribe(day(0), 1);
    story.apply(day(1), usage("u", "endless", 80)).unwrap();
    story.change(day(2), id, 2, ChangeCredits::Prorate);
    assert!(story.effects.entries.iter().all(|entry| entry.body.kind != EntryKind::DebtBilled));
    assert_eq!(story.account.totals.debt, credits(80));
}

#[test]
fn a_change_wakes_no_addon_beside_a_paused_base_and_brings_no_missed_pause() {
    let trial = Variant { trial_days: 20, ..postpaid(addon(2, DAYS_30, 10)) };
    let mut story = life([postpaid(base(1, DAYS_30, 100)), trial, postpaid(addon(3, DAYS_30, 10))]);
    let base = story.subscribe(day(0), 1);
    let addon = story.subscribe(day(0), 2);
    story.ask(day(2), base, Action::Pause { at: When::Now, resume_at: None }).unwrap();
    story.change(day(3), addon, 3, ChangeCredits::Prorate);
    assert_eq!(story.status(day(3), addon), Some(SubscriptionStatus::Paused));

    let long_grace = |number| Variant { grace_period_days: 30, ..postpaid(self::base(number, DAYS_30, 1)) };
    let mut story = life([long_grace(1), long_grace(2)]);
    let id = story.subscribe(day(0), 1);
    story.ask(day(5), id, Action::Pause { at: When::PeriodEnd, resume_at: None }).unwrap();
    story.ask(day(20), id, Action::MarkOverdue).unwrap();
    story.change(day(35), id, 2, ChangeCredits::Prorate);
    assert_eq!(story.status(day(36), id), Some(SubscriptionStatus::Active));
}

#[test]
fn an_unpaid_period_that_is_settled_onto_another_variant_gives_no_week_twice() {
    let prepaid = |number| Variant { billing_mode: BillingMode::Prepaid, ..weekly(number) };
    let mut now = life([prepaid(1), prepaid(2)].map(|own| Variant { grace_period_days: 3, ..own }));
    let id = now.subscribe(day(0), 1);
    let mut pending = now.clone();
    now.ask(day(31), id, to_2(When::Now)).unwrap();
    assert_eq!(now.balance(day(31)), 99, "of the week from day 28 on 58 goes and 57 comes");
    pending.ask(day(29), id, to_2(When::PeriodEnd)).unwrap();
    pending.ask(day(31), id, Action::Renew).unwrap();
    assert_eq!(pending.balance(day(31)), 99);
    assert_eq!(pending.balance(day(35)), 100);
}

#[test]
fn cancelled_at_its_end_follows_what_that_end_becomes() {
    let year = Period { count: 1, unit: PeriodUnit::Year };
    let mut story = life([base(1, DAYS_30, 1), base(2, year, 1)]);
    let id = story.subscribe(day(0), 1);
    story.ask(day(28), id, Action::Renew).unwrap();
    assert_eq!(story.ask(day(28), id, cancel(When::PeriodEnd)).unwrap().cancel_at, Some(day(60)));
    let of_year = year.end(day(30), 0);
    assert_eq!(story.ask(day(28), id, to_2(When::PeriodEnd)).unwrap().cancel_at, Some(of_year));
    // A pause moves it, by the length of the periods that it is the end of.
    let mut paused = story.clone();
    pause(&mut paused, id, 29, 39);
    assert_eq!(paused.account.wallet.base().unwrap().cancel_at, Some(year.end(day(40), 0)));
    assert_eq!(paused.status(year.end(day(40), 0).saturating_add_micros(-1), id), Some(SubscriptionStatus::Active));
    assert_eq!(paused.status(year.end(day(40), 0), id), None);
    let taken_back = story.ask(day(29), id, Action::Uncancel(Uncancel::PendingChange)).unwrap();
    assert_eq!(taken_back.cancel_at, Some(day(60)));
}

#[test]
fn a_trial_that_was_asked_to_convert_converts_whatever_it_was_changed_to() {
    let with_trial = |number, trial_end| Variant { trial_days: 10, trial_end, ..free(base(number, DAYS_30, 1)) };
    let expiring = [with_trial(1, Some(TrialEnd::Expire)), with_trial(2, Some(TrialEnd::Convert))];
    let mut story = life(expiring);
    let id = story.subscribe(day(0), 1);
    let mut unasked = story.clone();
    story.ask(day(1), id, Action::Convert(When::PeriodEnd)).unwrap();
    for story in [&mut story, &mut unasked] {
        story.change(day(2), id, 2, ChangeCredits::Prorate);
        story.change(day(3), id, 1, ChangeCredits::Prorate);
    }
    assert_eq!(story.status(day(10), id), Some(SubscriptionStatus::Active));
    assert_eq!(unasked.status(day(10), id), None);
}

#[test]
fn months_of_grants_are_the_same_after_a_pause_whatever_is_changed() {
    let template = || GrantTemplate { interval: GrantInterval::Every(MONTH), ..monthly(310) };
    let year = Period { count: 1, unit: PeriodUnit::Year };
    let variant = |number| Variant { grants: vec![template()], ..postpaid(base(number, year, 1)) };
    let mut story = life([variant(1), variant(2)]);
    // The story begins on 1 January; the months of this one end on the 28th, 30th and 31st.
    let id = story.subscribe(day(29), 1);
    pause(&mut story, id, 39, 49);
    let end = story.account.wallet.base().unwrap().allowances[0].until;
    for (number, now) in [(2, end.saturating_add_micros(-1)), (1, end.saturating_add_micros(-1))] {
        story.change(now, id, number, ChangeCredits::Prorate);
        assert!(story.balance(now) <= 310, "{} at {now}", story.balance(now));
    }
    assert_eq!(story.account.wallet.base().unwrap().allowances[0].until, end);
}

fn every_week(number: u8) -> Variant {
    Variant { billing_mode: BillingMode::Prepaid, ..weekly(number) }
}

#[test]
fn a_late_renewal_leaves_the_week_that_runs() {
    let mut story = life([Variant { grace_period_days: 5, ..every_week(1) }]);
    let id = story.subscribe(day(0), 1);
    assert_eq!(story.balance(day(30)), 100);
    story.ask(day(31), id, Action::Renew).unwrap();
    assert_eq!([31, 34, 35].map(|number| story.balance(day(number))), [100; 3]);
    // So it does what lives longer than its interval, to the same instant as the grace.
    let mut once = base(1, DAYS_30, 1_000);
    once.grants.push(GrantTemplate {
        interval: GrantInterval::Once,
        expires_after: Some(Period { count: 33, unit: PeriodUnit::Day }),
        ..monthly(50)
    });
    let mut story = life([Variant { grace_period_days: 3, ..once }]);
    let id = story.subscribe(day(0), 1);
    story.ask(day(31), id, Action::Renew).unwrap();
    assert_eq!([31, 33].map(|number| story.balance(day(number))), [1_050, 1_000]);
}

#[test]
fn the_free_plan_gives_once_per_interval_whatever_is_imported_or_paused() {
    let mut story = life([fallback(base(1, DAYS_30, 50)), base(2, DAYS_30, 5)]);
    let mut id = story.subscribe(day(0), 1);
    let mut paused = story.clone();
    for number in [3, 6, 9] {
        story.ask(day(number), id, cancel(When::Now)).unwrap();
        let import = Import { period_start: day(number + 1 - 30), grants: ImportGrants::None };
        let order = Subscribe { import: Some(import), ..Subscribe::now(variant_id(1), 1) };
        id = story.try_subscribe(day(number), order).unwrap().id;
        assert_eq!(story.balance(day(number + 2)), 50, "on day {number}");
    }
    let first = paused.account.wallet.base().unwrap().id;
    pause(&mut paused, first, 5, 15);
    let paid = paused.subscribe(day(41), 2);
    paused.ask(day(42), paid, Action::Cancel { at: When::Now, credits: EndCredits::Void }).unwrap();
    assert_eq!([42, 60, 69, 70].map(|number| paused.balance(day(number))), [50; 4]);
}

#[test]
fn a_change_of_what_nobody_renewed_goes_by_its_credits() {
    let variants = [rolling(base(1, DAYS_30, 1_000), 100, None), base(2, DAYS_30, 2_000)];
    let changed = |credits| {
        let mut story = life(variants.clone());
        let id = story.subscribe(day(0), 1);
        story.change(day(31), id, 2, credits);
        (story.balance(day(31)), story.account.wallet.base().unwrap().current_period.start)
    };
    assert_eq!(changed(ChangeCredits::Prorate), (3_000, day(30)), "what is left rolls over");
    assert_eq!(changed(ChangeCredits::KeepAndAdd), (3_000, day(30)), "what is there stays");
    assert_eq!(changed(ChangeCredits::Reset), (2_000, day(31)), "nothing rolls, and a new period opens");
}

#[test]
fn neither_seats_nor_a_newer_version_are_a_payment() {
    let mut story = life([base(1, DAYS_30, 1_000)]);
    let id = story.subscribe(day(0), 1);
    story.catalogue.add_variant(variant_id(1), Variant { version: 2, ..base(1, DAYS_30, 1_001) });
    let mut failed = story.clone();
    failed.ask(day(5), id, Action::MarkOverdue).unwrap();
    let seats = |quantity| Action::Change {
        variant_id: variant_id(1),
        quantity,
        at: When::Now,
        credits: ChangeCredits::Prorate,
    };
    for (story, now) in [(&mut story, day(31)), (&mut failed, day(6))] {
        let migrate = Action::Migrate { at: When::Now, credits: ChangeCredits::Prorate };
        for action in [migrate, seats(Some(2)), seats(None), Action::SetQuantity(2)] {
            let refused = story.ask(now, id, action);
            assert!(matches!(refused, Err(Refusal::InvalidTransition { .. })), "{action:?}: {refused:?}");
        }
        assert_eq!(story.status(now, id), Some(SubscriptionStatus::PastDue));
    }
}

#[test]
fn an_addon_pauses_at_its_own_end_also_after_a_pause_of_its_base() {
    let mut story = life([postpaid(base(1, DAYS_30, 1)), postpaid(addon(2, DAYS_30, 1))]);
    let id = story.subscribe(day(0), 1);
    let addon = story.subscribe(day(1), 2);
    story.ask(day(2), addon, Action::Pause { at: When::PeriodEnd, resume_at: None }).unwrap();
    pause(&mut story, id, 5, 6);
    assert_eq!(story.status(day(32).saturating_add_micros(-1), addon), Some(SubscriptionStatus::Active));
    assert_eq!(story.status(day(32), addon), Some(SubscriptionStatus::Paused));
}

#[test]
fn what_an_import_was_given_elsewhere_is_not_given_by_seats_to_and_fro() {
    let mut story = life([base(1, DAYS_30, 1_000)]);
    let import = Import { period_start: day(0), grants: ImportGrants::None };
    let id = story
        .try_subscribe(day(15), Subscribe { import: Some(import), ..Subscribe::now(variant_id(1), 1) })
        .unwrap()
        .id;
    assert_eq!(story.balance(day(15)), 0);
    story.ask(day(15), id, Action::SetQuantity(2)).unwrap();
    assert_eq!(story.balance(day(15)), 500, "the second seat");
    story.ask(day(15), id, Action::SetQuantity(1)).unwrap();
    assert_eq!(story.balance(day(15)), 0);
}

#[test]
fn nobody_is_billed_for_a_trial_however_it_ends() {
    let trial = Variant { trial_days: 10, ..postpaid(base(1, DAYS_30, 0)) };
    let mut story = life([trial, postpaid(base(2, DAYS_30, 0))]);
    let id = story.subscribe(day(0), 1);
    story.apply(day(1), usage("in the trial", "endless", 80)).unwrap();
    let after = |action| {
        let mut story = story.clone();
        story.ask(day(2), id, action).unwrap();
        let billed = story.effects.entries.iter().any(|entry| entry.body.kind == EntryKind::DebtBilled);
        (billed, story.account.totals.debt.get())
    };
    for action in [Action::Convert(When::Now), to_2(When::Now), cancel(When::Now)] {
        assert_eq!(after(action), (false, 80), "{action:?}");
    }
}

#[test]
fn a_postpaid_plan_that_follows_an_unpaid_one_is_summed_up_from_then_on() {
    let mut story = life([base(1, DAYS_30, 0), postpaid(base(2, DAYS_30, 0))]);
    let id = story.subscribe(day(0), 1);
    story.apply(day(30), usage("in the gap", "endless", 7)).unwrap();
    story.change(day(31), id, 2, ChangeCredits::Prorate);
    story.touch(day(61));
    let period = story.effects.events.iter().find_map(|event| match &event.kind {
        EventKind::UsageSummary { period, features, .. } => Some((period.start, features[0].used.cost)),
        _ => None,
    });
    assert_eq!(period, Some((day(31), 0)), "what was owed before is billed, and was not used in it");
}

#[test]
fn beside_a_free_plan_there_are_no_addons() {
    let mut story = life([base(1, DAYS_30, 1), fallback(base(2, DAYS_30, 1)), addon(3, DAYS_30, 1)]);
    let id = story.subscribe(day(0), 1);
    let addon = story.subscribe(day(0), 3);
    let mut later = story.clone();
    story.ask(day(1), id, to_2(When::Now)).unwrap();
    assert_eq!(story.status(day(1), addon), None);
    later.ask(day(1), id, to_2(When::PeriodEnd)).unwrap();
    assert_eq!(later.status(day(29), addon), Some(SubscriptionStatus::Active));
    assert_eq!(later.status(day(30), addon), None);
}

#[test]
fn other_seats_leave_a_change_that_was_paid_for() {
    let mut story = life([base(1, DAYS_30, 100), base(2, DAYS_30, 1_000)]);
    let id = story.subscribe(day(0), 1);
    story.ask(day(28), id, to_2(When::PeriodEnd)).unwrap();
    story.ask(day(29), id, Action::Renew).unwrap();
    story.ask(day(29), id, Action::SetQuantity(2)).unwrap();
    assert_eq!(story.balance(day(30)), 2_000);
    // But another length was not.
    let year = Period { count: 1, unit: PeriodUnit::Year };
    let mut story = life([base(1, DAYS_30, 100), base(2, year, 1_000)]);
    let id = story.subscribe(day(0), 1);
    story.ask(day(28), id, Action::Renew).unwrap();
    story.change(day(29), id, 2, ChangeCredits::Prorate);
    let end = year.end(day(29), 0);
    assert_eq!(story.status(end, id), Some(SubscriptionStatus::PastDue));
}

#[test]
fn whoever_asks_for_a_trial_to_convert_does_not_want_it_canceled() {
    let trial = Variant { trial_days: 10, trial_end: Some(TrialEnd::Expire), ..free(base(1, DAYS_30, 1)) };
    let mut story = life([trial]);
    let id = story.subscribe(day(0), 1);
    story.ask(day(1), id, cancel(When::PeriodEnd)).unwrap();
    let mut canceled = story.clone();
    story.ask(day(2), id, Action::Convert(When::PeriodEnd)).unwrap();
    assert_eq!(story.status(day(10), id), Some(SubscriptionStatus::Active));
    assert_eq!(canceled.ask(day(2), id, Action::Convert(When::PeriodEnd)).unwrap().cancel_at, None);
    canceled.ask(day(3), id, cancel(When::PeriodEnd)).unwrap();
    assert_eq!(canceled.status(day(10), id), None);
}
