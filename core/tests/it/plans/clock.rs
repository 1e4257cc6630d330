//! Longer stories, as a sandbox clock would tell them.

use quotastack_core::catalogue::{Contract, GrantOn};
use quotastack_core::ledger::block::BlockKind;
use quotastack_core::subscription::SubscriptionStatus;
use quotastack_core::subscription::machine::Happening;
use quotastack_core::subscription::order::{Action, ChangeCredits, Import, ImportGrants, When};
use quotastack_core::time::Interval;

use super::*;
use crate::support::{feature_key, usage};

fn date(text: &str) -> Timestamp {
    format!("{text}T00:00:00Z").parse().unwrap()
}

#[test]
fn a_monthly_grant_with_rollover_keeps_its_day_over_fourteen_months_and_a_leap_day() {
    let mut story = life([free(rolling(base(1, MONTH, 100), 100, Some(60)))]);
    story.subscribe(date("2027-01-31"), 1);
    let ends = [
        "2027-02-28",
        "2027-03-31",
        "2027-04-30",
        "2027-05-31",
        "2027-06-30",
        "2027-07-31",
        "2027-08-31",
        "2027-09-30",
        "2027-10-31",
        "2027-11-30",
        "2027-12-31",
        "2028-01-31",
        "2028-02-29",
        "2028-03-31",
    ];
    for (number, end) in (0i64..).zip(ends) {
        let end = date(end);
        // Nobody is there for two months, then somebody is.
        let rolled = if number % 3 == 0 && number > 0 { 30 } else { 60 };
        assert_eq!(story.balance(end), rolled + 100, "at {end}");
        if number % 3 == 2 {
            story.apply(end, usage(&format!("{number}"), "f", 130)).unwrap();
            assert_eq!(story.balance(end), 30);
        }
        assert_eq!(story.account.wallet.base().unwrap().series.anchor, date("2027-01-31"));
    }
}

#[test]
fn a_paid_plan_replaces_the_free_one_and_its_end_brings_it_back() {
    let mut story = life([fallback(base(1, DAYS_30, 50)), base(2, DAYS_30, 1_000)]);
    let free = story.subscribe(day(0), 1);
    story.apply(day(1), usage("some", "f", 20)).unwrap();
    let paid = story.subscribe(day(10), 2);
    assert_eq!(story.status(day(10), free), None);
    assert_eq!(story.balance(day(10)), 30 + 1_000, "the free plan's block lives to its expiry");
    assert_eq!(story.balance(day(30)), 1_000);
    story.ask(day(11), paid, cancel(When::PeriodEnd)).unwrap();
    assert_eq!(story.balance(day(40)), 50, "the free plan's second period, from day 30 on");
    assert_eq!(story.balance(day(60)), 50);
    story.touch(day(40));
    let base = story.account.wallet.base().unwrap();
    assert!(base.is_fallback);
    assert_eq!(base.current_period, Interval { start: day(30), end: day(60) });
}

#[test]
fn who_never_had_a_base_subscription_has_no_fallback() {
    let mut story = life([fallback(base(1, DAYS_30, 50))]);
    story.touch(day(1));
    assert_eq!(story.balance(day(100)), 0);
}

#[test]
fn a_reset_ends_the_old_credit_and_begins_a_period_and_keep_and_add_only_adds() {
    let story = life([base(1, DAYS_30, 1_000), base(2, DAYS_30, 2_000)]);
    let changed = |credits| {
        let mut story = story.clone();
        let id = story.subscribe(day(0), 1);
        story.apply(day(1), usage("u", "f", 300)).unwrap();
        story.change(day(15), id, 2, credits);
        let end = story.account.wallet.base().unwrap().current_period.end;
        (story.balance(day(15)), end)
    };
    assert_eq!(changed(ChangeCredits::Reset), (2_000, day(45)));
    assert_eq!(changed(ChangeCredits::KeepAndAdd), (700 + 2_000, day(30)));
    assert_eq!(changed(ChangeCredits::Prorate), (200 + 1_000, day(30)));
}

#[test]
fn a_change_at_the_period_end_waits_for_it_and_needs_its_renewal() {
    let mut story = life([base(1, DAYS_30, 1_000), base(2, DAYS_30, 2_000)]);
    let id = story.subscribe(day(0), 1);
    let later = Action::Change {
        variant_id: variant_id(2),
        quantity: Some(2),
        at: When::PeriodEnd,
        credits: ChangeCredits::Prorate,
    };
    story.ask(day(5), id, later).unwrap();
    assert_eq!(story.balance(day(29)), 1_000);
    let unpaid = story.clone();
    assert_eq!(unpaid.status(day(30), id), Some(SubscriptionStatus::PastDue));
    story.ask(day(27), id, Action::Renew).unwrap();
    assert_eq!(story.balance(day(30)), 4_000, "two seats of the other variant");
}

