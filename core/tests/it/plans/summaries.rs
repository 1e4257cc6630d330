//! Summaries of postpaid periods: what is in which, when it is sent, and that nothing is in two.

use quotastack_core::ledger::command::{Commit, Usage, Void};
use quotastack_core::ledger::event::EventKind;
use quotastack_core::ledger::tally::{FeatureUsage, Used};
use quotastack_core::subscription::order::{Action, ChangeCredits, When};

use super::*;
use crate::support::{commit, reserve, usage};

/// Feature: events, units, cost, billed.
type Rows = Vec<(String, [i64; 4])>;

/// A summary: hour in which it was due, hours of the period, what was used, what was late.
type Line = (i64, [i64; 2], Rows, Rows);

fn hour(number: i64) -> Timestamp {
    at(number * 3_600)
}

fn rows(features: &[FeatureUsage]) -> Rows {
    let row = |usage: &FeatureUsage| {
        let Used { events, units, cost, billed } = usage.used;
        (usage.feature_key.as_str().to_owned(), [events, units, cost, billed])
    };
    features.iter().map(row).collect()
}

fn summaries(story: &Story) -> Vec<Line> {
    let hours = |at: Timestamp| at.micros_since(day(0)) / 3_600_000_000;
    let line = |event: &quotastack_core::ledger::event::Event| match &event.kind {
        EventKind::UsageSummary { period, features, late, .. } => {
            Some((hours(event.at), [hours(period.start), hours(period.end)], rows(features), rows(late)))
        }
        _ => None,
    };
    story.effects.events.iter().filter_map(line).collect()
}

fn used(feature: &str, figures: [i64; 4]) -> Rows {
    vec![(feature.to_owned(), figures)]
}

fn nothing() -> Rows {
    Vec::new()
}

/// A postpaid base of 30 days that gives nothing worth speaking of.
fn metered_base(number: u8) -> Variant {
    postpaid(base(number, DAYS_30, 1))
}

fn use_at(story: &mut Story, now: Timestamp, key: &str, count: i64, counts_at: Timestamp) -> Usage {
    let event = Usage { effective_at: Some(counts_at), ..usage(key, "endless", count) };
    story.apply(now, event.clone()).unwrap();
    event
}

fn void(story: &mut Story, now: Timestamp, event: &Usage) {
    story.apply(now, Command::Void(Void { usage_id: event.id, reason: None })).unwrap();
}

#[test]
fn a_period_is_summed_up_an_hour_after_its_end_with_what_its_invoice_has() {
    let mut story = life([postpaid(base(1, DAYS_30, 100))]);
    story.subscribe(day(0), 1);
    story.apply(day(10), usage("over", "endless", 150)).unwrap();
    story.apply(day(30), usage("next", "endless", 7)).unwrap();
    assert_eq!(summaries(&story), []);
    assert_eq!(story.account.next_due(), Some(hour(721)));
    story.touch(day(32));
    let first = (721, [0, 720], used("endless", [1, 150, 150, 50]), nothing());
    assert_eq!(summaries(&story), std::slice::from_ref(&first));
    story.touch(day(61));
    assert_eq!(summaries(&story), [first, (1_441, [720, 1_440], used("endless", [1, 7, 7, 0]), nothing())]);
}

#[test]
fn what_arrives_after_the_summary_is_late_in_the_next_one() {
    let mut story = life([metered_base(1)]);
    story.subscribe(day(0), 1);
    use_at(&mut story, day(1), "in time", 10, day(1));
    let last = day(30).saturating_add_micros(-1);
    use_at(&mut story, day(30), "within the hour", 20, last);
    use_at(&mut story, day(30), "of the next", 40, day(30));
    use_at(&mut story, day(31), "late", 80, last);
    story.touch(day(61));
    let late = used("endless", [1, 80, 80, 0]);
    // The late event's debt is owed in the period in which it arrived, and billed with it.
    let expected = [
        (721, [0, 720], used("endless", [2, 30, 30, 9]), nothing()),
        (1_441, [720, 1_440], used("endless", [1, 40, 40, 20 + 40 - 1 + 80]), late),
    ];
    assert_eq!(summaries(&story), expected);
}

