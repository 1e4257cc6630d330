//! Lists of usage, the latest first, of an end user or of a whole environment.
//!
//! A page looks at a bounded number of events, so a filter that few of them pass makes a page short, never slow. Where a
//! list goes on is a place in each lane's own order: new events come before it, so none is skipped or told twice.

use std::collections::{HashMap, VecDeque};

use quotastack_core::ids::{AccountId, EndUserId, UsageId};
use quotastack_core::ledger::outcome::VoidRecord;
use quotastack_core::time::Timestamp;

use crate::app::error::AppError;
use crate::app::named::UsageRead;
use crate::app::root::App;
use crate::store::tx::Tx;
use crate::store::types::{EnvironmentId, LaneId};
use crate::store::usage::{ListedUsage, UsageFilter, UsagePlace};

/// Events that one page of a filtered list looks at, in one lane.
const WINDOW: u32 = 20_000;

/// Where a list of a whole environment goes on: before these places of its lanes.
pub type LanePlaces = Vec<UsagePlace>;

/// A page of a list.
#[derive(Debug)]
pub struct UsagePage<Place> {
    /// The latest first.
    pub events: Vec<UsageRead>,
    /// Where the list goes on, if it does.
    pub next: Option<Place>,
}

impl App {
    /// Up to `limit` events of an end user with a `seq` before `before`.
    pub async fn usage_of_end_user(
        &self,
        id: EnvironmentId,
        end_user_id: &EndUserId,
        before: Option<u64>,
        filter: &UsageFilter,
        limit: usize,
    ) -> Result<UsagePage<u64>, AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(end_user_id.bucket());
        let mut tx = self.store.begin_snapshot(id).await?;
        let nothing = UsagePage { events: Vec::new(), next: None };
        let Some((account_id, last)) = tx.find_account_seq(lane_id, end_user_id).await? else { return Ok(nothing) };
        let before = before.unwrap_or(u64::MAX).min(last + 1);
        let after = before.saturating_sub(u64::from(WINDOW));
        let mut rows = tx.list_usage_of_account(lane_id, account_id, (after, before), filter, more_than(limit)).await?;
        let next = if rows.len() > limit {
            rows.truncate(limit);
            rows.last().map(|row| row.place.seq)
        } else {
            let recorded_at = tx.entry_recorded_at(lane_id, account_id, after).await?;
            Some(after).filter(|after| *after > 1 && !recorded_at.is_some_and(|at| is_before(at, filter)))
        };
        let voids = voids(&mut tx, lane_id, &rows).await?;
        tx.commit().await?;
        let names = HashMap::from([(account_id, end_user_id.clone())]);
        Ok(UsagePage { events: reads(rows, &names, &voids), next })
    }

    /// Up to `limit` events of a whole environment before `before`, a place for each lane.
    pub async fn usage_of_environment(
        &self,
        id: EnvironmentId,
        before: Option<LanePlaces>,
        filter: &UsageFilter,
        limit: usize,
    ) -> Result<UsagePage<LanePlaces>, AppError> {
        let mut tx = self.store.begin_snapshot(id).await?;
        let lanes = tx.list_lanes(id).await?;
        let heads = || lanes.iter().map(|(_, feed_seq)| UsagePlace { feed_seq: feed_seq + 1, seq: 0 }).collect();
        let before: LanePlaces = before.unwrap_or_else(heads);
        if before.len() != lanes.len() {
            let detail = "the list cannot go on from here: begin again without a cursor";
            return Err(AppError::invalid("query:cursor", detail));
        }
        let mut ways = Vec::with_capacity(lanes.len());
        for ((lane_id, _), before) in lanes.into_iter().zip(before) {
            ways.push(Way::read(&mut tx, lane_id, before, filter, limit).await?);
        }
        let rows = merge(&mut ways, limit);
        let (mut names, mut undone) = (HashMap::new(), HashMap::new());
        for way in &ways {
            let own = || rows.iter().filter(|(lane_id, _)| *lane_id == way.lane_id).map(|(_, row)| row);
            let accounts: Vec<AccountId> = own().map(|row| row.account_id).collect();
            names.extend(tx.end_users_of(way.lane_id, &accounts).await?);
            undone.extend(voids(&mut tx, way.lane_id, own()).await?);
        }
        tx.commit().await?;
        let is_over = ways.iter().all(|way| way.rows.is_empty() && way.rest.is_none());
        let next = (!is_over).then(|| ways.iter().map(|way| way.place).collect());
        Ok(UsagePage { events: reads(rows.into_iter().map(|(_, row)| row), &names, &undone), next })
    }
}

