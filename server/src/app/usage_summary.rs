//! Summaries of usage: sums that were kept up to some place of each lane's feed, and exactly what follows that place,
//! read in one snapshot. So an answer agrees with the ledger, however far behind the sums are.
//! Source: docs/ledger.md, "Reading usage".

use std::collections::{BTreeMap, HashMap};

use quotastack_core::credits::AMOUNT_MAX;
use quotastack_core::ids::{AccountId, EndUserId, FeatureKey};
use quotastack_core::time::Timestamp;
use uuid::Uuid;

use crate::app::environment::EnvironmentHandle;
use crate::app::error::AppError;
use crate::app::root::App;
use crate::app::usage_range::{Segment, count_buckets, floor, segments};
use crate::store::tx::Tx;
use crate::store::types::{EnvironmentId, LaneId};
use crate::store::usage_sums::{Grain, Grouping, Sum, SumsQuery};

/// Buckets that a range may touch.
pub const SUMMARY_BUCKETS_MAX: usize = 1_000;

/// A page of a summary that is asked for.
#[derive(Debug, Clone)]
pub struct SummaryRequest {
    /// From this `effective_at`,
    pub from: Timestamp,
    /// before this one.
    pub to: Timestamp,
    /// How long a bucket is.
    pub bucket: Grain,
    /// What is told apart.
    pub grouping: Grouping,
    /// Of this end user only.
    pub end_user_id: Option<EndUserId>,
    /// Of this feature only.
    pub feature_key: Option<FeatureKey>,
    /// What follows this bucket and key.
    pub after: Option<(Timestamp, String)>,
    /// Lines at most.
    pub limit: usize,
}

/// What a bucket and group come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryLine {
    /// The bucket's first instant, also where the range begins later.
    pub bucket_start: Timestamp,
    /// Whose or which.
    pub group: Group,
    /// Events that were recorded and not undone.
    pub events: i64,
    /// Their units.
    pub units: i64,
    /// What they were charged.
    pub cost: i64,
    /// Whether a sum is beyond what every reader holds exactly, and was cut to that.
    pub is_cut: bool,
}

/// What a line is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Group {
    /// A feature.
    Feature(String),
    /// An end user.
    EndUser(EndUserId),
    /// Events whose property has this value; `None`: that lack it.
    Value(Option<String>),
    /// Events whose property has a value that is not told apart.
    OtherValues,
}

/// A page of a summary.
#[derive(Debug)]
pub struct SummaryPage {
    /// In the order of bucket and group.
    pub lines: Vec<SummaryLine>,
    /// Where the next page begins, if there is one.
    pub next: Option<(Timestamp, String)>,
}

/// A bucket and a key.
type Place = (Timestamp, String);
/// Events, units and cost of each.
type Sums = BTreeMap<Place, (i64, i128, i128)>;

