//! Verifies a whole ledger: every account is rebuilt from its entries and held against what is stored of it, and so is
//! every checkpoint; records of usage, voids, reservations and top-ups are held against their entries, and sums of usage
//! against what they add up.
//!
//! It only reads, in short transactions beside a running server: an account's stored state is read at once, and its
//! entries up to that state's `seq` never change. What is compared inside the database is compared in one snapshot.
//! Source: docs/ledger.md, "What a verification covers".

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use quotastack_core::ids::{AccountId, BlockId, EndUserId, TenantId};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::block::Block;
use quotastack_core::ledger::invariants;
use quotastack_core::ledger::refold::Refold;
use quotastack_core::limits::CHECKPOINT_ENTRIES;
use quotastack_core::time::Timestamp;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::store::keys::Environment;
use crate::store::tx::Store;
use crate::store::types::{EnvironmentId, LaneId};
use crate::store::verify::EnvironmentRow;
use crate::store::verify_records::{AccountRange, RecordDifference};

/// Accounts whose stored state is read at once.
const ACCOUNTS_PAGE: usize = 200;
/// Entries read at once: those up to the next checkpoint.
const ENTRIES_PAGE: i64 = CHECKPOINT_ENTRIES.cast_signed();
/// Entries whose records are compared at once, but for those of one account.
const RECORDS_PAGE: u64 = 50_000;
/// Voids that are compared at once.
const VOIDS_PAGE: i64 = 5_000;

/// How far a verification is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Accounts that there were when it began.
    pub accounts_total: AtomicU64,
    /// Entries that there were when it began.
    pub entries_total: AtomicU64,
    /// Lanes.
    pub lanes_total: AtomicU64,
    /// Accounts verified.
    pub accounts: AtomicU64,
    /// Entries read.
    pub entries: AtomicU64,
    /// Lanes whose voids and sums of usage are verified.
    pub lanes: AtomicU64,
}

/// Something that is not what the entries say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Live or sandbox.
    pub environment: Environment,
    /// The end user; `None` for sums of a whole lane, and where an account is missing.
    pub end_user_id: Option<EndUserId>,
    /// The account; `None` for sums of a whole lane.
    pub account_id: Option<AccountId>,
    /// The first bad entry; for a difference from what is stored, the last entry; for a record, its entry. `None` for sums.
    pub seq: Option<u64>,
    /// What is wrong.
    pub fault: String,
    /// What should be there, where that is one figure.
    pub expected: Option<String>,
    /// What is there.
    pub found: Option<String>,
}

/// What the parts of a verification share.
struct Verification {
    store: Store,
    progress: Arc<Progress>,
    findings: Mutex<Vec<Finding>>,
}

