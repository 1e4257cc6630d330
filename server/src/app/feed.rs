//! The feed of an environment: a ring of recent states per lane, kept up with the database, read by sessions.
//!
//! A writer publishes its own commits; commits of other servers are found by polling the lane rows. A ring is in
//! strict feed order: where a state is missing, the gap is read from the database first. Source: docs/sync.md,
//! "The feed".

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quotastack_core::state::AccountState;
use quotastack_core::sync::publisher::Rings;
use quotastack_core::sync::ring::{Published, Ring, RingLimits};
use quotastack_core::time::Timestamp;
use tokio::sync::watch;

use crate::app::clock;
use crate::app::environment::{EnvironmentHandle, Environments};
use crate::store::tx::Store;

/// What a ring keeps.
const RING_LIMITS: RingLimits = RingLimits { places_max: 16_384, bytes_max: 32 << 20 };
/// States read from the database at once.
const PAGE_STATES: i64 = 512;
/// How often the lane rows are looked at while sessions are open.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The rings of an environment.
#[derive(Debug)]
pub struct Feed {
    rings: Vec<Mutex<Ring>>,
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

    fn wake(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Rings for Feed {
    fn read<R>(&self, lane: usize, look: impl FnOnce(&Ring) -> R) -> R {
        look(&self.rings[lane].lock())
    }
}

/// Keeps the rings of all open environments with readers up with the database, until the task is dropped.
pub async fn poll(store: Store, environments: Arc<Environments>) {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        match poll_once(&store, &environments).await {
            Ok(()) if failing => {
                failing = false;
                tracing::info!("the feed follows the database again");
            }
            Ok(()) => {}
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "the feed cannot read the database; sessions stand still");
            }
            Err(_) => {}
        }
    }
}

async fn poll_once(store: &Store, environments: &Environments) -> sqlx::Result<()> {
    let open = environments.all().await;
    let read: Vec<&Arc<EnvironmentHandle>> =
        open.iter().map(|environment| &environment.handle).filter(|handle| handle.feed.has_readers()).collect();
    if read.is_empty() {
        return Ok(());
    }
    let asked_at = clock::now();
    let ids: Vec<_> = read.iter().map(|handle| handle.id).collect();
    let mut tx = store.begin_without_environment().await?;
    let positions = tx.lane_positions(&ids).await?;
    tx.commit().await?;
    for (id, lane, feed_seq, catalogue_version) in positions {
        let Some(handle) = read.iter().find(|handle| handle.id == id) else { continue };
        if handle.catalogue().version < catalogue_version {
            let mut tx = store.begin_snapshot(id).await?;
            handle.current_catalogue(&mut tx).await?;
            tx.commit().await?;
        }
        catch_up(store, handle, lane, feed_seq, asked_at).await?;
    }
    Ok(())
}

/// A page of a lane's feed, read in one snapshot.
#[derive(Debug)]
pub struct FeedPage {
    /// In feed order.
    pub states: Vec<Arc<Published>>,
    /// The stamp up to which these are all.
    pub reached: u64,
    /// The lane's `feed_seq`.
    pub head: u64,
}

/// Reads what follows `after` in a lane.
pub async fn read_page(store: &Store, handle: &EnvironmentHandle, lane: u16, after: u64) -> sqlx::Result<FeedPage> {
    let mut tx = store.begin_snapshot(handle.id).await?;
    let catalogue = handle.current_catalogue(&mut tx).await?;
    let lane = usize::from(lane);
    let states = tx.states_after(handle.lanes[lane].lane_id, after, PAGE_STATES, &catalogue).await?;
    let (_, head) = tx.list_lanes(handle.id).await?[lane];
    tx.commit().await?;
    let is_full = states.len() == usize::try_from(PAGE_STATES).expect("a page fits into memory");
    let reached = states.last().filter(|_| is_full).map_or(head, |last| last.stamp);
    Ok(FeedPage { states: states.iter().map(|state| Arc::new(Published::new(state))).collect(), reached, head })
}

/// Reads what a ring lacks up to `feed_seq`, then notes that the lane stood there at `asked_at`.
async fn catch_up(
    store: &Store,
    handle: &EnvironmentHandle,
    lane: u16,
    feed_seq: u64,
    asked_at: Timestamp,
) -> sqlx::Result<()> {
    let ring = &handle.feed.rings[usize::from(lane)];
    loop {
        let head = ring.lock().head();
        if head >= feed_seq {
            ring.lock().confirm(asked_at);
            return Ok(());
        }
        let page = read_page(store, handle, lane, head).await?;
        let appended = ring.lock().extend(head, page.reached, page.states);
        debug_assert!(appended.is_ok(), "a ring's head never goes back");
        handle.feed.wake();
    }
}
