//! Percentiles by nearest rank, in whole nanoseconds.

use std::time::Duration;

use serde::Serialize;

/// What one measurement says.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// How many answers were timed.
    pub(crate) count: u64,
    /// Half of the answers took at most this long.
    pub(crate) p50_ns: u64,
    /// 99 of 100 answers took at most this long.
    pub(crate) p99_ns: u64,
    /// The slowest answer.
    pub(crate) max_ns: u64,
}

/// Sums up; `None` if nothing was timed.
pub(crate) fn summarise(mut times: Vec<u64>) -> Option<Summary> {
    times.sort_unstable();
    let max_ns = *times.last()?;
    let rank = |percent: usize| times[(times.len() * percent).div_ceil(100).saturating_sub(1)];
    Some(Summary { count: times.len() as u64, p50_ns: rank(50), p99_ns: rank(99), max_ns })
}

/// A duration as nanoseconds, which lasts for 584 years.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("no measurement lasts for centuries")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let summary = summarise((1..=200).rev().collect()).unwrap();
        assert_eq!(summary, Summary { count: 200, p50_ns: 100, p99_ns: 198, max_ns: 200 });
        assert_eq!(summarise(vec![7]).unwrap(), Summary { count: 1, p50_ns: 7, p99_ns: 7, max_ns: 7 });
        assert_eq!(summarise(Vec::new()), None);
    }
}
