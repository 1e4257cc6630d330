//! Follows the database: keeps the rings of environments with readers complete, also with what other servers
//! committed, and reads pages of the feed for sessions that have fallen out of a ring.

use std::sync::Arc;
use std::time::Duration;

use quotastack_core::sync::ring::Published;
use quotastack_core::time::Timestamp;

use crate::app::clock;
use crate::app::environment::EnvironmentHandle;
use crate::app::environments::Environments;
use crate::store::catalogue::LanePosition;
use crate::store::tx::Store;

/// States read from the database at once.
const PAGE_STATES: i64 = 512;
/// How often the lane rows are looked at while sessions are open.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

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
    let open = environments.all();
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
    let mut first_error = None;
    for position in positions {
        let Some(handle) = read.iter().find(|handle| handle.id == position.environment_id) else { continue };
        // What cannot be read in one environment must not hold up the others.
        if let Err(error) = follow_lane(store, handle, position, asked_at).await {
            tracing::debug!(%error, lane = position.number, "a lane cannot be followed");
            first_error.get_or_insert(error);
        }
    }
    first_error.map_or(Ok(()), Err)
}

async fn follow_lane(
    store: &Store,
    handle: &EnvironmentHandle,
    position: LanePosition,
    asked_at: Timestamp,
) -> sqlx::Result<()> {
    if handle.catalogue().version < position.catalogue_version {
        handle.follow_catalogue(store).await?;
    }
    catch_up(store, handle, position.number, position.feed_seq, asked_at).await
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
    let states = tx.states_after(handle.lanes[lane], after, PAGE_STATES, &catalogue).await?;
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
    let mut end = feed_seq;
    loop {
        let head = ring.lock().head();
        if head >= end {
            ring.lock().confirm(asked_at);
            return Ok(());
        }
        let page = read_page(store, handle, lane, head).await?;
        // A full page lacks what was superseded behind its end: the ring is complete only where that page saw the end.
        end = end.max(page.head);
        let appended = ring.lock().extend(head, page.reached, page.states);
        debug_assert!(appended.is_ok(), "a ring's head never goes back");
        handle.feed.wake();
    }
}
