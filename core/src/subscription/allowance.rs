//! An [`Allowance`]: what a recurring grant template gives in the interval that runs.
//!
//! It is kept also where the grant came out as nothing, so that a change takes back what was not earned of it and no
//! more. Source: docs/subscriptions.md, "Change".

use serde::{Deserialize, Serialize};

use crate::credits::{AMOUNT_MAX, Credits};
use crate::time::{Interval, Period, Series, Timestamp};

/// What one template gives in the interval that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Index of the template in its variant.
    pub template: u16,
    /// What the interval is worth, before what was owed was taken off.
    pub amount: Credits,
    /// When its block, if there is one, began: the block is found by that.
    pub granted_at: Timestamp,
    /// When the interval ends.
    pub until: Timestamp,
    /// How long `amount` is for, in microseconds, more than 0.
    pub span_micros: i64,
    /// The length of its intervals where they are its own; `None` = it turns with the billing period.
    pub every: Option<Period>,
}

/// Intervals of templates' own: counted from one instant, on a clock that stands in pauses. So those of one length are
/// the same whatever was changed and paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervals {
    /// Where the first one begins.
    pub from: Timestamp,
    /// How long the clock has stood since, in microseconds.
    pub paused_micros: i64,
}

impl Intervals {
    /// From `from` on, without a pause so far.
    pub(super) const fn begin(from: Timestamp) -> Self {
        Self { from, paused_micros: 0 }
    }

    /// The interval of `length` that runs at `at`, and the end of the one after it. It is as long as it is without
    /// pauses; its end is where the clock comes to it.
    pub(super) fn running(self, length: Period, at: Timestamp) -> (Interval, Timestamp) {
        let moved = |instant: Timestamp| instant.saturating_add_micros(self.paused_micros);
        let (interval, series) = Series::containing(self.from, length, at.saturating_add_micros(-self.paused_micros));
        let Interval { start, end } = interval;
        (Interval { start: moved(start), end: moved(end) }, moved(series.next_end(length)))
    }

    pub(super) fn pause_for(&mut self, micros: i64) {
        self.paused_micros = self.paused_micros.saturating_add(micros);
    }
}

impl Allowance {
    /// What of it is not earned by `now`, rounded up.
    pub fn unearned(&self, now: Timestamp) -> Credits {
        let left = self.until.micros_since(now).clamp(0, self.span_micros);
        share(self.amount, left, self.span_micros, self.span_micros - 1)
    }

    /// Whether its interval is over by `now`, and the next one is its own.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.every.is_some() && self.until <= now && self.until < Timestamp::MAX
    }

    /// Whether nobody is woken for it.
    pub(super) fn is_lazy(&self) -> bool {
        self.every.is_some_and(Period::is_shorter_than_a_day)
    }

    /// Its subscription goes on after a pause of this length.
    pub(super) fn move_by(&mut self, micros: i64) {
        self.until = self.until.saturating_add_micros(micros);
    }
}

/// The part of `amount` that `left` is of `span`, rounded down.
pub(super) fn portion(amount: Credits, left: i64, span: i64) -> Credits {
    share(amount, left, span, 0)
}

fn share(amount: Credits, left: i64, span: i64, round: i64) -> Credits {
    let part = (i128::from(amount.get()) * i128::from(left) + i128::from(round)) / i128::from(span.max(1));
    clamped(part)
}

/// `amount` for each of `quantity`, held inside the range of amounts.
pub(super) fn times(amount: Credits, quantity: u32) -> Credits {
    clamped(i128::from(amount.get()) * i128::from(quantity))
}

fn clamped(amount: i128) -> Credits {
    let amount = i64::try_from(amount.clamp(0, i128::from(AMOUNT_MAX))).expect("the amount was clamped into the range");
    Credits::new(amount).expect("the amount was clamped into the range")
}