#[test]
fn a_renewal_is_due_some_days_before_the_end_and_once() {
    let mut story = life([base(1, DAYS_30, 10)]);
    let id = story.subscribe(day(0), 1);
    let early = day(27).saturating_add_micros(-1);
    assert_eq!(story.ask(early, id, Action::Renew), Err(Refusal::RenewalNotDue { from: day(27) }));
    let last = day(30).saturating_add_micros(-1);
    story.ask(last, id, Action::Renew).unwrap();
    assert_eq!(story.ask(last, id, Action::Renew), Err(Refusal::AlreadyRenewed(id)));
    assert_eq!(story.status(day(30), id), Some(SubscriptionStatus::Active));
    let in_grace = day(63).saturating_add_micros(-1);
    let mut late = story.clone();
    late.ask(in_grace, id, Action::MarkPaid).unwrap();
    assert_eq!(late.balance(in_grace), 10);
    let after = story.ask(day(63), id, Action::Renew);
    let (from, asked) = (SubscriptionStatus::Expired, Happening::Renew);
    assert_eq!(after, Err(Refusal::InvalidTransition { id, from, asked }));
}

#[test]
fn a_pause_across_a_period_end_moves_it_and_what_was_there_rolls_then() {
    let mut story = life([free(rolling(base(1, DAYS_30, 100), 50, None))]);
    let id = story.subscribe(day(0), 1);
    story.ask(day(20), id, Action::Pause { at: When::Now, resume_at: None }).unwrap();
    assert_eq!([29, 30, 99].map(|number| story.balance(day(number))), [100, 100, 100]);
    story.ask(day(100), id, Action::Resume).unwrap();
    assert_eq!([109, 110].map(|number| story.balance(day(number))), [100, 50 + 100]);
    assert_eq!(story.balance(day(140)), 50 + 100, "what had rolled ends, and 50 of the next roll");
}

#[test]
fn a_pause_at_the_period_end_stops_right_there() {
    let mut story = life([free(base(1, DAYS_30, 100))]);
    let id = story.subscribe(day(0), 1);
    let pause = Action::Pause { at: When::PeriodEnd, resume_at: Some(day(40)) };
    story.ask(day(5), id, pause).unwrap();
    story.apply(day(6), usage("u", "f", 70)).unwrap();
    assert_eq!([30, 39].map(|number| story.balance(day(number))), [30, 30], "nothing ends, nothing is granted");
    assert_eq!(story.balance(day(40)), 100, "the period ends at once when it goes on");
    assert_eq!(story.balance(day(69)), 100);
}

#[test]
fn a_trial_becomes_a_subscription_or_the_free_plan() {
    let trial = GrantTemplate { on: GrantOn::Trial, ..monthly(7) };
    let mut with_trial = postpaid(base(1, DAYS_30, 100));
    with_trial.trial_days = 14;
    with_trial.grants.push(trial.clone());
    let mut prepaid = base(2, DAYS_30, 100);
    prepaid.trial_days = 14;
    prepaid.grants.push(trial);
    let mut story = life([with_trial, prepaid, fallback(base(3, DAYS_30, 5))]);
    let mut other = story.clone();

    let id = story.subscribe(day(0), 1);
    assert_eq!((story.status(day(0), id), story.balance(day(13))), (Some(SubscriptionStatus::Trialing), 7));
    assert_eq!((story.status(day(14), id), story.balance(day(14))), (Some(SubscriptionStatus::Active), 100));
    story.ask(day(20), id, cancel(When::Now)).unwrap();
    let again = story.subscribe(day(21), 1);
    assert_eq!(story.status(day(21), again), Some(SubscriptionStatus::Active), "a trial is had once per plan");

    let id = other.subscribe(day(0), 2);
    let mut converts = other.clone();
    assert_eq!((other.status(day(14), id), other.balance(day(14))), (None, 5), "prepaid expires into the free plan");
    converts.ask(day(3), id, Action::Convert(When::PeriodEnd)).unwrap();
    assert_eq!((converts.status(day(14), id), converts.balance(day(14))), (Some(SubscriptionStatus::Active), 100));
    other.ask(day(3), id, Action::Convert(When::Now)).unwrap();
    assert_eq!(other.balance(day(3)), 107, "the trial's credit lives on");
    assert_eq!(other.account.wallet.base().unwrap().current_period, Interval { start: day(3), end: day(33) });
}

#[test]
fn a_postpaid_year_turns_by_itself_and_bills_each_months_debt_once() {
    let mut story = life([postpaid(base(1, MONTH, 100))]);
    story.subscribe(date("2027-01-01"), 1);
    for month in 1..=12 {
        let middle = date(&format!("2027-{month:02}-15"));
        story.apply(middle, usage(&format!("{month}"), "endless", 110)).unwrap();
        assert_eq!(story.balance(middle), -10);
    }
    story.touch(date("2028-01-01"));
    let billed = story.effects.entries.iter().flat_map(|entry| &entry.body.billed);
    assert_eq!(billed.map(|(_, amount)| amount.get()).sum::<i64>(), 120);
    assert_eq!(story.balance(date("2028-01-01")), 100);
}

