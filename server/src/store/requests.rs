//! What requests with an idempotency key did, per lane: a repeat is answered from here, for 30 days.
//!
//! Rows lie in six slots that take turns, eight days each (a *period*). What must still be found is in at most five of
//! them, so the sixth can be emptied at once. All of it counts in real time, also in a sandbox. Source: docs/ledger.md,
//! "How old requests go".

use std::collections::HashMap;

use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::time::{MICROS_PER_SECOND, Timestamp};
use sqlx::Row;

use crate::store::tx::Tx;
use crate::store::types::{LaneId, Ts, bytes, from_json};

const MICROS_PER_DAY: i64 = 24 * 3_600 * MICROS_PER_SECOND;
/// How long a request with an idempotency key is answered from its first run.
const KEPT_MICROS: i64 = 30 * MICROS_PER_DAY;
/// How long one slot takes rows in.
const PERIOD_MICROS: i64 = 8 * MICROS_PER_DAY;
/// How many slots there are: `account_requests_0` and so on.
const SLOTS: i64 = 6;
/// How many of them hold what must still be found.
const LIVE_SLOTS_MAX: usize = 5;
/// How far another server's clock may be ahead of ours; far more than the writers allow.
const AHEAD_MAX_MICROS: i64 = 60 * MICROS_PER_SECOND;

/// The eight days in which a request was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestPeriod(i64);

impl RequestPeriod {
    /// The period of an instant of real time.
    pub const fn at(real: Timestamp) -> Self {
        Self(real.as_micros().div_euclid(PERIOD_MICROS))
    }

    /// Counted from 1970 on.
    pub fn number(self) -> i32 {
        i32::try_from(self.0).expect("time ends before its periods overflow")
    }

    /// Where its rows lie.
    pub fn slot(self) -> i16 {
        i16::try_from(self.0.rem_euclid(SLOTS)).expect("there are few slots")
    }
}

/// Since when a request must have been carried out to be known at `real_now`.
pub const fn known_since(real_now: Timestamp) -> Timestamp {
    real_now.saturating_add_micros(-KEPT_MICROS)
}

/// The slots in which requests that are known at `real_now` lie; where they are fewer, the last one is there again.
fn live_slots(real_now: Timestamp) -> [i16; LIVE_SLOTS_MAX] {
    let first = RequestPeriod::at(known_since(real_now));
    let last = RequestPeriod::at(real_now.saturating_add_micros(AHEAD_MAX_MICROS));
    let mut numbers = first.0..=last.0;
    let slots = [(); LIVE_SLOTS_MAX].map(|()| RequestPeriod(numbers.next().unwrap_or(last.0)).slot());
    debug_assert!(numbers.next().is_none(), "30 days touch no more than five periods");
    slots
}

/// The slots that can be emptied at `real_now`.
pub fn dead_slots(real_now: Timestamp) -> Vec<i16> {
    let live = live_slots(real_now);
    (0..SLOTS).map(|number| RequestPeriod(number).slot()).filter(|slot| !live.contains(slot)).collect()
}

/// A request that was carried out.
#[derive(Debug, Clone)]
pub struct StoredRequest {
    /// Of its body.
    pub request_hash: [u8; 16],
    /// Of the run that carried it out.
    pub seed: [u8; 16],
    /// What came of it.
    pub outcome: Outcome,
}

impl Tx {
    /// Which of these requests were carried out in the last 30 days.
    pub async fn load_requests(
        &mut self,
        lane_id: LaneId,
        keys: &[[u8; 16]],
        real_now: Timestamp,
    ) -> sqlx::Result<HashMap<[u8; 16], StoredRequest>> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let keys: Vec<&[u8]> = keys.iter().map(<[u8; 16]>::as_slice).collect();
        let [a, b, c, d, e] = live_slots(real_now);
        // Slots one by one: an array as parameter would have Postgres look into all of them.
        let rows = sqlx::query(
            "select key_hash, request_hash, seed, outcome from account_requests
             where lane_id = $1 and key_hash = any ($2) and created_at > $3 and slot in ($4, $5, $6, $7, $8)",
        )
        .bind(lane_id.0)
        .bind(keys)
        .bind(Ts(known_since(real_now)))
        .bind(a)
        .bind(b)
        .bind(c)
        .bind(d)
        .bind(e)
        .fetch_all(self.connection())
        .await?;
        let requests = rows.iter().map(|row| {
            Ok((
                bytes("key_hash", row.try_get("key_hash")?)?,
                StoredRequest {
                    request_hash: bytes("request_hash", row.try_get("request_hash")?)?,
                    seed: bytes("seed", row.try_get("seed")?)?,
                    outcome: from_json("outcome", row.try_get("outcome")?)?,
                },
            ))
        });
        requests.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600 * MICROS_PER_SECOND;
    /// 2026-01-01T00:00:00Z.
    const START: i64 = 1_767_225_600 * MICROS_PER_SECOND;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros).unwrap()
    }

    /// Borders of periods, a microsecond and a minute around them, and every fifth hour of two rounds.
    fn instants() -> impl Iterator<Item = i64> {
        let border = START.div_euclid(PERIOD_MICROS) * PERIOD_MICROS;
        let borders = (0..2 * SLOTS).flat_map(move |number| {
            [-AHEAD_MAX_MICROS, -1, 0, 1, AHEAD_MAX_MICROS].map(|off| border + number * PERIOD_MICROS + off)
        });
        borders.chain((0..2 * SLOTS * 8 * 24).step_by(5).map(|hours| START + hours * HOUR))
    }

    #[test]
    fn what_may_be_asked_for_is_never_in_a_slot_that_can_be_emptied() {
        for now in instants() {
            let (live, dead) = (live_slots(at(now)), dead_slots(at(now)));
            assert!(!dead.is_empty(), "{now}: {live:?}");
            for age in (0..30 * 24).map(|hours| hours * HOUR).chain([KEPT_MICROS - 1, -AHEAD_MAX_MICROS]) {
                let slot = RequestPeriod::at(at(now - age)).slot();
                assert!(live.contains(&slot) && !dead.contains(&slot), "{now}: {age} in {slot} of {live:?}");
            }
        }
    }

    #[test]
    fn every_slot_has_days_in_which_it_can_be_emptied_before_it_takes_rows_again() {
        for slot in 0..6 {
            let hours = (0..SLOTS * 8 * 24).filter(|hour| dead_slots(at(START + hour * HOUR)).contains(&slot));
            assert!(hours.count() >= 9 * 24, "{slot}");
        }
    }
}
