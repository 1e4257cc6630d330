//! Looking back: an account as of an earlier instant or entry, rebuilt from its entries.
//!
//! Whoever looks back over a thousand entries leaves a checkpoint there, in a transaction of its own, so the next one
//! starts from it. Writers know nothing of this: what nobody looks back on costs nothing. A checkpoint is never worth
//! more than the entries: it may be lost, any server may write it, and `ledger verify` holds it against them.
//! Source: docs/ledger.md, "Looking back".

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use quotastack_core::ids::{AccountId, BlockId, EndUserId};
use quotastack_core::ledger::advance::read_at;
use quotastack_core::ledger::block::{Block, HasLot};
use quotastack_core::ledger::entry::Entry;
use quotastack_core::ledger::refold::Refold;
use quotastack_core::limits::CHECKPOINT_ENTRIES;
use quotastack_core::time::Timestamp;

use crate::app::due::advance;
use crate::app::environment::EnvironmentHandle;
use crate::app::error::AppError;
use crate::app::ledger::{AccountRead, BLOCKS_MAX};
use crate::app::root::{App, WRITE_PATIENCE};
use crate::store::accounts::BlockNotes;
use crate::store::types::{EnvironmentId, LaneId};

/// Entries read at once: those up to the next checkpoint.
const STRIDE: i64 = CHECKPOINT_ENTRIES.cast_signed();
/// Strides of one request over entries that nobody has looked back on yet.
const STRIDES_MAX: usize = 20;

/// An earlier state of an account.
#[derive(Debug, Clone, Copy)]
pub enum AsOf {
    /// Right after this entry.
    Entry(u64),
    /// At this instant, with all that time had done until then.
    Time(Timestamp),
}

impl AsOf {
    fn includes(self, entry: &Entry) -> bool {
        match self {
            Self::Entry(seq) => entry.seq <= seq,
            // What was due by then and written later is of then.
            Self::Time(at) => entry.instant() <= at,
        }
    }
}

impl App {
    /// The account of an end user as it was. `NotFound` for an entry that there is not; `Invalid` for an instant that
    /// is not over.
    pub async fn account_as_of(
        &self,
        id: EnvironmentId,
        end_user_id: &EndUserId,
        as_of: AsOf,
        with_blocks: bool,
    ) -> Result<AccountRead, AppError> {
        let environment = self.environment(id).await?;
        let (lane, lane_id) = environment.handle.lane_of(end_user_id.bucket());
        if let AsOf::Time(at) = as_of {
            self.close_the_past(&environment.handle, lane_id, at).await?;
            // What subscriptions do is in entries only: what was due by then is written first, if it is not yet.
            if self.is_due(id, lane_id, end_user_id, at).await? {
                let commands = vec![advance(end_user_id)];
                environment.writers[usize::from(lane)].write(commands, WRITE_PATIENCE).await?;
            }
        }
        let mut tx = self.store.begin_snapshot(id).await?;
        let head = tx.find_head(lane_id, end_user_id).await?;
        let catalogue = environment.handle.current_catalogue(&mut tx).await?;
        tx.commit().await?;
        let account_id = match (head, as_of) {
            (None, AsOf::Time(at)) => return Ok(AccountRead::nothing(end_user_id.clone(), at)),
            (None, AsOf::Entry(seq)) => return Err(no_such_entry(seq, 0)),
            (Some((_, head)), AsOf::Entry(seq)) if seq > head.seq => return Err(no_such_entry(seq, head.seq)),
            (Some((account_id, _)), _) => account_id,
        };
        let (refold, seq) = self.refold_until(id, lane_id, account_id, as_of).await?;
        let mut account = refold.account(end_user_id.clone());
        account.seq = seq;
        let mut blocks = Vec::new();
        if with_blocks {
            blocks = self.blocks_then(id, lane_id, account_id, &refold).await?;
        }
        let now = match as_of {
            AsOf::Entry(_) => account.wallet.time,
            AsOf::Time(at) => {
                read_at(&mut account.wallet, &catalogue, at);
                account.totals = account.wallet.totals();
                at
            }
        };
        let now_of: HashMap<BlockId, &Block> = account.wallet.lots.iter().map(|block| (block.id, block)).collect();
        for (block, _) in &mut blocks {
            if let Some(then) = now_of.get(&block.id) {
                block.clone_from(then);
            }
        }
        blocks.sort_by(|(a, _), (b, _)| a.full_order(b));
        Ok(AccountRead { account, blocks, now })
    }

    async fn is_due(
        &self,
        id: EnvironmentId,
        lane_id: LaneId,
        end_user_id: &EndUserId,
        at: Timestamp,
    ) -> Result<bool, AppError> {
        let mut tx = self.store.begin_snapshot(id).await?;
        let found = tx.load_accounts(lane_id, std::slice::from_ref(end_user_id)).await?.remove(end_user_id);
        tx.commit().await?;
        Ok(found.is_some_and(|(account, _)| account.wallet.next_due().is_some_and(|due| due <= at)))
    }