#[test]
fn what_is_undone_is_taken_off_before_the_summary_and_late_after_it() {
    let mut story = life([metered_base(1)]);
    story.subscribe(day(0), 1);
    let events = [(1, 10), (2, 20), (3, 40), (4, 80)];
    let events =
        events.map(|(number, count)| use_at(&mut story, day(number), &format!("{number}"), count, day(number)));
    void(&mut story, day(5), &events[0]);
    void(&mut story, day(30), &events[1]);
    story.touch(day(31));
    // 150 were used; 1 was granted. 10 came back while they were owed, 20 from the invoice of 139.
    assert_eq!(summaries(&story), [(721, [0, 720], used("endless", [2, 120, 120, 119]), nothing())]);
    void(&mut story, day(31), &events[2]);
    story.touch(day(61));
    let late = used("endless", [-1, -40, -40, -40]);
    assert_eq!(summaries(&story)[1..], [(1_441, [720, 1_440], nothing(), late)]);
    void(&mut story, day(200), &events[3]);
    story.touch(day(211));
    let last = summaries(&story).pop().unwrap();
    assert_eq!((last.1, &last.3), ([4_320, 5_040], &used("endless", [-1, -80, -80, -79])), "however much later");
}

#[test]
fn a_commit_counts_when_its_reservation_was_made() {
    let mut story = life([postpaid(base(1, DAYS_30, 100))]);
    story.subscribe(day(0), 1);
    let eve = hour(719);
    story.apply(eve, Command::Reserve(reserve("job", "f", 50, 86_400))).unwrap();
    let part = Commit { is_final: false, ..commit("job", "first", 20) };
    story.apply(day(30), Command::Commit(part)).unwrap();
    story.apply(hour(722), Command::Commit(commit("job", "second", 30))).unwrap();
    story.touch(day(61));
    let expected = [
        (721, [0, 720], used("f", [1, 20, 20, 0]), nothing()),
        (1_441, [720, 1_440], nothing(), used("f", [1, 30, 30, 0])),
    ];
    assert_eq!(summaries(&story), expected);
}

#[test]
fn whoever_is_away_for_half_a_year_finds_the_summaries_of_whoever_was_there() {
    let mut away = life([metered_base(1)]);
    away.subscribe(day(0), 1);
    use_at(&mut away, day(3), "once", 5, day(3));
    let mut there = away.clone();
    for number in 1..(185 * 24) {
        there.touch(hour(number));
    }
    away.touch(hour(185 * 24 - 1));
    assert_eq!(summaries(&away), summaries(&there));
    assert_eq!(summaries(&away).len(), 6, "periods without usage too");
    assert!(away.effects.events.is_sorted_by_key(|event| event.at), "in the order of their instants");
}

#[test]
fn the_last_period_has_its_summary_and_what_is_late_then_waits_for_another_subscription() {
    let mut story = life([metered_base(1)]);
    let id = story.subscribe(day(0), 1);
    let first = use_at(&mut story, day(5), "first", 10, day(5));
    let second = use_at(&mut story, day(12), "at the very end", 20, day(12));
    story.ask(day(12), id, cancel(When::Now)).unwrap();
    // Nobody is subscribed at these two, though the clock stands.
    let third = use_at(&mut story, day(12), "right after it", 40, day(12));
    use_at(&mut story, day(13), "later", 80, day(13));
    let expected = (12 * 24 + 1, [0, 12 * 24], used("endless", [2, 30, 30, 29]), nothing());
    assert_eq!(summaries(&story), [expected]);
    void(&mut story, day(14), &second);
    void(&mut story, day(14), &third);
    story.subscribe(day(20), 1);
    void(&mut story, day(21), &first);
    story.touch(day(51));
    let late = used("endless", [-2, -30, -30, 0]);
    let last = summaries(&story).pop().unwrap();
    assert_eq!((last.0, last.1, last.3), (50 * 24 + 1, [20 * 24, 50 * 24], late));
}

#[test]
fn a_pause_makes_the_period_longer_and_its_summary_comes_later() {
    let mut story = life([metered_base(1)]);
    let id = story.subscribe(day(0), 1);
    story.ask(day(10), id, Action::Pause { at: When::Now, resume_at: Some(day(20)) }).unwrap();
    use_at(&mut story, day(15), "meanwhile", 5, day(15));
    story.touch(day(45));
    assert_eq!(summaries(&story), [(961, [0, 960], used("endless", [1, 5, 5, 4]), nothing())]);
}