/// What a page takes from one lane.
struct Way {
    lane_id: LaneId,
    /// Before it there is what was not told yet.
    place: UsagePlace,
    /// What was read and not told yet.
    rows: VecDeque<ListedUsage>,
    /// Where to read on behind `rows`.
    rest: Option<UsagePlace>,
}

impl Way {
    async fn read(
        tx: &mut Tx,
        lane_id: LaneId,
        place: UsagePlace,
        filter: &UsageFilter,
        limit: usize,
    ) -> sqlx::Result<Self> {
        let wanted = more_than(limit);
        let window = if *filter == UsageFilter::default() { wanted } else { i64::from(WINDOW) };
        let rows = tx.list_usage_of_lane(lane_id, place, window, filter, wanted).await?;
        let rest = if rows.len() > limit {
            rows.last().map(|row| row.place)
        } else {
            let end = tx.usage_window_end(lane_id, place, window).await?;
            end.filter(|(_, recorded_at)| !is_before(*recorded_at, filter)).map(|(place, _)| place)
        };
        Ok(Self { lane_id, place, rows: rows.into(), rest })
    }
}

/// Whether what was recorded by then cannot pass the filter: nothing counts later than it was recorded.
fn is_before(recorded_at: Timestamp, filter: &UsageFilter) -> bool {
    /// Places of one transaction need not be in the order of their instants.
    const SLACK_MICROS: i64 = 60_000_000;
    filter.from.is_some_and(|from| recorded_at < from.saturating_add_micros(-SLACK_MICROS))
}

/// Takes the latest events until there are enough, or until a lane must be read on to know which one is next.
fn merge(ways: &mut [Way], limit: usize) -> Vec<(LaneId, ListedUsage)> {
    let mut merged = Vec::with_capacity(limit);
    while merged.len() < limit {
        for way in ways.iter_mut().filter(|way| way.rows.is_empty()) {
            way.place = way.rest.unwrap_or(UsagePlace { feed_seq: 0, seq: 0 });
        }
        if ways.iter().any(|way| way.rows.is_empty() && way.rest.is_some()) {
            break;
        }
        let latest = ways
            .iter_mut()
            .filter_map(|way| Some((way.rows.front()?.record.recorded_at, way)))
            .max_by_key(|(recorded_at, _)| *recorded_at);
        let Some((_, way)) = latest else { break };
        let row = way.rows.pop_front().expect("its front was seen");
        way.place = row.place;
        merged.push((way.lane_id, row));
    }
    merged
}

fn more_than(limit: usize) -> i64 {
    i64::try_from(limit).expect("limits are small") + 1
}

async fn voids<'a>(
    tx: &mut Tx,
    lane_id: LaneId,
    rows: impl IntoIterator<Item = &'a ListedUsage>,
) -> sqlx::Result<HashMap<UsageId, VoidRecord>> {
    let ids: Vec<UsageId> = rows.into_iter().map(|row| row.record.id).collect();
    let voids = tx.load_voids(lane_id, &ids).await?;
    Ok(voids.into_iter().map(|void| (void.usage_id, void)).collect())
}

fn reads(
    rows: impl IntoIterator<Item = ListedUsage>,
    names: &HashMap<AccountId, EndUserId>,
    voids: &HashMap<UsageId, VoidRecord>,
) -> Vec<UsageRead> {
    let reads = rows.into_iter().map(|row| UsageRead {
        end_user_id: names[&row.account_id].clone(),
        void: voids.get(&row.record.id).cloned(),
        record: row.record,
    });
    reads.collect()
}
