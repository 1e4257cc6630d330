//! The time of the server, as this machine knows it: an anchor that heartbeats measure, and the time since.
//!
//! Between measurements time runs with a counter that nobody sets: the wall clock is read once, at the start, to have
//! an anchor before the first measurement. Usage is stamped and checks are evaluated in server time.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use quotastack_core::time::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Counts through suspension as well: a replica grows old while the machine sleeps.
#[cfg(target_os = "linux")]
const COUNTER: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const COUNTER: ClockId = ClockId::Monotonic;
/// Measurements differ by round trips: so little behind the last known time a wall clock was not set back.
const BEHIND_MAX_MICROS: i64 = 1_000_000;

/// This machine's wall clock.
pub(crate) fn local_now() -> Timestamp {
    // A clock set before 1970 or after 9999 is out of order; the nearest instant is as good as any.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).map_or(Timestamp::MAX, |micros| Timestamp::default().saturating_add_micros(micros))
}

/// A reading of the counter: microseconds since some instant, the same for all readings of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Counter(i64);

impl Counter {
    pub(crate) fn now() -> Self {
        let time = clock_gettime(COUNTER);
        Self(time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000))
    }

    /// Microseconds from `earlier` to this reading.
    pub(crate) const fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// In the form in which a heartbeat carries it there and back.
    pub(crate) fn to_wire(self) -> Timestamp {
        Timestamp::default().saturating_add_micros(self.0)
    }

    /// What [`Self::to_wire`] gave.
    pub(crate) const fn from_wire(sent: Timestamp) -> Self {
        Self(sent.as_micros())
    }
}

/// What is stored of the clock for the next start, which has only the wall clock to go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockMark {
    /// Microseconds by which the server's clock was ahead of the wall clock.
    pub offset_micros: i64,
    /// Server time when this was stored.
    pub known: Timestamp,
}

/// The server's clock.
#[derive(Debug)]
pub(crate) struct ServerClock {
    /// Server time in microseconds when the counter was 0.
    anchor_micros: AtomicI64,
    /// Whether the wall clock at the start contradicted what was stored, and nothing was measured since.
    is_doubtful: AtomicBool,
}

impl ServerClock {
    /// From the wall clock and what was stored. `known` is the last instant that surely has passed: time goes on from
    /// there if the wall clock was set back behind it, and is doubtful, because it is not known how long ago that was.
    pub(crate) fn start(at: Counter, wall: Timestamp, offset_micros: i64, known: Option<Timestamp>) -> Self {
        let by_wall = wall.saturating_add_micros(offset_micros);
        let behind = known.map_or(0, |known| known.micros_since(by_wall));
        let now = by_wall.max(known.unwrap_or(by_wall));
        Self {
            anchor_micros: AtomicI64::new(now.as_micros().saturating_sub(at.0)),
            is_doubtful: AtomicBool::new(behind > BEHIND_MAX_MICROS),
        }
    }

    /// Real time at the server, now.
    pub(crate) fn now(&self) -> Timestamp {
        self.at(Counter::now())
    }

    /// Real time at the server when the counter was at `reading`.
    pub(crate) fn at(&self, reading: Counter) -> Timestamp {
        Timestamp::default().saturating_add_micros(self.anchor_micros.load(Ordering::Relaxed).saturating_add(reading.0))
    }

    /// Whether it is not known how much time has passed since the last run.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.is_doubtful.load(Ordering::Relaxed)
    }

    /// Takes a measurement: a question sent at `sent_at` was answered with `server_now`, and the answer is here. The
    /// server read its clock somewhere between; the middle is off by at most half the round trip.
    pub(crate) fn measured(&self, sent_at: Counter, received_at: Counter, server_now: Timestamp) {
        let middle = sent_at.0 + received_at.micros_since(sent_at) / 2;
        self.anchor_micros.store(server_now.as_micros().saturating_sub(middle), Ordering::Relaxed);
        self.is_doubtful.store(false, Ordering::Relaxed);
    }

    /// What the next start needs; `None` while time is doubtful, so that the doubt outlives a restart.
    pub(crate) fn mark(&self) -> Option<ClockMark> {
        let now = self.now();
        let mark = ClockMark { offset_micros: now.micros_since(local_now()), known: now };
        (!self.is_doubtful()).then_some(mark)
    }
}

