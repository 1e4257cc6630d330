//! How many events were recorded in how long.

use std::time::Duration;

use serde::Serialize;

use crate::latencies::nanos;

/// What one measurement of throughput says.
#[derive(Debug, Serialize)]
pub(crate) struct Rate {
    /// Events that were recorded.
    events: u64,
    /// From the first byte sent to the last answer read.
    elapsed_ns: u64,
    events_per_second: u64,
}

impl Rate {
    pub(crate) fn new(events: u64, elapsed: Duration) -> Self {
        let elapsed_ns = nanos(elapsed).max(1);
        let events_per_second = u128::from(events) * 1_000_000_000 / u128::from(elapsed_ns);
        let events_per_second = u64::try_from(events_per_second).expect("a rate that fits into 64 bits");
        Self { events, elapsed_ns, events_per_second }
    }
}
