//! A [`Ring`]: the recent states of one lane, strictly in feed order, shared by all sessions.
//!
//! Invariant: it holds the newest state of every account whose stamp lies in (`floor`, `head`], and nothing else.
//! The server's feed fills it, with its own commits and with what it reads from the database; sessions only look.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::ids::EndUserId;
use crate::state::AccountState;
use crate::time::Timestamp;
use crate::wire::follow_hash;

/// A state as it is published: encoded once for all sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its place in the lane's feed.
    pub stamp: u64,
    /// Whose it is.
    pub end_user_id: EndUserId,
    /// [`follow_hash`] of `end_user_id`.
    pub hash: u64,
    /// The encoded [`AccountState`].
    pub bytes: Box<[u8]>,
}

impl Published {
    /// The published form of `state`.
    pub fn new(state: &AccountState) -> Self {
        let bytes = postcard::to_stdvec(state).expect("a state has no form that postcard refuses");
        Self {
            stamp: state.stamp,
            end_user_id: state.end_user_id.clone(),
            hash: follow_hash(&state.end_user_id),
            bytes: bytes.into(),
        }
    }
}

/// Which accounts a session is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All of them.
    All,
    /// Those with these hashes.
    Only(HashSet<u64>),
}

impl Filter {
    /// Whether a session with this filter is sent the account with this [`follow_hash`].
    pub fn matches(&self, hash: u64) -> bool {
        match self {
            Self::All => true,
            Self::Only(hashes) => hashes.contains(&hash),
        }
    }
}

/// How much a ring keeps.
#[derive(Debug, Clone, Copy)]
pub struct RingLimits {
    /// Places in the feed, superseded ones included.
    pub places_max: usize,
    /// Encoded bytes.
    pub bytes_max: usize,
}

/// How much one batch holds. One state is always taken, however long.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// States.
    pub states_max: usize,
    /// Encoded bytes.
    pub bytes_max: usize,
}

/// What a ring has for a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// The next states, in feed order, and the cursor that they lead to.
    Batch {
        /// Empty if nothing in between matches the filter.
        states: Vec<Arc<Published>>,
        /// Everything up to here is in `states`, or was before, or is superseded by what follows.
        cursor: u64,
    },
    /// The cursor lies before the ring: the lane must be read from the database.
    FellBehind,
}

/// States are missing between the ring's head and what was to follow: read (`head`, ..] from the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ring ends at {head}, the states begin after {from}")]
pub struct Gap {
    /// Where the ring ends.
    pub head: u64,
    /// After what the refused states begin.
    pub from: u64,
}

#[derive(Debug)]
struct Place {
    stamp: u64,
    /// `None` once a later place holds the account.
    state: Option<Arc<Published>>,
}

/// Recent states of one lane.
#[derive(Debug)]
pub struct Ring {
    limits: RingLimits,
    floor: u64,
    head: u64,
    as_of: Option<Timestamp>,
    places: VecDeque<Place>,
    /// Stamp of the newest place of each account in the ring.
    newest: HashMap<EndUserId, u64>,
    bytes: usize,
}

impl Ring {
    /// An empty ring at the lane's `feed_seq`.
    pub fn new(head: u64, limits: RingLimits) -> Self {
        Self { limits, floor: head, head, as_of: None, places: VecDeque::new(), newest: HashMap::new(), bytes: 0 }
    }

    /// The last `feed_seq` that the ring knows.
    pub const fn head(&self) -> u64 {
        self.head
    }

    /// The last instant at which `head` was known to be the lane's `feed_seq`.
    pub const fn as_of(&self) -> Option<Timestamp> {
        self.as_of
    }

    /// The lane's row was read at `now` (real time, before the read) and said `head`.
    pub fn confirm(&mut self, now: Timestamp) {
        self.as_of = self.as_of.max(Some(now));
    }

    /// Appends the newest states of all accounts that changed in (`from`, `to`], in feed order. What the ring knows
    /// already is skipped.
    pub fn extend(&mut self, from: u64, to: u64, states: impl IntoIterator<Item = Arc<Published>>) -> Result<(), Gap> {
        if from > self.head {
            return Err(Gap { head: self.head, from });
        }
        for state in states {
            if state.stamp > self.head && state.stamp <= to {
                self.append(state);
            }
        }
        self.head = self.head.max(to);
        while self.places.len() > self.limits.places_max || self.bytes > self.limits.bytes_max {
            self.drop_oldest();
        }
        Ok(())
    }

    fn append(&mut self, state: Arc<Published>) {
        let stamp = state.stamp;
        if let Some(before) = self.newest.insert(state.end_user_id.clone(), stamp) {
            let index = self.places.partition_point(|place| place.stamp < before);
            if let Some(old) = self.places.get_mut(index).and_then(|place| place.state.take()) {
                self.bytes -= old.bytes.len();
            }
        }
        self.bytes += state.bytes.len();
        self.head = stamp;
        self.places.push_back(Place { stamp, state: Some(state) });
    }

    fn drop_oldest(&mut self) {
        let Some(place) = self.places.pop_front() else { return };
        self.floor = place.stamp;
        if let Some(state) = place.state {
            self.bytes -= state.bytes.len();
            self.newest.remove(&state.end_user_id);
        }
    }

