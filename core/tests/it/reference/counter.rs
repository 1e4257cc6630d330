//! Tier counters, counted anew from all events and holds each time.
//!
//! A counter is the units per (account, feature, rule's match, window start). An open hold counts with its estimate, or
//! with what was committed if that is more; a closed one with what was committed. What was voided has left.

use super::DAY;
use super::command::Micros;
use super::figures::CounterFigures;
use super::model::{Hold, HoldState, Model};
use super::price::{Properties, Window};

impl Model {
    /// Units before one that comes now and counts at `at`.
    pub(super) fn place(&self, feature: &str, rule: Option<usize>, at: Micros) -> i64 {
        let window = self.features[feature].price_of(rule).window();
        if window == Window::Event {
            return 0;
        }
        let matches = self.matches_of(feature, rule);
        self.units_counted()
            .into_iter()
            .filter(|counted| counted.feature == feature && self.matches_of(feature, counted.rule) == matches)
            .filter(|counted| window_start(window, counted.at) == window_start(window, at))
            .map(|counted| counted.units)
            .sum()
    }

    pub(super) fn counters(&self) -> Vec<CounterFigures> {
        let mut counters: Vec<CounterFigures> = Vec::new();
        for counted in self.units_counted() {
            let window = self.features[&counted.feature].price_of(counted.rule).window();
            if window == Window::Event {
                continue;
            }
            let window_start = window_start(window, counted.at);
            let same = |other: &&mut CounterFigures| {
                (&other.feature, other.rule, other.window_start) == (&counted.feature, counted.rule, window_start)
            };
            match counters.iter_mut().find(same) {
                Some(counter) => counter.units += counted.units,
                None => counters.push(CounterFigures {
                    feature: counted.feature,
                    rule: counted.rule,
                    window_start,
                    units: counted.units,
                }),
            }
        }
        counters.retain(|counter| counter.units != 0);
        counters.sort_by(|a, b| (&a.feature, a.rule, a.window_start).cmp(&(&b.feature, b.rule, b.window_start)));
        counters
    }

    fn units_counted(&self) -> Vec<Counted> {
        let events = self.events.iter().filter(|event| event.commit_of.is_none() && event.voided.is_none());
        let holds = self.holds.iter().map(|hold| Counted {
            feature: hold.feature.clone(),
            rule: hold.rule,
            at: hold.reserved_at,
            units: self.units_of_hold(hold),
        });
        events
            .map(|event| Counted {
                feature: event.feature.clone(),
                rule: event.rule,
                at: event.effective_at,
                units: event.units,
            })
            .chain(holds)
            .collect()
    }

    fn units_of_hold(&self, hold: &Hold) -> i64 {
        let taken_up = match hold.state {
            HoldState::Active => hold.estimate.max(hold.committed_units),
            HoldState::Committed | HoldState::Released | HoldState::Expired => hold.committed_units,
        };
        let commits = self.events.iter().filter(|event| event.commit_of == Some(hold.id));
        let voided: i64 = commits.filter(|event| event.voided.is_some()).map(|event| event.units).sum();
        taken_up - voided
    }

    fn matches_of(&self, feature: &str, rule: Option<usize>) -> Properties {
        rule.map(|number| self.features[feature].rules[number].matches.clone()).unwrap_or_default()
    }
}

struct Counted {
    feature: String,
    rule: Option<usize>,
    at: Micros,
    units: i64,
}

fn window_start(window: Window, at: Micros) -> Option<Micros> {
    match window {
        Window::CalendarMonth => Some(month_start(at)),
        Window::Event | Window::Lifetime => None,
    }
}

/// The first instant of the month in UTC, found by walking through the months since 1970.
fn month_start(at: Micros) -> Micros {
    let mut start = 0;
    for year in 1970.. {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        for days in [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            let next = start + days * DAY;
            if at < next {
                return start;
            }
            start = next;
        }
    }
    unreachable!("every instant is in a month")
}