impl App {
    /// A page of a summary.
    pub async fn usage_summary(&self, id: EnvironmentId, request: &SummaryRequest) -> Result<SummaryPage, AppError> {
        check_range(request)?;
        let environment = self.environment(id).await?;
        let handle = &environment.handle;
        let mut tx = self.store.begin_snapshot(id).await?;
        tx.plan_for_sets().await?;
        check_property(handle, &mut tx, request).await?;
        let nothing = SummaryPage { lines: Vec::new(), next: None };
        let (lanes, account_id) = match &request.end_user_id {
            None => (handle.lanes.clone(), None),
            Some(end_user_id) => {
                let (_, lane_id) = handle.lane_of(end_user_id.bucket());
                let Some(account_id) = tx.find_account(lane_id, end_user_id).await? else { return Ok(nothing) };
                (vec![lane_id], Some(account_id))
            }
        };
        let after = request.after.clone().unwrap_or((Timestamp::MIN, String::new()));
        // Nothing of an earlier bucket follows it.
        let from =
            if request.after.is_some() { request.from.max(floor(after.0, request.bucket)) } else { request.from };
        if from >= request.to {
            return Ok(nothing);
        }
        let query = SumsQuery {
            environment_id: id,
            bucket: request.bucket,
            grouping: request.grouping.clone(),
            account_id,
            feature_key: request.feature_key.clone(),
            after,
            limit: i64::try_from(request.limit).expect("limits are small") + 1,
        };
        let mut sums = Sums::new();
        for segment in segments(from, request.to, request.bucket) {
            let by_account = segment.is_whole && query.grouping == Grouping::EndUser && query.account_id.is_none();
            if by_account {
                add(&mut sums, first_of_accounts(&mut tx, &lanes, &query, (segment.from, segment.to)).await?);
            }
            for lane_id in &lanes {
                if !by_account {
                    add(&mut sums, tx.sums_of_rollups(*lane_id, &query, &segment.pieces(query.bucket)).await?);
                }
                add(&mut sums, sums_of_rest(&mut tx, *lane_id, &query, &segment).await?);
            }
            // Each source has told its first ones, so these are the first of all; later segments follow them.
            if sums.len() > request.limit {
                break;
            }
        }
        let has_more = sums.len() > request.limit;
        let page: Sums = sums.into_iter().take(request.limit).collect();
        let next = page.keys().last().filter(|_| has_more).cloned();
        let names = names(handle, &mut tx, &request.grouping, &page).await?;
        tx.commit().await?;
        let lines = page.into_iter().filter(|(_, (events, ..))| *events != 0);
        let lines = lines.map(|((bucket_start, key), (events, units, cost))| SummaryLine {
            bucket_start,
            group: group(&request.grouping, key, &names),
            events,
            units: held(units),
            cost: held(cost),
            is_cut: units != i128::from(held(units)) || cost != i128::from(held(cost)),
        });
        Ok(SummaryPage { lines: lines.collect(), next })
    }
}

fn check_range(request: &SummaryRequest) -> Result<(), AppError> {
    let SummaryRequest { from, to, bucket, .. } = request;
    if from >= to {
        return Err(AppError::invalid("query:to", "must be after `from`: a range is [from, to)"));
    }
    if count_buckets(*from, *to, *bucket, SUMMARY_BUCKETS_MAX + 1) > SUMMARY_BUCKETS_MAX {
        let coarser = match bucket {
            Grain::Hour => "or ask for bucket=day",
            Grain::Day => "or ask for bucket=month",
            Grain::Month => "and ask several times",
        };
        let name = bucket.name();
        let detail =
            format!("the range has more than {SUMMARY_BUCKETS_MAX} buckets of one {name}: shorten it, {coarser}");
        return Err(AppError::invalid("query:to", detail));
    }
    Ok(())
}

async fn check_property(handle: &EnvironmentHandle, tx: &mut Tx, request: &SummaryRequest) -> Result<(), AppError> {
    let Grouping::Property(name) = &request.grouping else { return Ok(()) };
    let catalogue = handle.current_catalogue(tx).await?;
    let mut features = catalogue.features.iter();
    let is_asked = |key: &FeatureKey| request.feature_key.as_ref().is_none_or(|asked| asked == key);
    if features.any(|(key, feature)| is_asked(key) && feature.summary_properties.contains(name)) {
        return Ok(());
    }
    let whose = request.feature_key.as_ref().map_or_else(|| "any feature".to_owned(), |key| format!("feature {key}"));
    let detail = format!("usage of {whose} is not summed by {name:?}: name it in a feature's summary_properties");
    Err(AppError::invalid("query:property", detail))
}

fn add(sums: &mut Sums, more: impl IntoIterator<Item = Sum>) {
    for sum in more {
        let (events, units, cost) = sums.entry((sum.bucket_start, sum.key)).or_default();
        *events += sum.events;
        *units += sum.units;
        *cost += sum.cost;
    }
}