#[test]
fn a_change_goes_on_with_the_period_or_ends_it() {
    let week = Period { count: 1, unit: PeriodUnit::Week };
    let story = life([metered_base(1), metered_base(2), postpaid(base(3, week, 1)), base(4, DAYS_30, 1)]);
    let changed = |from, to| {
        let mut story = story.clone();
        let id = story.subscribe(day(0), from);
        use_at(&mut story, day(5), "before", 10, day(5));
        story.change(day(10), id, to, ChangeCredits::KeepAndAdd);
        use_at(&mut story, day(15), "after", 20, day(15));
        use_at(&mut story, day(16), "late, from before", 40, day(9));
        story.touch(day(31));
        summaries(&story).into_iter().map(|(due, period, used, late)| (due, period, used[0].1[..3].to_vec(), late))
    };
    let one = |period, figures: [i64; 3]| (720 + 1, period, figures.to_vec(), nothing());
    assert_eq!(changed(1, 2).collect::<Vec<_>>(), [one([0, 720], [3, 70, 70])], "the period goes on");
    assert_eq!(changed(1, 4).collect::<Vec<_>>(), [one([0, 720], [3, 70, 70])], "and is summed up as it began");
    assert_eq!(changed(4, 1).collect::<Vec<_>>(), [one([240, 720], [1, 20, 20])], "postpaid from day 10 on");
    let two: Vec<_> = changed(1, 3).take(2).collect();
    let late = used("endless", [1, 40, 40, 0]);
    let expected = [(241, [0, 240], vec![1, 10, 10], nothing()), (409, [240, 408], vec![1, 20, 20], late)];
    assert_eq!(two, expected, "another length opens another period");
}

#[test]
fn the_delay_is_the_variants_from_none_to_three_days() {
    let daily = |minutes| {
        let daily = postpaid(base(1, Period { count: 1, unit: PeriodUnit::Day }, 1));
        let mut story = life([Variant { summary_delay_minutes: minutes, ..daily }]);
        story.subscribe(day(0), 1);
        story
    };
    let mut slow = daily(72 * 60);
    for number in 0..5 {
        use_at(&mut slow, day(number), &format!("{number}"), 10, day(number));
        use_at(&mut slow, day(number), &format!("{number}, a day late"), 1, day((number - 1).max(0)));
    }
    let first: Vec<_> =
        summaries(&slow).into_iter().map(|(due, period, used, _)| (due, period, used[0].1[..2].to_vec())).collect();
    assert_eq!(first, [(4 * 24, [0, 24], vec![3, 12])]);
    slow.touch(day(5));
    assert_eq!(summaries(&slow)[1].2[0].1[..2], [2, 11]);

    let mut at_once = daily(0);
    use_at(&mut at_once, hour(1), "u", 10, hour(1));
    let id = at_once.account.wallet.base().unwrap().id;
    at_once.ask(hour(2), id, cancel(When::Now)).unwrap();
    assert_eq!(summaries(&at_once), [(2, [0, 2], used("endless", [1, 10, 10, 9]), nothing())]);
}

#[test]
fn a_trial_is_no_period_and_who_is_not_postpaid_tallies_nothing() {
    let with_trial = Variant { trial_days: 10, ..metered_base(1) };
    let mut story = life([with_trial, free(base(2, DAYS_30, 1)), postpaid(addon(3, DAYS_30, 1))]);
    let mut prepaid = story.clone();
    story.subscribe(day(0), 1);
    let on_trial = use_at(&mut story, day(5), "on trial", 10, day(5));
    use_at(&mut story, day(11), "then", 20, day(11));
    use_at(&mut story, day(11), "of the trial, late", 40, day(6));
    void(&mut story, day(12), &on_trial);
    story.touch(day(41));
    assert_eq!(summaries(&story)[0].2[0].1[..3], [1, 20, 20]);

    prepaid.subscribe(day(0), 2);
    prepaid.subscribe(day(0), 3);
    use_at(&mut prepaid, day(5), "u", 10, day(5));
    prepaid.touch(day(100));
    assert!(prepaid.account.tallies.is_empty(), "an add-on's usage is that of its base");
}
