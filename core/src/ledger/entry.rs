//! Entries: the append-only history of an account, and the hash chain that makes it tamper-evident.
//!
//! `hash` = BLAKE3 over the canonical bytes of the entry and the hash before it. The bytes name the account by its
//! internal id, never by the end user's, so erasing a person breaks no chain. Source: docs/ledger.md, "Entries".

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::credits::{Credits, Units};
use crate::ids::{AccountId, BlockId, FeatureKey, KeyId, SubscriptionId, UsageId};
use crate::ledger::block::Lot;
use crate::time::Timestamp;

/// The version byte of the canonical bytes.
const CANONICAL_FORMAT: u8 = 1;

/// A BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What stands before the first entry.
    pub const ZERO: Self = Self([0; 32]);
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Credit was granted: the sum of the blocks that count from now on.
    Grant,
    /// Scheduled blocks began.
    Start,
    /// Usage took credit.
    Usage,
    /// Usage beyond what there was.
    Debt,
    /// Free credit paid debts; the balance does not move.
    DebtSettled,
    /// Blocks ended with credit left.
    Expire,
}

/// Why an entry was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// A call that granted credit.
    Grant,
    /// A usage event.
    Usage {
        /// The event.
        id: UsageId,
        /// What was used.
        feature_key: FeatureKey,
        /// How much of it.
        units: Units,
    },
    /// A subscription that granted credit.
    Subscription(SubscriptionId),
    /// Time alone.
    Time,
}

/// Who made the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// Whoever holds this API key.
    Key(KeyId),
    /// The server itself.
    System,
}

/// What one block gave (below 0) or got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// The block.
    pub block_id: BlockId,
    /// Signed change of its `remaining`.
    pub amount: Credits,
    /// In `debt_settled`: the feature whose debt it paid.
    pub feature_key: Option<FeatureKey>,
}

impl Allocation {
    /// A change of `remaining` that pays no debt.
    pub const fn of(block_id: BlockId, amount: Credits) -> Self {
        Self { block_id, amount, feature_key: None }
    }
}

/// A block as it was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedBlock {
    /// Its id.
    pub id: BlockId,
    /// The credit and its rules.
    pub lot: Lot,
}

/// What an entry says, without its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryBody {
    /// What it records.
    pub kind: EntryKind,
    /// Signed change of the balance.
    pub amount: Credits,
    /// Per block; empty where no block changed.
    pub allocations: Vec<Allocation>,
    /// The blocks that a `grant` made.
    pub granted: Vec<GrantedBlock>,
    /// Why.
    pub cause: Cause,
    /// The instant from which it holds.
    pub effective_at: Timestamp,
}

/// One line of an account's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Gapless from 1, per account.
    pub seq: u64,
    /// What it says.
    pub body: EntryBody,
    /// The account's balance with it.
    pub balance_after: Credits,
    /// What holds set aside with it.
    pub reserved_after: Credits,
    /// Open debt with it.
    pub debt_after: Credits,
    /// When it was written.
    pub recorded_at: Timestamp,
    /// By whom.
    pub actor: Actor,
    /// Hash of the entry before.
    pub prev_hash: Hash,
    /// Hash of this one.
    pub hash: Hash,
}

impl Entry {
    /// The hash that an entry of this account with this content has.
    pub fn computed_hash(&self, account: AccountId) -> Hash {
        let chained = (
            (CANONICAL_FORMAT, account, self.seq, &self.body),
            (self.balance_after, self.reserved_after, self.debt_after, self.recorded_at, self.actor),
            self.prev_hash,
        );
        let bytes = postcard::to_stdvec(&chained).expect("an entry has no form that postcard refuses");
        Hash(*blake3::hash(&bytes).as_bytes())
    }
}

/// The first entry of a segment that does not follow from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq} does not follow from the entry before it")]
pub struct BrokenChain {
    /// Its `seq`.
    pub seq: u64,
}

/// Checks that `entries` continue the chain of `account` after (`seq`, `hash`): numbers without gaps, hashes that
/// name their predecessor and match their content, balances that add up.
pub fn verify_chain(account: AccountId, after: (u64, Hash, Credits), entries: &[Entry]) -> Result<(), BrokenChain> {
    let (mut seq, mut hash, mut balance) = after;
    for entry in entries {
        seq += 1;
        balance += entry.body.amount;
        let follows = entry.seq == seq && entry.prev_hash == hash && entry.balance_after == balance;
        if !follows || entry.hash != entry.computed_hash(account) {
            return Err(BrokenChain { seq: entry.seq });
        }
        hash = entry.hash;
    }
    Ok(())
}
