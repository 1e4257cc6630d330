//! Keeps the sums of usage up with what was recorded, page by page. Any number of servers may do it at once, and each
//! may be killed at any point: a page and the mark that it was added are one transaction.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::app::error::AppError;
use crate::app::root::App;
use crate::store::tx::is_too_long;
use crate::store::types::{EnvironmentId, LaneId};
use crate::store::usage_rollups::{HeadLock, RollupHead};

/// Lanes looked at in one round.
const ROUND_LANES_MAX: i32 = 64;
/// Events and voids in one page at most, but for those of one place of the feed.
const PAGE_EVENTS_MAX: i64 = 20_000;
/// No page has fewer, however long it takes.
const PAGE_EVENTS_MIN: i64 = 250;
/// A page that took longer is followed by smaller ones, before a statement runs into its time limit;
const PAGE_SLOW: Duration = Duration::from_secs(2);
/// one that was this quick, by larger ones.
const PAGE_QUICK: Duration = Duration::from_millis(500);

/// What came of a lane's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolledUp {
    /// A page was added, or can be added now; there is more.
    More,
    /// The sums are where the lane is.
    All,
    /// Somebody else is at it.
    Busy,
}

/// How many events a page has at this database: what a statement may take is limited, and what it does in that time is
/// not known beforehand.
#[derive(Debug)]
pub(super) struct PageSize(AtomicI64);

impl Default for PageSize {
    fn default() -> Self {
        Self(AtomicI64::new(PAGE_EVENTS_MAX))
    }
}

impl PageSize {
    fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Learns from a page of this size, `None` = it took too long to be done. False if there is no smaller one.
    fn learn(&self, size: i64, took: Option<Duration>) -> bool {
        let next = match took {
            None => size / 4,
            Some(took) if took > PAGE_SLOW => size / 2,
            Some(took) if took < PAGE_QUICK => size * 2,
            Some(_) => size,
        };
        self.0.store(next.clamp(PAGE_EVENTS_MIN, PAGE_EVENTS_MAX), Ordering::Relaxed);
        size > PAGE_EVENTS_MIN
    }
}

impl App {
    /// A page of every lane whose sums are behind, of all tenants, as far as one round goes. Whether there is more.
    pub async fn roll_up_round(&self) -> Result<bool, AppError> {
        let lanes = self.lanes_to_roll_up().await?;
        let is_full = lanes.len() == usize::try_from(ROUND_LANES_MAX).expect("a round is short");
        let (mut has_more, mut first_error) = (false, None);
        for (environment, lane) in lanes {
            match self.roll_up(environment, lane).await {
                Ok(RolledUp::More) => has_more = true,
                Ok(RolledUp::All) => has_more |= is_full,
                Ok(RolledUp::Busy) => {}
                // What fails in one lane must not hold up the others.
                Err(error) => {
                    tracing::debug!(%error, lane = lane.0, "a lane's usage cannot be added up");
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(has_more), Err)
    }

    async fn lanes_to_roll_up(&self) -> Result<Vec<(EnvironmentId, LaneId)>, AppError> {
        let mut tx = self.store.begin_without_environment().await?;
        let lanes = tx.lanes_to_roll_up(ROUND_LANES_MAX).await?;
        tx.commit().await?;
        Ok(lanes)
    }

    /// Adds the next page of a lane to its sums; of a page that takes too long, nothing.
    pub async fn roll_up(&self, id: EnvironmentId, lane_id: LaneId) -> Result<RolledUp, AppError> {
        let (size, started) = (self.rollup_page.get(), Instant::now());
        match self.roll_up_page(id, lane_id, size).await {
            // The last page of a lane says nothing: it may be short.
            Ok(RolledUp::More) => {
                self.rollup_page.learn(size, Some(started.elapsed()));
                Ok(RolledUp::More)
            }
            Err(error) if is_too_long(&error) && self.rollup_page.learn(size, None) => {
                tracing::info!(lane = lane_id.0, events = size, "a page of usage takes too long; trying a smaller one");
                Ok(RolledUp::More)
            }
            outcome => Ok(outcome?),
        }
    }

    async fn roll_up_page(&self, id: EnvironmentId, lane_id: LaneId, size: i64) -> sqlx::Result<RolledUp> {
        let mut tx = self.store.begin(id).await?;
        let head = match tx.lock_rollup_head(lane_id).await? {
            HeadLock::Locked(head) => head,
            HeadLock::Taken => return Ok(RolledUp::Busy),
            HeadLock::Missing => {
                tx.create_rollup_head(id, lane_id).await?;
                tx.commit().await?;
                return Ok(RolledUp::More);
            }
        };
        let RollupHead { rolled_to, feed_seq } = head;
        if rolled_to >= feed_seq {
            return Ok(RolledUp::All);
        }
        let end = tx.rollup_page_end(lane_id, head, size).await?;
        tx.plan_for_sets().await?;
        tx.roll_up(id, lane_id, rolled_to, end).await?;
        tx.commit().await?;
        metrics::counter!("quotastack_usage_rollup_pages_total").increment(1);
        Ok(if end < feed_seq { RolledUp::More } else { RolledUp::All })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_as_large_as_can_be_done_in_time() {
        let page = PageSize::default();
        let learn = |took: Option<u64>| (page.learn(page.get(), took.map(Duration::from_millis)), page.get());
        assert_eq!(learn(Some(1)), (true, 20_000), "no larger than may be");
        assert_eq!(learn(Some(2_001)), (true, 10_000));
        assert_eq!(learn(Some(1_000)), (true, 10_000));
        assert_eq!(learn(None), (true, 2_500));
        assert_eq!(learn(None), (true, 625));
        assert_eq!(learn(None), (true, 250));
        assert_eq!(learn(None), (false, 250), "it cannot be done");
        assert_eq!(learn(Some(499)), (false, 500));
    }
}