#[test]
fn a_void_of_usage_that_an_invoice_has_brings_no_credit() {
    let mut story = life([postpaid(base(1, DAYS_30, 100))]);
    story.subscribe(day(0), 1);
    let event = usage("over", "endless", 150);
    story.apply(day(10), event.clone()).unwrap();
    let void = quotastack_core::ledger::command::Void { usage_id: event.id, reason: None };
    story.apply(day(31), Command::Void(void)).unwrap();
    assert_eq!(story.balance(day(31)), 100, "100 went back to a block that is over, 50 are the invoice's");
    let last = story.effects.entries.iter().rfind(|entry| !entry.body.billed.is_empty()).unwrap();
    assert_eq!(last.body.billed, [(feature_key("endless"), credits(50))]);
}

#[test]
fn a_contract_ends_with_its_term_or_renews_for_another() {
    let bound = |auto_renew| Variant { contract: Some(Contract::new(2, auto_renew)), ..free(base(1, DAYS_30, 10)) };
    let mut story = life([bound(false), fallback(base(2, DAYS_30, 5))]);
    let id = story.subscribe(day(0), 1);
    assert_eq!([59, 60].map(|number| story.balance(day(number))), [10, 5]);
    assert_eq!(story.status(day(60), id), None);
    let mut story = life([bound(true)]);
    let id = story.subscribe(day(0), 1);
    assert_eq!(story.status(day(60), id), Some(SubscriptionStatus::Active));
    story.touch(day(60));
    assert_eq!(story.account.wallet.base().unwrap().contract_end, Some(day(120)));
}

#[test]
fn usage_stamped_exactly_at_a_period_end_is_of_the_new_period() {
    let mut story = life([free(base(1, DAYS_30, 100))]);
    story.subscribe(day(0), 1);
    let late = quotastack_core::ledger::command::Usage { effective_at: Some(day(30)), ..usage("at the end", "f", 100) };
    story.apply(day(31), late).unwrap();
    let before = day(30).saturating_add_micros(-1);
    let older = quotastack_core::ledger::command::Usage { effective_at: Some(before), ..usage("before", "f", 100) };
    story.apply(day(31), older).unwrap();
    assert_eq!(story.balance(day(31)), 0, "each is paid by the period it counts in");
}

#[test]
fn addons_need_a_paid_base_sleep_with_it_and_end_with_it() {
    let mut story = life([base(1, DAYS_30, 100), addon(2, DAYS_30, 10), fallback(base(3, DAYS_30, 5))]);
    story.subscribe(day(0), 3);
    let order = Subscribe::now(variant_id(2), 1);
    assert_eq!(story.try_subscribe(day(0), order), Err(Refusal::NoBaseSubscription), "not beside a fallback");
    let id = story.subscribe(day(0), 1);
    let extra = story.subscribe(day(10), 2);
    story.ask(day(15), id, Action::Pause { at: When::Now, resume_at: Some(day(20)) }).unwrap();
    assert_eq!(story.status(day(15), extra), Some(SubscriptionStatus::Paused));
    assert_eq!(story.status(day(20), extra), Some(SubscriptionStatus::Active));
    let void = Action::Cancel { at: When::Now, credits: EndCredits::Void };
    story.ask(day(25), extra, void).unwrap();
    assert_eq!(story.balance(day(25)), 100 + 5, "removed in the middle of its period");
    let extra = story.subscribe(day(26), 2);
    story.ask(day(27), id, void).unwrap();
    assert_eq!((story.status(day(27), extra), story.balance(day(27))), (None, 5));
}

#[test]
fn grants_by_the_week_run_across_periods_and_those_by_the_hour_are_there_for_whoever_comes() {
    let every = |count, unit, amount| GrantTemplate {
        interval: GrantInterval::Every(Period { count, unit }),
        ..monthly(amount)
    };
    let mut weekly = free(base(1, DAYS_30, 1));
    weekly.grants = vec![every(1, PeriodUnit::Week, 10)];
    let mut hourly = free(base(2, DAYS_30, 1));
    hourly.grants = vec![every(6, PeriodUnit::Hour, 3)];
    let mut story = life([weekly, hourly]);
    let mut idle = story.clone();
    story.subscribe(day(0), 1);
    story.apply(day(29), usage("u", "f", 10)).unwrap();
    assert_eq!([29, 30, 34, 35].map(|number| story.balance(day(number))), [0, 0, 0, 10]);

    idle.subscribe(day(0), 2);
    idle.apply(day(0), usage("first", "f", 3)).unwrap();
    let written = idle.effects.entries.len();
    assert_eq!(idle.account.wallet.next_due(), Some(day(30)), "nobody is woken for hours");
    let noon = at(12 * 3_600 + 1);
    assert_eq!(idle.balance(noon), 3);
    idle.apply(noon, usage("second", "f", 2)).unwrap();
    assert_eq!(idle.effects.entries.len(), written + 2, "the interval that runs, and the usage");
    assert_eq!(idle.balance(at(18 * 3_600)), 3);
}

