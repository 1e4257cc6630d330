//! How a range of time is read from sums that are kept by hour, day and month: as few of them as cover it, and what is
//! left at its two ends.

use quotastack_core::time::{MICROS_PER_SECOND, Timestamp};

use crate::store::usage_sums::{Grain, Piece};

const HOUR_MICROS: i64 = 3_600 * MICROS_PER_SECOND;
const DAY_MICROS: i64 = 24 * HOUR_MICROS;

/// A run of whole buckets, or a part of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// From this instant,
    pub from: Timestamp,
    /// before this one.
    pub to: Timestamp,
    /// Whether it is made of whole buckets.
    pub is_whole: bool,
}

impl Segment {
    /// The buckets of at most `bucket` that cover it, as far as there are any, in order.
    pub fn pieces(&self, bucket: Grain) -> Vec<Piece> {
        let mut runs = Vec::new();
        split(self.from, self.to, Some(bucket), &mut runs, &mut Vec::new());
        runs.into_iter().flat_map(Run::pieces).collect()
    }

    /// What of it is not: less than an hour each.
    pub fn ends(&self) -> Vec<(Timestamp, Timestamp)> {
        let mut ends = Vec::new();
        split(self.from, self.to, Some(Grain::Hour), &mut Vec::new(), &mut ends);
        ends
    }

    /// Its full hours, if it has some.
    pub fn hours(&self) -> Option<(Timestamp, Timestamp)> {
        let (from, to) = (ceil(self.from, Grain::Hour), floor(self.to, Grain::Hour));
        (from < to).then_some((from, to))
    }
}

/// Whole buckets of one grain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    grain: Grain,
    from: Timestamp,
    to: Timestamp,
}

impl Run {
    fn pieces(self) -> impl Iterator<Item = Piece> {
        let Self { grain, from, to } = self;
        let starts = std::iter::successors(Some(from), move |start| Some(next(*start, grain)));
        starts.take_while(move |start| *start < to).map(move |start| Piece { grain, start })
    }
}

/// `[from, to)` in order: the part of a bucket at its beginning, whole buckets, the part of a bucket at its end.
pub fn segments(from: Timestamp, to: Timestamp, bucket: Grain) -> Vec<Segment> {
    let (first, last) = (ceil(from, bucket), floor(to, bucket));
    if first > last {
        return vec![Segment { from, to, is_whole: false }];
    }
    let all = [(from, first, false), (first, last, true), (last, to, false)];
    let filled = all.into_iter().filter(|(from, to, _)| from < to);
    filled.map(|(from, to, is_whole)| Segment { from, to, is_whole }).collect()
}

/// How many buckets `[from, to)` touches, counted no further than `most`.
pub fn count_buckets(from: Timestamp, to: Timestamp, bucket: Grain, most: usize) -> usize {
    let mut start = floor(from, bucket);
    let mut count = 0;
    while start < to && count < most {
        start = next(start, bucket);
        count += 1;
    }
    count
}

/// The start of the bucket that the instant lies in.
pub fn floor(at: Timestamp, grain: Grain) -> Timestamp {
    let down_to = |micros: i64| at.saturating_add_micros(-at.as_micros().rem_euclid(micros));
    match grain {
        Grain::Hour => down_to(HOUR_MICROS),
        Grain::Day => down_to(DAY_MICROS),
        Grain::Month => at.calendar_month().0,
    }
}

/// The start of the bucket behind the one that begins here.
fn next(start: Timestamp, grain: Grain) -> Timestamp {
    match grain {
        Grain::Hour => start.saturating_add_micros(HOUR_MICROS),
        Grain::Day => start.saturating_add_micros(DAY_MICROS),
        Grain::Month => start.calendar_month().1,
    }
}

/// The first start of a bucket that is not before the instant.
fn ceil(at: Timestamp, grain: Grain) -> Timestamp {
    let start = floor(at, grain);
    if start == at { at } else { next(start, grain) }
}

