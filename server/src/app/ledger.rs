//! Reading accounts: checks, balances, blocks, entries, subscriptions. Each in one snapshot, with time applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use quotastack_core::catalogue::Catalogue;
use quotastack_core::entitlement::decision::Decision;
use quotastack_core::entitlement::evaluate::{CheckRequest, evaluate};
use quotastack_core::ids::{AccountId, EndUserId, SubscriptionId};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::advance::{advance, read_at};
use quotastack_core::ledger::block::{Block, HasLot};
use quotastack_core::ledger::entry::Entry;
use quotastack_core::ledger::step::Step;
use quotastack_core::state::AccountState;
use quotastack_core::subscription::Subscription;
use quotastack_core::time::Timestamp;
use uuid::Uuid;

use crate::app::clock;
use crate::app::error::AppError;
use crate::app::idempotency::RequestIdentity;
use crate::app::root::App;
use crate::store::accounts::BlockNotes;
use crate::store::entries::EntryFilter;
use crate::store::tx::Tx;
use crate::store::types::{EnvironmentId, LaneId};

/// Blocks in one answer.
pub(super) const BLOCKS_MAX: i64 = 10_000;
/// Entries that one page of a filtered list looks at.
const ENTRIES_WINDOW: u64 = 20_000;

/// The state of an end user with what is needed to read it.
#[derive(Debug, Clone)]
pub struct StateRead {
    /// The state; stamp 0 where nothing was ever written.
    pub state: AccountState,
    /// The catalogue of the same snapshot.
    pub catalogue: Arc<Catalogue>,
    /// The environment's present.
    pub now: Timestamp,
    /// When the snapshot was taken, in real time.
    pub as_of: Timestamp,
}

impl StateRead {
    /// Answers a check.
    pub fn check(&self, request: CheckRequest<'_>) -> Decision {
        evaluate(&self.state, &self.catalogue, request, self.now)
    }
}

/// An account as a reader sees it.
#[derive(Debug, Clone)]
pub struct AccountRead {
    /// With time applied up to `now`.
    pub account: Account,
    /// Its blocks in burn order, with what people attached to them; only if asked for.
    pub blocks: Vec<(Block, BlockNotes)>,
    /// The environment's present.
    pub now: Timestamp,
}

impl AccountRead {
    /// What there is of an end user that nothing was ever written for.
    pub fn nothing(end_user_id: EndUserId, now: Timestamp) -> Self {
        let id = AccountId::from_uuid(Uuid::nil());
        Self { account: Account::new(id, end_user_id), blocks: Vec::new(), now }
    }
}

/// The subscriptions that time has moved up to `now`, also those that are over with it, as they stand then.
fn moved_by(mut account: Account, catalogue: &Catalogue, now: Timestamp) -> BTreeMap<SubscriptionId, Subscription> {
    let mut moved = BTreeMap::new();
    advance(&mut account.wallet, catalogue, now, |_, _, step| match step {
        Step::Moved { after: subscription, .. } | Step::Turned(subscription) => {
            moved.insert(subscription.id, *subscription);
        }
        _ => {}
    });
    moved
}

/// A page of an account's entries.
#[derive(Debug)]
pub struct EntryPage {
    /// In order, each with the reason given for it.
    pub entries: Vec<(Entry, Option<String>)>,
    /// The next page has what comes after this one, if it may have something.
    pub next: Option<u64>,
}

