//! Tier counters: how many units were counted in a window, in order of recording.
//!
//! A counter belongs to (feature, the rule's `match`, start of the window); it lives across price versions and plan
//! changes. Source: docs/ledger.md, "Price of a feature".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::credits::{AMOUNT_MAX, AmountOutOfRange, Units};
use crate::ids::FeatureKey;
use crate::limits::LATE_WINDOW_MICROS;
use crate::time::{Interval, Timestamp};

/// Which counter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CounterKey {
    /// Of this feature.
    pub feature_key: FeatureKey,
    /// The properties that the price's rule matches; empty = no rule.
    pub matches: BTreeMap<String, String>,
    /// When its window began; `None` = it never did (lifetime).
    pub from: Option<Timestamp>,
    /// When its window ends; `None` = never.
    pub until: Option<Timestamp>,
}

/// A counter and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Which.
    pub key: CounterKey,
    /// Units so far, more than 0.
    pub units: Units,
}

/// The counters of an account whose windows usage can still fall into.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counters(Vec<Counter>);

impl Counters {
    /// All of them, in order of their keys.
    pub fn iter(&self) -> std::slice::Iter<'_, Counter> {
        self.0.iter()
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How far a counter is.
    pub fn units_of(&self, key: &CounterKey) -> Units {
        self.place_of(key).map_or(Units::default(), |place| self.0[place].units)
    }

    /// Refuses units that would take a counter beyond the largest count.
    pub fn check_room_for(&self, key: &CounterKey, units: Units) -> Result<(), AmountOutOfRange> {
        Units::new(self.units_of(key).get().saturating_add(units.get())).map(|_| ())
    }

    /// Moves a counter by a signed number of units, within 0 and the largest count. One whose window was forgotten
    /// stays so: nothing can fall into it any more.
    pub fn add(&mut self, key: &CounterKey, units: i64) {
        match self.place_of(key) {
            Ok(place) => {
                let sum = self.0[place].units.get().saturating_add(units).clamp(0, AMOUNT_MAX);
                self.0[place].units = Units::new(sum).expect("the sum was clamped into the range");
                if sum == 0 {
                    self.0.remove(place);
                }
            }
            Err(place) if units > 0 => {
                let units = Units::new(units.min(AMOUNT_MAX)).expect("the count was clamped into the range");
                self.0.insert(place, Counter { key: key.clone(), units });
            }
            Err(_) => {}
        }
    }

    /// Forgets windows that no usage recorded from `now` on can fall into. Those of billing periods may be longer than
    /// they say: `periods` are still needed.
    pub fn forget_closed(&mut self, now: Timestamp, periods: &[Interval]) {
        self.0.retain(|counter| !counter.key.is_closed(now) || counter.key.is_of(periods));
    }

    /// Keeps only windows that `now` lies in, the running `period`'s among them: what a check needs.
    pub fn keep_current(&mut self, now: Timestamp, period: Option<Interval>) {
        self.0.retain(|counter| {
            counter.key.until.is_none_or(|until| now < until) || counter.key.is_of(period.as_slice())
        });
    }

    fn place_of(&self, key: &CounterKey) -> Result<usize, usize> {
        self.0.binary_search_by(|counter| counter.key.cmp(key))
    }
}

impl CounterKey {
    fn is_of(&self, windows: &[Interval]) -> bool {
        windows.iter().any(|window| (self.from, self.until) == (Some(window.start), Some(window.end)))
    }

    /// Whether its window lies so far back that usage can no longer fall into it.
    pub fn is_closed(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now.saturating_add_micros(-LATE_WINDOW_MICROS))
    }
}
