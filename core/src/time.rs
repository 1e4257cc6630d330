//! [`Timestamp`]: UTC with microseconds, and the calendar arithmetic of billing periods.
//!
//! Source: docs/ledger.md, "Amounts and time". Logic never reads a clock: `now` is always an argument.

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds in one second.
pub const MICROS_PER_SECOND: i64 = 1_000_000;
/// Microseconds in one day.
pub const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// An instant, in microseconds since 1970-01-01T00:00:00Z. Text form: RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// Why a text is no timestamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a timestamp must be RFC 3339 with an offset, for example 2026-01-31T08:00:00Z, from 0001-01-01T00:00:00Z to 9999-12-25T00:00:00Z"
)]
pub struct InvalidTimestamp;

/// 0001-01-01T00:00:00Z.
const MICROS_MIN: i64 = -62_135_596_800 * MICROS_PER_SECOND;
/// One week before the end of the year 9999, so that every instant has a text form in any offset.
const MICROS_MAX: i64 = 253_401_696_000 * MICROS_PER_SECOND;

impl Timestamp {
    /// The earliest instant.
    pub const MIN: Self = Self(MICROS_MIN);
    /// The latest instant.
    pub const MAX: Self = Self(MICROS_MAX);

    /// The instant `micros` after the epoch, if it lies between [`Self::MIN`] and [`Self::MAX`].
    pub const fn from_micros(micros: i64) -> Result<Self, InvalidTimestamp> {
        if micros < MICROS_MIN || micros > MICROS_MAX {
            return Err(InvalidTimestamp);
        }
        Ok(Self(micros))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the epoch, rounded down; the time part of a UUIDv7.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// This instant moved by `micros`, held inside the range of timestamps.
    pub const fn saturating_add_micros(self, micros: i64) -> Self {
        let moved = self.0.saturating_add(micros);
        if moved > MICROS_MAX {
            Self::MAX
        } else if moved < MICROS_MIN {
            Self::MIN
        } else {
            Self(moved)
        }
    }

    /// Microseconds from `earlier` to this instant; negative if it is later.
    pub const fn micros_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&to_jiff(*self), f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let parsed: jiff::Timestamp = text.parse().map_err(|_| InvalidTimestamp)?;
        Self::from_micros(parsed.as_microsecond())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
            text.parse().map_err(D::Error::custom)
        } else {
            Self::from_micros(i64::deserialize(deserializer)?).map_err(D::Error::custom)
        }
    }
}

/// The unit of a [`Period`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeriodUnit {
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// A calendar month; the anchor day is kept (31 Jan, 28 Feb, 31 Mar).
    Month,
    /// A calendar year; 29 Feb falls back to 28 Feb and returns.
    Year,
}

/// A length of calendar time: `count` units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Period {
    /// How many units, 1 to 1,000.
    pub count: u16,
    /// Of which length.
    pub unit: PeriodUnit,
}

impl Period {
    /// The end of the `index`-th period (from 0) of a series anchored at `anchor`. Counting from the anchor, not
    /// from the last end, keeps the anchor day. Beyond the year 9999 the last timestamp.
    pub fn end(self, anchor: Timestamp, index: u32) -> Timestamp {
        let count = (i64::from(index) + 1) * i64::from(self.count);
        let span = match self.unit {
            PeriodUnit::Hour => Span::new().try_hours(count),
            PeriodUnit::Day => Span::new().try_days(count),
            PeriodUnit::Week => Span::new().try_days(count.saturating_mul(7)),
            PeriodUnit::Month => Span::new().try_months(count),
            PeriodUnit::Year => Span::new().try_years(count),
        };
        let end = span.and_then(|span| to_jiff(anchor).to_zoned(TimeZone::UTC).checked_add(span));
        end.map_or(Timestamp::MAX, |end| Timestamp(end.timestamp().as_microsecond()).min(Timestamp::MAX))
    }
}

/// A half-open interval `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// First instant inside.
    pub start: Timestamp,
    /// First instant outside.
    pub end: Timestamp,
}

impl Interval {
    /// Whether `at` lies inside.
    pub fn contains(self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// Its length in microseconds.
    pub const fn micros(self) -> i64 {
        self.end.micros_since(self.start)
    }
}

/// Where a series of periods of one length stands. Ends are counted from the anchor, which keeps the anchor day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Where its first period begins.
    pub anchor: Timestamp,
    /// Index, from 0, of the period after the one that runs.
    pub next: u32,
}

impl Series {
    /// A series whose first period runs from `anchor`: that period, and where it stands then.
    pub fn begin(anchor: Timestamp, length: Period) -> (Interval, Self) {
        (Interval { start: anchor, end: length.end(anchor, 0) }, Self { anchor, next: 1 })
    }