    /// What follows `cursor` and passes `filter`.
    pub fn since(&self, cursor: u64, filter: &Filter, limits: BatchLimits) -> Since {
        if cursor < self.floor {
            return Since::FellBehind;
        }
        let start = self.places.partition_point(|place| place.stamp <= cursor);
        let (mut states, mut bytes) = (Vec::new(), 0);
        for place in self.places.range(start..) {
            let Some(state) = place.state.as_ref().filter(|state| filter.matches(state.hash)) else { continue };
            if !states.is_empty() && (states.len() >= limits.states_max || bytes + state.bytes.len() > limits.bytes_max)
            {
                return Since::Batch { states, cursor: place.stamp - 1 };
            }
            bytes += state.bytes.len();
            states.push(Arc::clone(state));
        }
        Since::Batch { states, cursor: self.head.max(cursor) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RingLimits = RingLimits { places_max: 4, bytes_max: 10_000 };
    const ALL: BatchLimits = BatchLimits { states_max: 100, bytes_max: 100_000 };

    fn state(name: &str, stamp: u64) -> Arc<Published> {
        let mut state = AccountState::unknown(EndUserId::new(name).unwrap());
        state.stamp = stamp;
        Arc::new(Published::new(&state))
    }

    fn ring(states: &[(&str, u64)]) -> Ring {
        let mut ring = Ring::new(0, LIMITS);
        for (name, stamp) in states {
            ring.extend(stamp - 1, *stamp, [state(name, *stamp)]).unwrap();
        }
        ring
    }

    fn read(ring: &Ring, cursor: u64, filter: &Filter, limits: BatchLimits) -> (Vec<(String, u64)>, u64) {
        match ring.since(cursor, filter, limits) {
            Since::Batch { states, cursor } => {
                (states.iter().map(|state| (state.end_user_id.to_string(), state.stamp)).collect(), cursor)
            }
            Since::FellBehind => panic!("fell behind {cursor}"),
        }
    }

    #[test]
    fn superseded_states_are_skipped() {
        let ring = ring(&[("a", 1), ("b", 2), ("a", 3)]);
        assert_eq!(read(&ring, 0, &Filter::All, ALL), (vec![("b".to_owned(), 2), ("a".to_owned(), 3)], 3));
        assert_eq!(read(&ring, 3, &Filter::All, ALL), (vec![], 3));
    }

    #[test]
    fn a_batch_stops_at_its_limits_and_goes_on_from_there() {
        let ring = ring(&[("a", 1), ("b", 2), ("c", 3)]);
        let one = BatchLimits { states_max: 1, bytes_max: 100_000 };
        assert_eq!(read(&ring, 0, &Filter::All, one), (vec![("a".to_owned(), 1)], 1));
        assert_eq!(read(&ring, 1, &Filter::All, one), (vec![("b".to_owned(), 2)], 2));
        let no_bytes = BatchLimits { states_max: 100, bytes_max: 0 };
        assert_eq!(read(&ring, 2, &Filter::All, no_bytes), (vec![("c".to_owned(), 3)], 3));
    }

    #[test]
    fn a_filter_passes_what_is_followed_and_the_cursor_moves_all_the_same() {
        let ring = ring(&[("a", 1), ("b", 2), ("c", 3)]);
        let only = Filter::Only(HashSet::from([follow_hash(&EndUserId::new("b").unwrap())]));
        assert_eq!(read(&ring, 0, &only, ALL), (vec![("b".to_owned(), 2)], 3));
    }

    #[test]
    fn who_is_older_than_the_ring_has_fallen_behind() {
        let ring = ring(&[("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5), ("f", 6)]);
        assert_eq!(ring.since(1, &Filter::All, ALL), Since::FellBehind);
        assert_eq!(read(&ring, 2, &Filter::All, ALL).0.len(), 4);
    }

    #[test]
    fn bytes_bound_a_ring_too() {
        let bytes = state("a", 1).bytes.len();
        let mut ring = Ring::new(0, RingLimits { places_max: 100, bytes_max: 2 * bytes });
        for (name, stamp) in [("a", 1), ("b", 2), ("c", 3)] {
            ring.extend(stamp - 1, stamp, [state(name, stamp)]).unwrap();
        }
        assert_eq!(ring.since(0, &Filter::All, ALL), Since::FellBehind);
        assert_eq!(read(&ring, 1, &Filter::All, ALL).0.len(), 2);
    }

    #[test]
    fn nothing_is_appended_behind_a_gap_and_nothing_twice() {
        let mut ring = ring(&[("a", 1)]);
        assert_eq!(ring.extend(2, 3, [state("c", 3)]), Err(Gap { head: 1, from: 2 }));
        ring.extend(0, 3, [state("a", 1), state("b", 2), state("c", 3)]).unwrap();
        assert_eq!(read(&ring, 0, &Filter::All, ALL).0.len(), 3);
        // Seqs that were superseded before anyone read them are simply not there.
        ring.extend(3, 9, [state("a", 9)]).unwrap();
        assert_eq!(read(&ring, 3, &Filter::All, ALL), (vec![("a".to_owned(), 9)], 9));
    }
}