    /// Sees to it that nothing is written any more that counts at `at` or before: what is answered about it then stays
    /// so for ever.
    async fn close_the_past(
        &self,
        environment: &EnvironmentHandle,
        lane_id: LaneId,
        at: Timestamp,
    ) -> Result<(), AppError> {
        let mut tx = self.store.begin_snapshot(environment.id).await?;
        let place = tx.lane_place(lane_id).await?;
        tx.commit().await?;
        if place.last_now > at {
            return Ok(());
        }
        // The lane has been quiet since: by the database's clock, under the lock that its writers take.
        let mut tx = self.store.begin_locking(None, environment.id, lane_id).await?;
        let lane = tx.locked_lane(lane_id).await?;
        let catalogue = environment.catalogue_at(&mut tx, lane.catalogue_version).await?;
        let present = catalogue.clock.at(lane.database_now).max(lane.place.last_now);
        if at >= present {
            let detail = format!("must lie in the past; it is {present} here");
            return Err(AppError::invalid("query:as_of", detail));
        }
        let closed = at.saturating_add_micros(1).max(lane.place.last_now);
        tx.update_lane(lane_id, lane.place.feed_seq, closed).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Reads the entries that count, from the last checkpoint before, and leaves those that are missing on the way.
    /// Also the last entry that was written by then: what was due may have been written later.
    async fn refold_until(
        &self,
        id: EnvironmentId,
        lane_id: LaneId,
        account_id: AccountId,
        as_of: AsOf,
    ) -> Result<(Refold, u64), AppError> {
        let (seq, written) = match as_of {
            AsOf::Entry(seq) => (Some(seq), None),
            AsOf::Time(at) => (None, Some(at)),
        };
        let mut tx = self.store.begin_snapshot(id).await?;
        let found = tx.find_checkpoint(lane_id, account_id, seq, written).await?;
        tx.commit().await?;
        let resumed = found.and_then(|(seq, state)| Refold::resume(&state).ok().filter(|refold| refold.seq() == seq));
        let mut refold = resumed.unwrap_or_else(|| Refold::new(account_id));
        let mut last = refold.seq();
        for _ in 0..STRIDES_MAX {
            let after = refold.seq();
            let mut tx = self.store.begin_snapshot(id).await?;
            let mut page = tx.list_entries(lane_id, account_id, after, STRIDE).await?;
            page.truncate(page.iter().take_while(|entry| as_of.includes(entry)).count());
            let missing = refold.missing(&page);
            refold.bring(tx.load_used_up_at(lane_id, account_id, after, missing).await?);
            tx.commit().await?;
            for entry in &page {
                refold.push(entry).map_err(|difference| AppError::Internal(Box::new(difference)))?;
                if written.is_none_or(|at| entry.recorded_at <= at) {
                    last = entry.seq;
                }
            }
            if refold.seq() < after + CHECKPOINT_ENTRIES {
                return Ok((refold, last));
            }
            let checkpoint = refold.checkpoint();
            let mut tx = self.store.begin(id).await?;
            tx.write_checkpoint(id, lane_id, account_id, &checkpoint).await?;
            tx.commit().await?;
        }
        Err(AppError::NotReadYet)
    }

    /// The blocks of an account that was rebuilt, also those used up before, with what people attached to them.
    async fn blocks_then(
        &self,
        id: EnvironmentId,
        lane_id: LaneId,
        account_id: AccountId,
        refold: &Refold,
    ) -> Result<Vec<(Block, BlockNotes)>, AppError> {
        let mut tx = self.store.begin_snapshot(id).await?;
        let checkpoint = refold.seq() - refold.seq() % CHECKPOINT_ENTRIES;
        let older = tx.list_used_up_at(lane_id, account_id, checkpoint, BLOCKS_MAX).await?;
        let mut blocks: Vec<Block> = refold.blocks().cloned().collect();
        let known: HashSet<BlockId> = blocks.iter().map(|block| block.id).collect();
        blocks.extend(older.into_iter().filter(|block| !known.contains(&block.id)));
        // As the present answers: all with credit, then the newest of the others.
        blocks.sort_by_key(|block| (block.lot.remaining.is_zero(), Reverse(block.granted)));
        blocks.truncate(usize::try_from(BLOCKS_MAX).expect("it is a small number"));
        let ids: Vec<(AccountId, BlockId)> = blocks.iter().map(|block| (account_id, block.id)).collect();
        let stored = tx.load_blocks(lane_id, &ids).await?;
        tx.commit().await?;
        let mut notes: HashMap<BlockId, BlockNotes> =
            stored.into_iter().map(|(_, block, notes)| (block.id, notes)).collect();
        let with_notes = |block: Block| {
            let notes = notes.remove(&block.id).unwrap_or_default();
            (block, notes)
        };
        Ok(blocks.into_iter().map(with_notes).collect())
    }
}

/// The answer where an entry is asked for that was not written.
pub(super) fn no_such_entry(seq: u64, last: u64) -> AppError {
    AppError::NotFound(match last {
        0 => format!("there is no entry {seq}: nothing was written for this end user yet"),
        last => format!("there is no entry {seq}; the last one is {last}"),
    })
}
