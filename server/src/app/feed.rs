//! The feed of an environment: a ring of recent states per lane, in strict feed order, read by sessions.
//!
//! Writers publish their own commits here; [`super::follow`] adds those of other servers. Source: docs/sync.md,
//! "The feed".

use std::sync::Arc;

use parking_lot::Mutex;
use quotastack_core::state::AccountState;
use quotastack_core::sync::publisher::Rings;
use quotastack_core::sync::ring::{Published, Ring, RingLimits};
use tokio::sync::watch;

/// What a ring keeps.
const RING_LIMITS: RingLimits = RingLimits { places_max: 16_384, bytes_max: 32 << 20 };

/// The rings of an environment.
#[derive(Debug)]
pub struct Feed {
    pub(super) rings: Vec<Mutex<Ring>>,
    changed: watch::Sender<u64>,
}

impl Feed {
    /// Empty rings at these positions.
    pub fn new(positions: &[u64]) -> Self {
        let rings = positions.iter().map(|position| Mutex::new(Ring::new(*position, RING_LIMITS)));
        Self { rings: rings.collect(), changed: watch::Sender::new(0) }
    }

    /// Wakes up whenever a ring has grown or the catalogue has changed.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How far each lane is.
    pub fn heads(&self) -> Vec<u64> {
        self.rings.iter().map(|ring| ring.lock().head()).collect()
    }

    /// Whether anyone reads.
    pub fn has_readers(&self) -> bool {
        self.changed.receiver_count() > 0
    }

    /// The newest states of all accounts of `lane` that changed in (`from`, `to`], in any order. Left to the poller
    /// if another server's commit is missing in between.
    pub fn publish<'a>(&self, lane: u16, from: u64, to: u64, states: impl Iterator<Item = &'a Arc<AccountState>>) {
        if from == to {
            return;
        }
        let mut states: Vec<&Arc<AccountState>> = states.filter(|state| state.stamp > from).collect();
        states.sort_unstable_by_key(|state| state.stamp);
        let published = states.into_iter().map(|state| Arc::new(Published::new(state)));
        let appended = self.rings[usize::from(lane)].lock().extend(from, to, published);
        if appended.is_ok() {
            self.wake();
        }
    }

    /// Tells sessions that there is another catalogue.
    pub fn catalogue_changed(&self) {
        self.wake();
    }

    pub(super) fn wake(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Rings for Feed {
    fn read<R>(&self, lane: usize, look: impl FnOnce(&Ring) -> R) -> R {
        look(&self.rings[lane].lock())
    }
}