/// Verifies everything over up to `jobs` connections at a time, each with a page of accounts, or with the voids and sums
/// of a lane. What it finds is in no order.
pub async fn verify(store: &Store, jobs: usize, progress: &Arc<Progress>) -> anyhow::Result<Vec<Finding>> {
    let mut lanes = Vec::new();
    let mut tx = store.begin_as_operator().await?;
    let environments = tx.list_environments().await?;
    tx.commit().await?;
    for environment in environments {
        let mut tx = store.begin(environment.id).await?;
        for (lane_id, _) in tx.list_lanes(environment.id).await? {
            let (accounts, entries) = tx.count_lane(lane_id).await?;
            progress.accounts_total.fetch_add(accounts, Ordering::Relaxed);
            progress.entries_total.fetch_add(entries, Ordering::Relaxed);
            progress.lanes_total.fetch_add(1, Ordering::Relaxed);
            lanes.push((environment.clone(), lane_id));
        }
        tx.commit().await?;
    }
    let findings = Mutex::new(Vec::new());
    let all = Arc::new(Verification { store: store.clone(), progress: Arc::clone(progress), findings });
    let mut running: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for (environment, lane_id) in lanes {
        let mut after = Uuid::nil();
        loop {
            let mut tx = store.begin_snapshot(environment.id).await?;
            let page = tx.stored_accounts(lane_id, AccountId::from_uuid(after), ACCOUNTS_PAGE as i64).await?;
            tx.commit().await?;
            let is_last = page.len() < ACCOUNTS_PAGE;
            // What belongs to no account stands between and behind those that there are.
            let up_to = if is_last { Uuid::max() } else { page[ACCOUNTS_PAGE - 1].id.uuid() };
            let range = AccountRange { after, up_to };
            after = up_to;
            make_room(&mut running, jobs).await?;
            let (all, environment) = (Arc::clone(&all), environment.clone());
            running.spawn(async move { all.verify_page(&environment, lane_id, range, &page).await });
            if is_last {
                break;
            }
        }
        make_room(&mut running, jobs).await?;
        let all = Arc::clone(&all);
        running.spawn(async move { all.verify_lane(&environment, lane_id).await });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    let findings = std::mem::take(&mut *all.findings.lock().expect("nobody panics with findings in hand"));
    Ok(findings)
}

/// Waits until fewer than `jobs` are running.
async fn make_room(running: &mut JoinSet<anyhow::Result<()>>, jobs: usize) -> anyhow::Result<()> {
    while running.len() >= jobs {
        running.join_next().await.expect("some are running")??;
    }
    Ok(())
}

impl Verification {
    /// The accounts of a page and the records of all that lie in its range.
    async fn verify_page(
        &self,
        environment: &EnvironmentRow,
        lane_id: LaneId,
        range: AccountRange,
        page: &[Account],
    ) -> anyhow::Result<()> {
        for range in parts_of(range, page) {
            let mut tx = self.store.begin_snapshot(environment.id).await?;
            tx.plan_for_verifying().await?;
            let differences = tx.differing_records(lane_id, range).await?;
            tx.commit().await?;
            self.note(environment, differences);
        }
        for account in page {
            let found = verify_one(&self.store, environment, lane_id, account, &self.progress).await?;
            self.findings.lock().expect("nobody panics with findings in hand").extend(found);
            self.progress.accounts.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What a lane keeps of all of its accounts together.
    async fn verify_lane(&self, environment: &EnvironmentRow, lane_id: LaneId) -> anyhow::Result<()> {
        let mut after = Uuid::nil();
        loop {
            let mut tx = self.store.begin_snapshot(environment.id).await?;
            tx.plan_for_verifying().await?;
            let Some(up_to) = tx.voids_page_end(lane_id, after, VOIDS_PAGE).await? else { break };
            let differences = tx.differing_voids(lane_id, after, up_to).await?;
            tx.commit().await?;
            self.note(environment, differences);
            after = up_to;
        }
        let mut since = Some(Timestamp::MIN);
        loop {
            let mut tx = self.store.begin_snapshot(environment.id).await?;
            tx.plan_for_verifying().await?;
            let head = tx.rollup_head(lane_id).await?;
            let month = match since {
                Some(since) => tx.month_with_usage(lane_id, since).await?,
                None => None,
            };
            let Some(month) = month else {
                self.note(environment, tx.differing_property_sums(lane_id).await?);
                break;
            };
            let differences = tx.differing_sums(lane_id, month, head.rolled_to).await?;
            tx.commit().await?;
            self.note(environment, differences);
            // The last month ends where timestamps do: there is none after it.
            since = Some(month.calendar_month().1).filter(|next| *next < Timestamp::MAX);
        }
        self.progress.lanes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn note(&self, environment: &EnvironmentRow, differences: Vec<RecordDifference>) {
        let findings = differences.into_iter().map(|difference| Finding {
            tenant_id: environment.tenant_id,
            environment: environment.environment,
            end_user_id: difference.end_user_id,
            account_id: difference.account_id,
            seq: difference.seq,
            fault: difference.what,
            expected: Some(difference.expected),
            found: Some(difference.found),
        });
        self.findings.lock().expect("nobody panics with findings in hand").extend(findings);
    }
}

/// A page's range in parts of about [`RECORDS_PAGE`] entries.
fn parts_of(range: AccountRange, page: &[Account]) -> Vec<AccountRange> {
    let mut parts = Vec::new();
    let (mut after, mut entries) = (range.after, 0);
    for account in page {
        entries += account.seq;
        if entries >= RECORDS_PAGE {
            parts.push(AccountRange { after, up_to: account.id.uuid() });
            (after, entries) = (account.id.uuid(), 0);
        }
    }
    if after < range.up_to {
        parts.push(AccountRange { after, up_to: range.up_to });
    }
    parts
}

async fn verify_one(
    store: &Store,
    environment: &EnvironmentRow,
    lane_id: LaneId,
    stored: &Account,
    progress: &Progress,
) -> anyhow::Result<Option<Finding>> {
    let (seq, fault) = match difference(store, environment.id, lane_id, stored, progress).await? {
        Some(found) => found,
        None => match invariants::check(stored) {
            Ok(()) => return Ok(None),
            Err(broken) => (stored.seq, broken.to_string()),
        },
    };
    Ok(Some(Finding {
        tenant_id: environment.tenant_id,
        environment: environment.environment,
        end_user_id: Some(stored.end_user_id.clone()),
        account_id: Some(stored.id),
        seq: Some(seq),
        fault,
        expected: None,
        found: None,
    }))
}

async fn difference(
    store: &Store,
    environment: EnvironmentId,
    lane_id: LaneId,
    stored: &Account,
    progress: &Progress,
) -> anyhow::Result<Option<(u64, String)>> {
    let mut refold = Refold::new(stored.id);
    let mut used_up: HashMap<BlockId, Block> = HashMap::new();
    while refold.seq() < stored.seq {
        let after = refold.seq();
        let mut tx = store.begin(environment).await?;
        let mut page = tx.list_entries(lane_id, stored.id, after, ENTRIES_PAGE).await?;
        let kept = tx.checkpoint_at(lane_id, stored.id, after + CHECKPOINT_ENTRIES).await?;
        tx.commit().await?;
        page.retain(|entry| entry.seq <= stored.seq);
        if page.is_empty() {
            break;
        }
        refold.bring(refold.missing(&page).iter().filter_map(|id| used_up.get(id)).cloned());
        for entry in &page {
            if let Err(difference) = refold.push(entry) {
                return Ok(Some((difference.seq, difference.fault.to_string())));
            }
            progress.entries.fetch_add(1, Ordering::Relaxed);
        }
        if refold.seq() == after + CHECKPOINT_ENTRIES {
            let checkpoint = refold.checkpoint();
            if kept.is_some_and(|kept| kept != checkpoint) {
                let fault = "the checkpoint that is kept there says something else than the entries".to_owned();
                return Ok(Some((checkpoint.seq, fault)));
            }
            used_up.extend(checkpoint.used_up.into_iter().map(|block| (block.id, block)));
        }
    }
    refold.bring(used_up.into_values());
    let compared = refold.compare(stored);
    Ok(compared.err().map(|difference| (difference.seq, difference.fault.to_string())))
}