/// Covers `[from, to)` with the coarsest buckets up to `grain`; what has no grain is an end.
fn split(
    from: Timestamp,
    to: Timestamp,
    grain: Option<Grain>,
    runs: &mut Vec<Run>,
    ends: &mut Vec<(Timestamp, Timestamp)>,
) {
    if from >= to {
        return;
    }
    let Some(grain) = grain else {
        ends.push((from, to));
        return;
    };
    let finer = match grain {
        Grain::Hour => None,
        Grain::Day => Some(Grain::Hour),
        Grain::Month => Some(Grain::Day),
    };
    let (first, last) = (ceil(from, grain), floor(to, grain));
    if first < last {
        split(from, first, finer, runs, ends);
        runs.push(Run { grain, from: first, to: last });
        split(last, to, finer, runs, ends);
    } else {
        split(from, to, finer, runs, ends);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_is_covered_by_the_coarsest_sums() {
        let range =
            Segment { from: at("2026-01-30T22:59:59.999999Z"), to: at("2026-04-02T02:30:00Z"), is_whole: false };
        let piece = |grain, start| Piece { grain, start: at(start) };
        assert_eq!(
            range.pieces(Grain::Month),
            [
                piece(Grain::Hour, "2026-01-30T23:00:00Z"),
                piece(Grain::Day, "2026-01-31T00:00:00Z"),
                piece(Grain::Month, "2026-02-01T00:00:00Z"),
                piece(Grain::Month, "2026-03-01T00:00:00Z"),
                piece(Grain::Day, "2026-04-01T00:00:00Z"),
                piece(Grain::Hour, "2026-04-02T00:00:00Z"),
                piece(Grain::Hour, "2026-04-02T01:00:00Z"),
            ]
        );
        assert_eq!(
            range.ends(),
            [
                (at("2026-01-30T22:59:59.999999Z"), at("2026-01-30T23:00:00Z")),
                (at("2026-04-02T02:00:00Z"), at("2026-04-02T02:30:00Z")),
            ]
        );
        let hours = range.pieces(Grain::Hour);
        assert!(hours.iter().all(|hour| hour.grain == Grain::Hour));
        assert!(hours.windows(2).all(|pair| next(pair[0].start, Grain::Hour) == pair[1].start));
        let (first, last) = (hours[0].start, hours[hours.len() - 1].start);
        assert_eq!((first, last), (at("2026-01-30T23:00:00Z"), at("2026-04-02T01:00:00Z")));
        assert_eq!(range.hours(), Some((first, next(last, Grain::Hour))));
    }

    #[test]
    fn less_than_an_hour_has_an_end_only() {
        for (from, to) in [("10:10:00", "10:20:00"), ("10:50:00", "11:10:00")] {
            let (from, to) = (at(&format!("2026-01-01T{from}Z")), at(&format!("2026-01-01T{to}Z")));
            let range = Segment { from, to, is_whole: false };
            assert_eq!((range.pieces(Grain::Day), range.ends(), range.hours()), (vec![], vec![(from, to)], None));
        }
    }

    #[test]
    fn segments_are_in_order_and_leave_nothing_out() {
        let (from, to) = (at("2026-01-30T22:00:00Z"), at("2026-04-02T02:30:00Z"));
        let segment = |from, to, is_whole| Segment { from: at(from), to: at(to), is_whole };
        assert_eq!(
            segments(from, to, Grain::Month),
            [
                segment("2026-01-30T22:00:00Z", "2026-02-01T00:00:00Z", false),
                segment("2026-02-01T00:00:00Z", "2026-04-01T00:00:00Z", true),
                segment("2026-04-01T00:00:00Z", "2026-04-02T02:30:00Z", false),
            ]
        );
        let two_parts = segments(at("2026-01-30T22:00:00Z"), at("2026-02-02T00:00:00Z"), Grain::Month);
        assert_eq!(two_parts.iter().map(|part| part.is_whole).collect::<Vec<_>>(), [false, false]);
        assert_eq!(two_parts[0].to, two_parts[1].from);
        let inside = segments(from, at("2026-01-30T23:00:00Z"), Grain::Day);
        assert_eq!(inside, [segment("2026-01-30T22:00:00Z", "2026-01-30T23:00:00Z", false)]);
        let whole = segments(at("2026-02-01T00:00:00Z"), at("2026-03-01T00:00:00Z"), Grain::Month);
        assert_eq!(whole, [segment("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z", true)]);
    }

    #[test]
    fn buckets_are_counted_by_what_a_range_touches() {
        let count = |from, to, bucket| count_buckets(at(from), at(to), bucket, 100);
        assert_eq!(count("2026-01-31T23:30:00Z", "2026-02-01T00:00:00Z", Grain::Month), 1);
        assert_eq!(count("2026-01-31T23:30:00Z", "2026-02-01T00:00:00.000001Z", Grain::Month), 2);
        assert_eq!(count("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", Grain::Hour), 24);
        assert_eq!(count("2026-01-01T00:00:00Z", "9999-01-01T00:00:00Z", Grain::Hour), 100);
        assert_eq!(count_buckets(Timestamp::MIN, Timestamp::MAX, Grain::Month, 1_000_000), 119_988);
    }
}