/// The first sums of accounts that were added up before, of all lanes. Each lane is asked for its share, and for more
/// where others do not yet know whether theirs come first.
async fn first_of_accounts(
    tx: &mut Tx,
    lanes: &[LaneId],
    query: &SumsQuery,
    range: (Timestamp, Timestamp),
) -> sqlx::Result<Vec<Sum>> {
    let limit = usize::try_from(query.limit).expect("limits are small");
    let share = limit.min(limit / lanes.len() * 5 / 4 + 1);
    let mut found: Vec<Sum> = Vec::new();
    // How far each lane was read.
    let mut read: Vec<(LaneId, Place)> = lanes.iter().map(|lane_id| (*lane_id, query.after.clone())).collect();
    let mut known_to: Option<Place> = None;
    loop {
        let mut unfinished = Vec::new();
        for (lane_id, after) in read {
            if known_to.as_ref().is_some_and(|known_to| after > *known_to) {
                unfinished.push((lane_id, after));
                continue;
            }
            let sums = tx.sums_of_accounts(lane_id, query, range, &after, share).await?;
            if let Some(last) = sums.last().filter(|_| sums.len() == share) {
                unfinished.push((lane_id, (last.bucket_start, last.key.clone())));
            }
            found.extend(sums);
        }
        read = unfinished;
        found.sort_unstable_by(|one, other| (one.bucket_start, &one.key).cmp(&(other.bucket_start, &other.key)));
        known_to = read.iter().map(|(_, place)| place.clone()).min();
        let Some((bucket_start, key)) = &known_to else { break };
        if found.partition_point(|sum| (sum.bucket_start, &sum.key) <= (*bucket_start, key)) >= limit {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// What a lane has of a segment that is not added up: not yet, or because less than an hour of it is asked for.
async fn sums_of_rest(tx: &mut Tx, lane_id: LaneId, query: &SumsQuery, segment: &Segment) -> sqlx::Result<Vec<Sum>> {
    let mut sums = Vec::new();
    if let Some((from, to)) = segment.hours() {
        let head = tx.rollup_head(lane_id).await?;
        if head.rolled_to < head.feed_seq {
            sums.extend(tx.sums_of_tail(lane_id, query, from, to, head).await?);
        }
    }
    for (from, to) in segment.ends() {
        sums.extend(tx.sums_of_events(lane_id, query, from, to).await?);
    }
    Ok(sums)
}

/// The end users that a page names.
async fn names(
    handle: &EnvironmentHandle,
    tx: &mut Tx,
    grouping: &Grouping,
    page: &Sums,
) -> sqlx::Result<HashMap<String, EndUserId>> {
    let mut names = HashMap::new();
    if *grouping != Grouping::EndUser {
        return Ok(names);
    }
    let mut by_lane: BTreeMap<LaneId, Vec<AccountId>> = BTreeMap::new();
    for (_, key) in page.keys() {
        let account = AccountId::from_uuid(Uuid::parse_str(key).expect("end users are told apart by account ids"));
        let (_, lane_id) = handle.lane_of(account.bucket());
        by_lane.entry(lane_id).or_default().push(account);
    }
    for (lane_id, accounts) in by_lane {
        let found = tx.end_users_of(lane_id, &accounts).await?;
        names.extend(found.into_iter().map(|(account, name)| (account.uuid().to_string(), name)));
    }
    Ok(names)
}

fn group(grouping: &Grouping, key: String, names: &HashMap<String, EndUserId>) -> Group {
    match grouping {
        Grouping::Feature => Group::Feature(key),
        Grouping::EndUser => Group::EndUser(names[&key].clone()),
        Grouping::Property(_) => match key.strip_prefix('=') {
            Some(value) => Group::Value(Some(value.to_owned())),
            None if key == "-" => Group::Value(None),
            None => Group::OtherValues,
        },
    }
}

/// The nearest to a sum that every reader of JSON holds exactly.
fn held(sum: i128) -> i64 {
    let cut = sum.clamp((-AMOUNT_MAX).into(), AMOUNT_MAX.into());
    i64::try_from(cut).expect("amounts are within 2^53")
}
