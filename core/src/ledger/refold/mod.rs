//! A [`Refold`]: an account rebuilt from its entries alone, and held against what is stored of it.
//!
//! It shares no code with what decides: it only reads what entries say. So a fault there, or a change made behind
//! the ledger's back, shows as a [`Difference`] with the first `seq` that is wrong. Subscriptions and overrides are
//! not in entries, what they did to blocks is. Source: docs/ledger.md, "Entries" and invariants 1 to 4 and 8. A verifier calls it, and whoever
//! reads an account as of an earlier time.
//!
//! - [`read`]: what each kind of entry does
//! - [`compare`]: against what is stored
//! - [`rebuild`]: back into an account
//! - [`checkpoint`]: kept between two entries, and on from there

pub mod checkpoint;
mod compare;
mod read;
mod rebuild;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::credits::{AmountOutOfRange, Credits};
use crate::ids::{AccountId, BlockId, FeatureKey, ReservationId};
use crate::ledger::block::Block;
use crate::ledger::counter::CounterKey;
use crate::ledger::debt::Debt;
use crate::ledger::entry::{Entry, Hash};
use crate::ledger::wallet::Totals;
use crate::time::Timestamp;

/// Where entries contradict each other, or what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at entry {seq}: {fault}")]
pub struct Difference {
    /// The first bad entry; for a difference from what is stored, the last entry read.
    pub seq: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Number, hash or balance does not follow from the entry before.
    #[error("it does not follow from the entry before it")]
    Chain,
    /// Granted twice, never granted, not begun, or left outside what it may be.
    #[error("block {0} cannot change like this")]
    Block(BlockId),
    /// A debt is paid that is not owed, or the entry does not say whose it is.
    #[error("a debt cannot change like this")]
    Debt,
    /// A hold is opened twice, changed when it is closed, or gives back what it does not have.
    #[error("a hold cannot change like this")]
    Hold,
    /// An entry that moves the end of blocks does not say how.
    #[error("the end of blocks cannot move like this")]
    Reschedule,
    /// A tier counter falls below 0.
    #[error("a tier counter cannot change like this")]
    Counter,
    /// `balance_after`, `reserved_after` or `debt_after` is not what blocks and debts add up to.
    #[error("its balances are not what blocks and debts add up to")]
    Sums,
    /// The account's last `seq` or hash is another.
    #[error("the stored account ends at another entry")]
    StoredHead,
    /// The stored totals are others.
    #[error("the stored totals are others")]
    StoredTotals,
    /// The stored debts are others.
    #[error("the stored debts are others")]
    StoredDebts,
    /// The stored block is another, or missing with credit left, or unknown to the entries.
    #[error("the stored block {0} is another")]
    StoredBlock(BlockId),
    /// The stored blocks are not in burn order.
    #[error("the stored blocks are not in burn order")]
    StoredOrder,
    /// The stored hold is another, or missing, or unknown to the entries.
    #[error("the stored reservation {0} holds something else")]
    StoredHold(ReservationId),
    /// The stored tier counters are others.
    #[error("the stored tier counters are others")]
    StoredCounters,
}

impl From<AmountOutOfRange> for Fault {
    fn from(_: AmountOutOfRange) -> Self {
        Self::Sums
    }
}

/// What the entries read so far add up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refold {
    account: AccountId,
    seq: u64,
    last_hash: Hash,
    /// When the last entry was written.
    recorded_at: Timestamp,
    /// Up to when time had been applied with it.
    time: Timestamp,
    blocks: BTreeMap<BlockId, FoldedBlock>,
    holds: BTreeMap<ReservationId, FoldedHold>,
    debts: Vec<Debt>,
    counters: BTreeMap<CounterKey, i64>,
    counted: Credits,
    reserved: Credits,
    owed: Credits,
    granted: Credits,
    consumed: Credits,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FoldedBlock {
    block: Block,
    /// Whether it has begun.
    counts: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FoldedHold {
    feature_key: FeatureKey,
    expires_at: Timestamp,
    parts: Vec<(BlockId, Credits)>,
    uncovered: Credits,
    counted: Option<(CounterKey, i64)>,
}

impl Refold {
    /// An account without entries.
    pub fn new(account: AccountId) -> Self {
        Self {
            account,
            seq: 0,
            last_hash: Hash::ZERO,
            recorded_at: Timestamp::default(),
            time: Timestamp::default(),
            blocks: BTreeMap::new(),
            holds: BTreeMap::new(),
            debts: Vec::new(),
            counters: BTreeMap::new(),
            counted: Credits::ZERO,
            reserved: Credits::ZERO,
            owed: Credits::ZERO,
            granted: Credits::ZERO,
            consumed: Credits::ZERO,
        }
    }

    /// Reads the next entry.
    pub fn push(&mut self, entry: &Entry) -> Result<(), Difference> {
        self.read(entry).map_err(|fault| Difference { seq: entry.seq, fault })
    }

    /// `seq` of the last entry read.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// The blocks that are known, also those with nothing left, in order of their ids.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.values().map(|folded| &folded.block)
    }

    /// The totals after the entries read.
    pub fn totals(&self) -> Totals {
        let balance = self.counted - self.owed;
        Totals { balance, reserved: self.reserved, available: balance - self.reserved, debt: self.owed }
    }
}