#[test]
fn a_running_customer_is_taken_over_with_the_period_they_have() {
    let story = life([free(base(1, DAYS_30, 300))]);
    let imported = |grants| {
        let mut story = story.clone();
        let import = Some(Import { period_start: day(0), grants });
        let own = story.try_subscribe(day(20), Subscribe { import, ..Subscribe::now(variant_id(1), 1) }).unwrap();
        assert_eq!(own.current_period, Interval { start: day(0), end: day(30) });
        [20, 30].map(|number| story.balance(day(number)))
    };
    assert_eq!(imported(ImportGrants::Full), [300, 300]);
    assert_eq!(imported(ImportGrants::Prorated), [100, 300]);
    assert_eq!(imported(ImportGrants::None), [0, 300]);
    let mut story = story.clone();
    let import = Some(Import { period_start: day(0), grants: ImportGrants::Full });
    let late = story.try_subscribe(day(30), Subscribe { import, ..Subscribe::now(variant_id(1), 1) });
    assert_eq!(late, Err(Refusal::ImportOutOfRange { now: day(30) }));
}

#[test]
fn a_scheduled_subscription_follows_one_that_ends_by_then() {
    let mut story = life([base(1, DAYS_30, 100), base(2, DAYS_30, 200), fallback(base(3, DAYS_30, 5))]);
    let id = story.subscribe(day(0), 1);
    let later = Subscribe { start_at: Some(day(30)), ..Subscribe::now(variant_id(2), 1) };
    assert_eq!(story.try_subscribe(day(1), later.clone()), Err(Refusal::BaseSubscriptionLive(id)));
    story.ask(day(1), id, cancel(When::PeriodEnd)).unwrap();
    let next = story.try_subscribe(day(1), later.clone()).unwrap();
    assert_eq!(next.status, SubscriptionStatus::Scheduled);
    assert_eq!(story.try_subscribe(day(1), later), Err(Refusal::SubscriptionScheduled(next.id)));
    let back = story.ask(day(2), id, Action::Uncancel(quotastack_core::subscription::order::Uncancel::All));
    assert_eq!(back, Err(Refusal::SubscriptionScheduled(next.id)));
    assert_eq!([29, 30].map(|number| story.balance(day(number))), [100, 200], "no fallback in between");
    assert_eq!(story.status(day(30), next.id), Some(SubscriptionStatus::Active));
}

#[test]
fn a_running_subscription_keeps_its_version_until_it_is_migrated() {
    let mut story = life([free(base(1, DAYS_30, 100))]);
    let id = story.subscribe(day(0), 1);
    story.catalogue.add_variant(variant_id(1), Variant { version: 2, ..free(base(1, DAYS_30, 200)) });
    assert_eq!(story.balance(day(30)), 100);
    let migrate = Action::Migrate { at: When::PeriodEnd, credits: ChangeCredits::Prorate };
    story.ask(day(31), id, migrate).unwrap();
    assert_eq!(story.balance(day(60)), 200);
    let again = Action::Migrate { at: When::Now, credits: ChangeCredits::Prorate };
    assert_eq!(story.ask(day(60), id, again), Err(Refusal::NothingToChange(id)));
}

#[test]
fn seats_are_prorated() {
    let mut story = life([base(1, DAYS_30, 100)]);
    let id = story.subscribe(day(0), 1);
    story.ask(day(15), id, Action::SetQuantity(3)).unwrap();
    assert_eq!(story.balance(day(15)), 50 + 150);
    assert_eq!(story.blocks().iter().filter(|block| block.0 == BlockKind::Plan).count(), 2);
}

#[test]
fn what_was_marked_overdue_goes_on_until_its_grace_ends() {
    let mut story = life([free(base(1, DAYS_30, 100))]);
    let id = story.subscribe(day(0), 1);
    story.ask(day(28), id, Action::MarkOverdue).unwrap();
    assert_eq!((story.balance(day(30)), story.status(day(30), id)), (100, Some(SubscriptionStatus::PastDue)));
    let mut paid = story.clone();
    paid.ask(day(30), id, Action::MarkPaid).unwrap();
    assert_eq!(paid.status(day(31), id), Some(SubscriptionStatus::Active));
    assert_eq!(story.status(day(31), id), None);
}
