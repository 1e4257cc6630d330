//! Contracts: when the end of a term is announced, and that it is once per term.

use quotastack_core::catalogue::Contract;
use quotastack_core::ledger::event::EventKind;
use quotastack_core::subscription::order::{Action, ChangeCredits, Uncancel, When};

use super::*;

/// A free base with this contract; its periods have 30 days.
fn bound(number: u8, contract: Contract) -> Variant {
    Variant { contract: Some(contract), ..free(base(number, DAYS_30, 10)) }
}

/// Day of the notice, day of the end that it names, and whether the contract renews.
fn notices(story: &Story) -> Vec<(i64, i64, bool)> {
    let day_of = |at: Timestamp| at.micros_since(day(0)) / 86_400_000_000;
    let row = |event: &quotastack_core::ledger::event::Event| match &event.kind {
        EventKind::ContractEnding { subscription, renews } => {
            Some((day_of(event.at), day_of(subscription.contract_end.unwrap()), *renews))
        }
        _ => None,
    };
    story.effects.events.iter().filter_map(row).collect()
}

#[test]
fn a_year_is_announced_to_end_thirty_days_before_once_per_term_however_late_it_is_written() {
    let mut story = life([bound(1, Contract::new(12, true))]);
    let mut awake = story.clone();
    story.subscribe(day(0), 1);
    awake.subscribe(day(0), 1);
    for number in 0..800 {
        awake.touch(day(number));
    }
    assert_eq!(notices(&awake), [(330, 360, true), (690, 720, true)]);
    story.touch(day(799));
    assert_eq!(notices(&story), notices(&awake));
    let happened = |story: &Story| story.effects.events.iter().map(|event| event.at).collect::<Vec<_>>();
    assert!(happened(&story).is_sorted(), "in the order of their instants");
}

#[test]
fn a_term_is_not_announced_to_end_in_its_first_half_and_not_at_all_with_no_days() {
    let announced = |periods, notice_days| {
        let mut story = life([bound(1, Contract { periods, auto_renew: false, notice_days })]);
        story.subscribe(day(0), 1);
        story.touch(day(365));
        notices(&story)
    };
    assert_eq!(announced(4, 30), [(90, 120, false)]);
    assert_eq!(announced(2, 30), [(30, 60, false)]);
    assert_eq!(announced(1, 30), [(15, 30, false)]);
    assert_eq!(announced(1, 7), [(23, 30, false)]);
    assert_eq!(announced(4, 0), []);
}

#[test]
fn a_pause_moves_the_notice_with_the_end() {
    let mut story = life([bound(1, Contract::new(12, false))]);
    let id = story.subscribe(day(0), 1);
    story.ask(day(320), id, Action::Pause { at: When::Now, resume_at: Some(day(350)) }).unwrap();
    assert_eq!(story.account.wallet.next_due(), Some(day(350)), "nothing is due in a pause");
    story.touch(day(395));
    assert_eq!(notices(&story), [(360, 390, false)]);
    assert_eq!(story.status(day(395), id), None);
}

#[test]
fn a_contract_that_is_changed_away_or_canceled_before_is_not_announced() {
    let story =
        life([bound(1, Contract::new(12, false)), free(base(2, DAYS_30, 20)), bound(3, Contract::new(2, true))]);
    let told = |then: &dyn Fn(&mut Story, SubscriptionId)| {
        let mut story = story.clone();
        let id = story.subscribe(day(0), 1);
        then(&mut story, id);
        story.touch(day(365));
        notices(&story)
    };
    let change = |to| move |story: &mut Story, id| story.change(day(310), id, to, ChangeCredits::Prorate);
    assert_eq!(told(&change(2)), []);
    // The new contract's first period is the one that runs, since day 300.
    assert_eq!(told(&change(3)), [(330, 360, true)]);
    let at_its_very_end = |story: &mut Story, id| {
        let credits = ChangeCredits::Prorate;
        let later = Action::Change { variant_id: variant_id(2), quantity: None, at: When::PeriodEnd, credits };
        story.ask(day(310), id, later).unwrap();
    };
    assert_eq!(told(&at_its_very_end), [], "the period of the notice begins with another variant");
    let canceled = |story: &mut Story, id| {
        story.ask(day(320), id, cancel(When::PeriodEnd)).unwrap();
    };
    assert_eq!(told(&canceled), []);
    let not_after_all = |story: &mut Story, id| {
        story.ask(day(331), id, cancel(When::PeriodEnd)).unwrap();
        story.ask(day(340), id, Action::Uncancel(Uncancel::CancelAt)).unwrap();
    };
    assert_eq!(told(&not_after_all), [(330, 360, false)], "it was announced before");
}

#[test]
fn a_cancellation_that_is_taken_back_after_the_notice_was_due_is_announced_at_once() {
    let mut story = life([bound(1, Contract::new(1, true))]);
    let id = story.subscribe(day(0), 1);
    story.ask(day(10), id, cancel(When::PeriodEnd)).unwrap();
    story.touch(day(20));
    assert_eq!(notices(&story), []);
    story.ask(day(21), id, Action::Uncancel(Uncancel::CancelAt)).unwrap();
    assert_eq!(notices(&story), [(21, 30, true)]);
}

#[test]
fn after_a_pause_a_contract_still_counts_the_period_that_runs() {
    let mut story = life([free(base(1, DAYS_30, 10)), bound(2, Contract::new(1, false))]);
    let id = story.subscribe(day(0), 1);
    story.ask(day(10), id, Action::Pause { at: When::Now, resume_at: Some(day(15)) }).unwrap();
    story.change(day(20), id, 2, ChangeCredits::Prorate);
    assert_eq!(story.account.wallet.base().unwrap().contract_end, Some(day(35)));
    assert_eq!(notices(&story), [(20, 35, false)], "more than half of the term is over");
    assert_eq!((story.status(day(34), id), story.status(day(35), id)), (Some(SubscriptionStatus::Active), None));
}