    /// The period of a series from `anchor` that `at` lies in (the first one, if it has not begun by then).
    pub fn containing(anchor: Timestamp, length: Period, at: Timestamp) -> (Interval, Self) {
        // As many of the longest of this unit as there is room for, which is never too many.
        let index = at.micros_since(anchor).max(0) / length.micros_max();
        let mut index = u32::try_from(index).unwrap_or(u32::MAX);
        while length.end(anchor, index) <= at && length.end(anchor, index) < Timestamp::MAX {
            index += 1;
        }
        let start = index.checked_sub(1).map_or(anchor, |before| length.end(anchor, before));
        (Interval { start, end: length.end(anchor, index) }, Self { anchor, next: index + 1 })
    }

    /// Where the next period ends.
    pub fn next_end(self, length: Period) -> Timestamp {
        length.end(self.anchor, self.next)
    }

    /// One period on.
    #[must_use]
    pub const fn advanced(self) -> Self {
        Self { next: self.next.saturating_add(1), ..self }
    }
}

impl Period {
    /// Whether it is shorter than a day: what happens in it is written only when somebody is there.
    pub fn is_shorter_than_a_day(self) -> bool {
        self.unit == PeriodUnit::Hour && self.count < 24
    }

    /// The greatest length it can have, in microseconds.
    fn micros_max(self) -> i64 {
        let hours = match self.unit {
            PeriodUnit::Hour => 1,
            PeriodUnit::Day => 24,
            PeriodUnit::Week => 7 * 24,
            PeriodUnit::Month => 31 * 24,
            PeriodUnit::Year => 366 * 24,
        };
        hours * i64::from(self.count.max(1)) * 3_600 * MICROS_PER_SECOND
    }
}

impl Timestamp {
    /// The calendar month, in UTC, that this instant lies in: its first instant, and the first after it.
    pub fn calendar_month(self) -> (Self, Self) {
        let first = to_jiff(self).to_zoned(TimeZone::UTC).first_of_month();
        let first = first.and_then(|first| first.start_of_day());
        let from = first.map_or(Self::MIN, |first| Self(first.timestamp().as_microsecond()).max(Self::MIN));
        (from, Period { count: 1, unit: PeriodUnit::Month }.end(from, 0))
    }
}

fn to_jiff(timestamp: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::UNIX_EPOCH
        .checked_add(timestamp.0.microseconds())
        .expect("timestamps lie between the years 1 and 9999")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn text_is_rfc_3339_in_utc_with_microseconds() {
        assert_eq!(at("2026-01-31T09:00:00.000001+01:00").to_string(), "2026-01-31T08:00:00.000001Z");
        assert_eq!(at("1970-01-01T00:00:00Z").as_micros(), 0);
        for bad in ["", "2026-01-31", "2026-01-31T08:00:00", "-009999-01-01T00:00:00Z", "99999-01-01T00:00:00Z", "now"]
        {
            assert_eq!(bad.parse::<Timestamp>(), Err(InvalidTimestamp), "{bad}");
        }
    }

    #[test]
    fn the_limits_have_a_text_form() {
        for limit in [Timestamp::MIN, Timestamp::MAX] {
            assert_eq!(at(&limit.to_string()), limit);
        }
    }

    #[test]
    fn months_keep_their_anchor_day() {
        let month = Period { count: 1, unit: PeriodUnit::Month };
        let anchor = at("2027-01-31T10:00:00Z");
        let ends: Vec<String> = (0..3).map(|i| month.end(anchor, i).to_string()).collect();
        assert_eq!(ends, ["2027-02-28T10:00:00Z", "2027-03-31T10:00:00Z", "2027-04-30T10:00:00Z"]);
    }

    #[test]
    fn a_calendar_month_ends_where_the_next_begins() {
        let month = |text| at(text).calendar_month();
        assert_eq!(month("2026-12-31T23:59:59.999999Z"), (at("2026-12-01T00:00:00Z"), at("2027-01-01T00:00:00Z")));
        assert_eq!(month("2027-01-01T00:00:00Z").0, at("2027-01-01T00:00:00Z"));
        let (from, until) = Timestamp::MIN.calendar_month();
        assert!(from <= Timestamp::MIN && Timestamp::MIN < until);
    }

    #[test]
    fn the_period_that_an_instant_lies_in_is_found_however_far_off_it_is() {
        for (count, unit) in
            [(5, PeriodUnit::Hour), (1, PeriodUnit::Day), (2, PeriodUnit::Month), (1, PeriodUnit::Year)]
        {
            let (length, anchor) = (Period { count, unit }, at("2027-01-31T10:00:00Z"));
            for index in [0, 1, 7, 300] {
                let end = length.end(anchor, index);
                let (last, _) = Series::containing(anchor, length, end.saturating_add_micros(-1));
                let (next, series) = Series::containing(anchor, length, end);
                assert_eq!((last.end, next.start), (end, end));
                assert_eq!((next.end, series.next), (length.end(anchor, index + 1), index + 2));
            }
        }
    }

    #[test]
    fn leap_day_years_fall_back_and_return() {
        let year = Period { count: 1, unit: PeriodUnit::Year };
        let anchor = at("2028-02-29T00:00:00Z");
        assert_eq!(year.end(anchor, 0), at("2029-02-28T00:00:00Z"));
        assert_eq!(year.end(anchor, 3), at("2032-02-29T00:00:00Z"));
    }
}