/// The first entry of `1..=last` that was recorded at an instant or later; `last + 1` if there is none.
async fn first_since(
    tx: &mut Tx,
    lane_id: LaneId,
    account_id: AccountId,
    last: u64,
    since: Timestamp,
) -> sqlx::Result<u64> {
    // An account's entries are recorded in the order of their numbers, which have no gaps.
    let (mut low, mut high) = (1, last + 1);
    while low < high {
        let middle = low.midpoint(high);
        match tx.entry_recorded_at(lane_id, account_id, middle).await? {
            Some(at) if at < since => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

impl App {
    /// The state of an end user.
    pub async fn state(&self, id: EnvironmentId, end_user_id: &EndUserId) -> Result<StateRead, AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(end_user_id.bucket());
        let as_of = clock::now();
        let mut tx = self.store.begin_snapshot(id).await?;
        let catalogue = environment.handle.current_catalogue(&mut tx).await?;
        let state = tx.state_of(lane_id, end_user_id, &catalogue).await?;
        tx.commit().await?;
        let state = state.unwrap_or_else(|| AccountState::unknown(end_user_id.clone()));
        let now = catalogue.clock.at(as_of).max(state.wallet.time);
        Ok(StateRead { state, catalogue, now, as_of })
    }

    /// Whether an earlier request for an end user had this key.
    pub async fn is_repeat(
        &self,
        id: EnvironmentId,
        end_user_id: &EndUserId,
        identity: Option<&RequestIdentity>,
    ) -> Result<bool, AppError> {
        let Some(identity) = identity else { return Ok(false) };
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(end_user_id.bucket());
        let mut tx = self.store.begin(id).await?;
        let found = tx.load_requests(lane_id, &[identity.key_hash], clock::now()).await?;
        tx.commit().await?;
        Ok(!found.is_empty())
    }

    /// The account of an end user, if anything was ever written for them.
    pub async fn account(
        &self,
        id: EnvironmentId,
        end_user_id: &EndUserId,
        with_blocks: bool,
    ) -> Result<Option<AccountRead>, AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(end_user_id.bucket());
        let mut tx = self.store.begin_snapshot(id).await?;
        let catalogue = environment.handle.current_catalogue(&mut tx).await?;
        let found = tx.load_accounts(lane_id, std::slice::from_ref(end_user_id)).await?.remove(end_user_id);
        let Some((mut account, _)) = found else { return Ok(None) };
        let mut blocks = if with_blocks { tx.list_blocks(lane_id, account.id, BLOCKS_MAX).await? } else { Vec::new() };
        tx.commit().await?;
        let now = catalogue.clock.at(clock::now()).max(account.wallet.time);
        read_at(&mut account.wallet, &catalogue, now);
        account.totals = account.wallet.totals();
        for (block, _) in &mut blocks {
            if let Some(live) = account.wallet.lots.iter().find(|live| live.id == block.id) {
                block.clone_from(live);
            }
        }
        if with_blocks {
            // Also what time has made and nobody has written yet.
            let unwritten = account.wallet.lots.iter().filter(|block| block.is_unwritten());
            blocks.extend(unwritten.map(|block| (block.clone(), BlockNotes::default())));
        }
        blocks.sort_by(|(a, _), (b, _)| a.full_order(b));
        Ok(Some(AccountRead { account, blocks, now }))
    }

    /// Up to `limit` entries of an end user after `after_seq` that pass the filter. Looks at a bounded number of them.
    pub async fn entries(
        &self,
        id: EnvironmentId,
        end_user_id: &EndUserId,
        after_seq: u64,
        filter: &EntryFilter,
        limit: usize,
    ) -> Result<EntryPage, AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(end_user_id.bucket());
        let mut tx = self.store.begin_snapshot(id).await?;
        let nothing = EntryPage { entries: Vec::new(), next: None };
        let Some((account_id, last)) = tx.find_account_seq(lane_id, end_user_id).await? else { return Ok(nothing) };
        let first = match filter.recorded_from {
            Some(from) => first_since(&mut tx, lane_id, account_id, last, from).await?,
            None => 1,
        };
        let after_seq = after_seq.max(first - 1);
        let up_to = after_seq.saturating_add(ENTRIES_WINDOW).min(last);
        let wanted = i64::try_from(limit).expect("limits are small") + 1;
        let mut entries = tx.list_filtered_entries(lane_id, account_id, (after_seq, up_to), filter, wanted).await?;
        let next = if entries.len() > limit {
            entries.truncate(limit);
            entries.last().map(|(last, _)| last.seq)
        } else {
            let is_over = match filter.recorded_to {
                Some(to) => tx.entry_recorded_at(lane_id, account_id, up_to).await?.is_none_or(|at| at >= to),
                None => false,
            };
            Some(up_to).filter(|up_to| *up_to < last && !is_over)
        };
        Ok(EntryPage { entries, next })
    }

    /// Up to `limit` entries of an end user after `after_seq`, each with the hash before it: a segment of the chain.
    pub async fn chain(
        &self,
        id: EnvironmentId,
        end_user_id: &EndUserId,
        after_seq: u64,
        limit: i64,
    ) -> Result<Vec<Entry>, AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(end_user_id.bucket());
        let mut tx = self.store.begin_snapshot(id).await?;
        let Some(account_id) = tx.find_account(lane_id, end_user_id).await? else { return Ok(Vec::new()) };
        Ok(tx.list_entries(lane_id, account_id, after_seq, limit).await?)
    }

    /// A subscription and whose it is, as it stands now.
    pub async fn subscription(
        &self,
        id: EnvironmentId,
        subscription_id: SubscriptionId,
    ) -> Result<Option<(EndUserId, Subscription)>, AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(subscription_id.bucket());
        let mut tx = self.store.begin_snapshot(id).await?;
        let catalogue = environment.handle.current_catalogue(&mut tx).await?;
        let now = catalogue.clock.at(clock::now());
        let Some((end_user_id, stored)) = tx.find_subscription(lane_id, subscription_id).await? else {
            return Ok(None);
        };
        let found = tx.load_accounts(lane_id, std::slice::from_ref(&end_user_id)).await?.remove(&end_user_id);
        let moved = found.map(|(account, _)| moved_by(account, &catalogue, now)).unwrap_or_default();
        Ok(Some((end_user_id, moved.get(&subscription_id).cloned().unwrap_or(stored))))
    }

    /// Up to `limit` subscriptions of an end user after `after`, newest first, as they stand now.
    pub async fn subscriptions(
        &self,
        id: EnvironmentId,
        end_user_id: &EndUserId,
        after: Option<SubscriptionId>,
        limit: i64,
    ) -> Result<Vec<Subscription>, AppError> {
        let environment = self.environment(id).await?;
        let (_, lane_id) = environment.handle.lane_of(end_user_id.bucket());
        let mut tx = self.store.begin_snapshot(id).await?;
        let catalogue = environment.handle.current_catalogue(&mut tx).await?;
        let now = catalogue.clock.at(clock::now());
        let found = tx.load_accounts(lane_id, std::slice::from_ref(end_user_id)).await?.remove(end_user_id);
        let Some((account, _)) = found else { return Ok(Vec::new()) };
        let stored = tx.list_subscriptions(lane_id, account.id, after, limit).await?;
        let mut states: BTreeMap<_, _> = stored.into_iter().map(|stored| (stored.id, stored)).collect();
        // Also what time has made and nobody has written yet.
        let moved = moved_by(account, &catalogue, now).into_iter();
        states.extend(moved.filter(|(id, _)| after.is_none_or(|after| *id < after)));
        Ok(states.into_values().rev().take(usize::try_from(limit).unwrap_or(usize::MAX)).collect())
    }
}
