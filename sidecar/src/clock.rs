//! The time of the server, as this machine knows it: its own clock and the offset that heartbeats measured.
//!
//! Usage is stamped and checks are evaluated in server time. Without a link the last offset stays in use.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use quotastack_core::time::Timestamp;

/// This machine's clock.
pub(crate) fn local_now() -> Timestamp {
    // A clock set before 1970 or after 9999 is out of order; the nearest instant is as good as any.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).map_or(Timestamp::MAX, |micros| Timestamp::default().saturating_add_micros(micros))
}

/// The server's clock.
#[derive(Debug, Default)]
pub(crate) struct ServerClock {
    offset_micros: AtomicI64,
}

impl ServerClock {
    /// Real time at the server, now.
    pub(crate) fn now(&self) -> Timestamp {
        local_now().saturating_add_micros(self.offset_micros.load(Ordering::Relaxed))
    }

    /// Takes a measurement: a question sent at `sent_at` was answered with `server_now`, and the answer is here. The
    /// server read its clock somewhere between; the middle is off by at most half the round trip.
    pub(crate) fn measured(&self, sent_at: Timestamp, server_now: Timestamp) {
        let received_at = local_now();
        let middle = sent_at.saturating_add_micros(received_at.micros_since(sent_at) / 2);
        self.offset_micros.store(server_now.micros_since(middle), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_taken_from_the_middle_of_the_round_trip() {
        let clock = ServerClock::default();
        let sent_at = local_now();
        clock.measured(sent_at, sent_at.saturating_add_micros(3_600_000_000));
        let ahead = clock.now().micros_since(local_now());
        assert!((3_590_000_000..=3_600_000_000).contains(&ahead), "{ahead}");
    }
}