/// Time for the machine: it never goes back and never stands still. When the server's clock was set back, it runs at
/// half speed until the server's time has caught up, so that waits measured in it end at most twice as late.
#[derive(Debug)]
pub(crate) struct SteadyTime {
    now: Timestamp,
    read_at: Counter,
}

impl SteadyTime {
    pub(crate) const fn new(now: Timestamp, read_at: Counter) -> Self {
        Self { now, read_at }
    }

    /// The machine's time at a later reading, when it was `server_now` at the server.
    pub(crate) fn advance(&mut self, read_at: Counter, server_now: Timestamp) -> Timestamp {
        let elapsed = read_at.micros_since(self.read_at).max(0);
        // Whole steps of two, so that many small ones do not add up to standing still.
        let halves = elapsed / 2;
        let slow = self.now.saturating_add_micros(halves);
        if server_now >= slow {
            (self.now, self.read_at) = (server_now, self.read_at.max(read_at));
        } else {
            self.now = slow;
            self.read_at = Counter(self.read_at.0 + halves * 2);
        }
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn time(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros).unwrap()
    }

    #[test]
    fn a_measurement_is_taken_from_the_middle_of_the_round_trip_and_replaces_the_one_before() {
        let clock = ServerClock::start(Counter(500), time(10 * HOUR), 0, None);
        assert_eq!(clock.at(Counter(500)), time(10 * HOUR));
        for server_now in [time(11 * HOUR), time(9 * HOUR)] {
            clock.measured(Counter(1_000), Counter(3_000), server_now);
            assert_eq!(clock.at(Counter(2_000)), server_now);
            assert_eq!(clock.at(Counter(2_000 + HOUR)), server_now.saturating_add_micros(HOUR));
        }
    }

    #[test]
    fn the_counter_goes_on_and_survives_the_wire() {
        let first = Counter::now();
        let second = Counter::now();
        assert!(second >= first);
        assert_eq!(Counter::from_wire(first.to_wire()), first);
    }

    #[test]
    fn a_wall_clock_set_back_between_two_runs_is_doubted_until_the_next_measurement() {
        let start = |known| ServerClock::start(Counter(0), time(10 * HOUR), HOUR, Some(time(known)));
        assert_eq!(start(10 * HOUR).at(Counter(0)), time(11 * HOUR));
        assert!(!start(10 * HOUR).is_doubtful() && start(10 * HOUR).mark().is_some());
        assert!(!start(11 * HOUR + BEHIND_MAX_MICROS).is_doubtful());
        let doubtful = start(12 * HOUR);
        assert!(doubtful.is_doubtful() && doubtful.mark().is_none());
        assert_eq!(doubtful.at(Counter(5)), time(12 * HOUR + 5), "what has passed has passed");
        doubtful.measured(Counter(0), Counter(0), time(11 * HOUR));
        assert!(!doubtful.is_doubtful());
    }

    #[test]
    fn machine_time_goes_on_when_the_servers_clock_is_set_back() {
        let mut steady = SteadyTime::new(time(10 * HOUR), Counter(0));
        assert_eq!(steady.advance(Counter(1_000), time(10 * HOUR + 1_000)), time(10 * HOUR + 1_000));
        // An hour back; looked at every microsecond it still runs at half speed.
        for step in 1..=10_000 {
            steady.advance(Counter(1_000 + step), time(9 * HOUR + step));
        }
        assert_eq!(steady.advance(Counter(11_000), time(9 * HOUR + 10_000)), time(10 * HOUR + 6_000));
        let later = steady.advance(Counter(11_000 + 3 * HOUR), time(12 * HOUR + 10_000));
        assert_eq!(later, time(12 * HOUR + 10_000));
        assert_eq!(steady.advance(Counter(11_000 + 3 * HOUR), time(20 * HOUR)), time(20 * HOUR), "forward at once");
    }
}
