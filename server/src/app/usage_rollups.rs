//! Keeps the sums of usage up with what was recorded, page by page. Any number of servers may do it at once, and each
//! may be killed at any point: a page and the mark that it was added are one transaction.

use crate::app::error::AppError;
use crate::app::root::App;
use crate::store::types::{EnvironmentId, LaneId};
use crate::store::usage_rollups::{HeadLock, RollupHead};

/// Lanes looked at in one round.
const ROUND_LANES_MAX: i32 = 64;
/// Events and voids in one page, but for those of one place of the feed.
const PAGE_EVENTS: i64 = 20_000;

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

    /// Adds the next page of a lane to its sums.
    pub async fn roll_up(&self, id: EnvironmentId, lane_id: LaneId) -> Result<RolledUp, AppError> {
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
        let end = tx.rollup_page_end(lane_id, head, PAGE_EVENTS).await?;
        tx.plan_for_sets().await?;
        tx.roll_up(id, lane_id, rolled_to, end).await?;
        tx.commit().await?;
        metrics::counter!("quotastack_usage_rollup_pages_total").increment(1);
        Ok(if end < feed_seq { RolledUp::More } else { RolledUp::All })
    }
}
