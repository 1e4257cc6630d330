//! Verifies a whole ledger: every account is rebuilt from its entries and held against what is stored of it, and so is
//! every checkpoint.
//!
//! It only reads, in short transactions beside a running server: an account's stored state is read at once, and its
//! entries up to that state's `seq` never change. Source: docs/ledger.md, "Entries".

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use quotastack_core::ids::{AccountId, BlockId, EndUserId, TenantId};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::block::Block;
use quotastack_core::ledger::invariants;
use quotastack_core::ledger::refold::Refold;
use quotastack_core::limits::CHECKPOINT_ENTRIES;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::store::keys::Environment;
use crate::store::tx::Store;
use crate::store::types::{EnvironmentId, LaneId};
use crate::store::verify::EnvironmentRow;

/// Accounts whose stored state is read at once.
const ACCOUNTS_PAGE: i64 = 200;
/// Entries read at once: those up to the next checkpoint.
const ENTRIES_PAGE: i64 = CHECKPOINT_ENTRIES.cast_signed();

/// How far a verification is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Accounts that there were when it began.
    pub accounts_total: AtomicU64,
    /// Entries that there were when it began.
    pub entries_total: AtomicU64,
    /// Accounts verified.
    pub accounts: AtomicU64,
    /// Entries read.
    pub entries: AtomicU64,
}

/// An account that is not what its entries say.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Live or sandbox.
    pub environment: Environment,
    /// The end user.
    pub end_user_id: EndUserId,
    /// The account.
    pub account_id: AccountId,
    /// The first bad entry; for a difference from what is stored, the last entry.
    pub seq: u64,
    /// What is wrong.
    pub fault: String,
}

/// Verifies everything with up to `jobs` accounts at a time; what it finds, in no order.
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
            lanes.push((environment.clone(), lane_id));
        }
        tx.commit().await?;
    }
    let findings = Arc::new(Mutex::new(Vec::new()));
    let mut running: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for (environment, lane_id) in lanes {
        let mut after = AccountId::from_uuid(Uuid::nil());
        loop {
            let mut tx = store.begin_snapshot(environment.id).await?;
            let page = tx.stored_accounts(lane_id, after, ACCOUNTS_PAGE).await?;
            tx.commit().await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            while running.len() >= jobs {
                running.join_next().await.expect("some are running")??;
            }
            let (store, environment) = (store.clone(), environment.clone());
            let (progress, findings) = (Arc::clone(progress), Arc::clone(&findings));
            running.spawn(async move {
                for account in page {
                    if let Some(finding) = verify_one(&store, &environment, lane_id, &account, &progress).await? {
                        findings.lock().expect("nobody panics with findings in hand").push(finding);
                    }
                    progress.accounts.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    let findings = std::mem::take(&mut *findings.lock().expect("nobody panics with findings in hand"));
    Ok(findings)
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
        end_user_id: stored.end_user_id.clone(),
        account_id: stored.id,
        seq,
        fault,
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
