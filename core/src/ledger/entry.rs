//! Entries: the append-only history of an account, and the hash chain that makes it tamper-evident.
//!
//! `hash` = BLAKE3 over the canonical bytes of the entry and the hash before it. The bytes name the account by its
//! internal id, never by the end user's, so erasing a person breaks no chain. Source: docs/ledger.md, "Entries".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::credits::{Credits, Units};
use crate::ids::{AccountId, BlockId, FeatureKey, KeyId, ReservationId, SubscriptionId, TopupId, UsageId};
use crate::ledger::block::{Ending, Lot, Reschedule};
use crate::ledger::counter::CounterKey;
use crate::ledger::debt::DebtOf;
use crate::time::Timestamp;

/// The version of the canonical bytes, their first byte.
pub const CANONICAL_FORMAT: u8 = 4;

/// A BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What stands before the first entry.
    pub const ZERO: Self = Self([0; 32]);

    /// The hash of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl FromStr for Hash {
    type Err = InvalidHash;
    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let mut hash = Self::ZERO;
        if text.len() != 2 * hash.0.len() || !text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(InvalidHash);
        }
        for (place, byte) in hash.0.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).map_err(|_| InvalidHash)?;
        }
        Ok(hash)
    }
}

/// Text that is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 digits of 0-9 and a-f")]
pub struct InvalidHash;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Credit was granted: the sum of the blocks that count from now on.
    Grant,
    /// Scheduled blocks began.
    Start,
    /// Usage took credit.
    Usage,
    /// Usage, a correction or a claw-back beyond what there was.
    Debt,
    /// Free credit paid debts; the balance does not move.
    DebtSettled,
    /// Blocks ended with credit left; above 0: expired credit came back for late usage.
    Expire,
    /// A commit took credit, from its hold and beyond.
    Commit,
    /// A reservation set credit aside.
    Hold,
    /// A reservation lives longer.
    Extend,
    /// A reservation gave back what it held.
    Release,
    /// A reservation's time ran out, and it gave back what it held.
    HoldExpired,
    /// Usage was undone.
    Void,
    /// A block was voided, or credit came back to one that is.
    Withdraw,
    /// A top-up was refunded, or credit came back to its block.
    Refund,
    /// A person corrected the balance.
    Adjust,
    /// What was left of blocks at their end moved into rollover blocks; the balance does not move.
    Rollover,
    /// The end of blocks moved.
    Reschedule,
    /// Debts of usage went onto an invoice.
    DebtBilled,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::Grant,
        Self::Start,
        Self::Usage,
        Self::Debt,
        Self::DebtSettled,
        Self::Expire,
        Self::Commit,
        Self::Hold,
        Self::Extend,
        Self::Release,
        Self::HoldExpired,
        Self::Void,
        Self::Withdraw,
        Self::Refund,
        Self::Adjust,
        Self::Rollover,
        Self::Reschedule,
        Self::DebtBilled,
    ];

    /// Its name, as its JSON form has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Start => "start",
            Self::Usage => "usage",
            Self::Debt => "debt",
            Self::DebtSettled => "debt_settled",
            Self::Expire => "expire",
            Self::Commit => "commit",
            Self::Hold => "hold",
            Self::Extend => "extend",
            Self::Release => "release",
            Self::HoldExpired => "hold_expired",
            Self::Void => "void",
            Self::Withdraw => "withdraw",
            Self::Refund => "refund",
            Self::Adjust => "adjust",
            Self::Rollover => "rollover",
            Self::Reschedule => "reschedule",
            Self::DebtBilled => "debt_billed",
        }
    }
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
    /// A subscription that granted credit, took it back, or moved its end.
    Subscription(SubscriptionId),
    /// Time alone.
    Time,
    /// A commit of a reservation.
    Commit {
        /// The usage that it recorded.
        id: UsageId,
        /// The reservation.
        reservation_id: ReservationId,
        /// What was used.
        feature_key: FeatureKey,
        /// How much of it.
        units: Units,
    },
    /// A reservation that was made, extended, released, or has expired.
    Reservation {
        /// The reservation.
        id: ReservationId,
        /// What it is for.
        feature_key: FeatureKey,
        /// The estimate.
        units: Units,
    },
    /// The usage event that was voided.
    Void(UsageId),
    /// A correction by a person.
    Adjustment,
    /// The block that was voided.
    BlockVoid(BlockId),
    /// A top-up.
    Topup(TopupId),
    /// The top-up that was refunded.
    Refund(TopupId),
}

impl Cause {
    /// The name of its kind.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Usage { .. } => "usage",
            Self::Subscription(_) => "subscription",
            Self::Time => "time",
            Self::Commit { .. } => "commit",
            Self::Reservation { .. } => "reservation",
            Self::Void(_) => "void",
            Self::Adjustment => "adjustment",
            Self::BlockVoid(_) => "block_void",
            Self::Topup(_) => "topup",
            Self::Refund(_) => "refund",
        }
    }
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
    /// Signed change of its `held`.
    pub held: Credits,
    /// In `debt_settled`: the debt that it paid. In `void`: the debt that it had paid.
    pub debt: Option<DebtOf>,
}

impl Allocation {
    /// A change of `remaining` that pays no debt.
    pub const fn of(block_id: BlockId, amount: Credits) -> Self {
        Self { block_id, amount, held: Credits::ZERO, debt: None }
    }

    /// A change of `held`.
    pub const fn of_held(block_id: BlockId, held: Credits) -> Self {
        Self { block_id, amount: Credits::ZERO, held, debt: None }
    }
}

/// A block as it was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedBlock {
    /// Its id.
    pub id: BlockId,
    /// The credit and its rules. Trimmed to nothing, there is no block.
    pub lot: Lot,
    /// What an accumulation cap took off.
    pub trimmed: Credits,
}

/// What a `hold`, an `extend` or a `commit` that leaves it open says of the reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldTerms {
    /// Over from this instant on.
    pub expires_at: Timestamp,
    /// What was not there to be held.
    pub uncovered: Credits,
}

/// What an entry says, without its place in the chain. With those before it, it is all that is needed to know the
/// account's blocks, holds, debts and tier counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryBody {
    /// What it records.
    pub kind: EntryKind,
    /// Signed change of the balance.
    pub amount: Credits,
    /// Per block; empty where no block changed. In the `debt` of a claw-back: the block, with 0.
    pub allocations: Vec<Allocation>,
    /// The blocks that a `grant`, an `adjust` or a `rollover` made.
    pub granted: Vec<GrantedBlock>,
    /// How it ended the blocks of its allocations.
    pub ends: Option<Ending>,
    /// In `reschedule`: how the end of the blocks of its allocations moved.
    pub reschedule: Option<Reschedule>,
    /// In `debt_billed`: what went onto the invoice. In `void`: what of it was undone (it goes onto the next invoice).
    pub billed: Vec<(FeatureKey, Credits)>,
    /// In `debt` and `void`: which debt changed, and by how much.
    pub owed: Option<(DebtOf, Credits)>,
    /// In `hold`, `extend`, and a `commit` or `release` that leaves the reservation open.
    pub hold: Option<HoldTerms>,
    /// The tier counter that moved, and by how many units.
    pub counted: Option<(CounterKey, i64)>,
    /// Why.
    pub cause: Cause,
    /// The instant from which it holds.
    pub effective_at: Timestamp,
}

impl EntryBody {
    /// An entry that changes nothing yet.
    pub const fn new(kind: EntryKind, cause: Cause, effective_at: Timestamp) -> Self {
        Self {
            kind,
            amount: Credits::ZERO,
            allocations: Vec::new(),
            granted: Vec::new(),
            ends: None,
            reschedule: None,
            billed: Vec::new(),
            owed: None,
            hold: None,
            counted: None,
            cause,
            effective_at,
        }
    }

    /// An entry that adds to a debt.
    pub fn debt(of: DebtOf, amount: Credits, cause: Cause, effective_at: Timestamp) -> Self {
        Self { amount: -amount, owed: Some((of, amount)), ..Self::new(EntryKind::Debt, cause, effective_at) }
    }

    /// Signed change of what holds have set aside.
    pub fn reserved_change(&self) -> Credits {
        self.allocations.iter().map(|part| part.held).sum()
    }

    /// Signed change of open debt.
    pub fn debt_change(&self) -> Credits {
        let owed = self.owed.as_ref().map_or(Credits::ZERO, |(_, amount)| *amount);
        match self.kind {
            EntryKind::DebtSettled => owed + self.allocations.iter().map(|part| part.amount).sum(),
            EntryKind::DebtBilled => owed - self.billed.iter().map(|(_, amount)| *amount).sum(),
            _ => owed,
        }
    }
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
    /// The canonical bytes of this entry as one of `account`: all that its hash covers.
    pub fn canonical_bytes(&self, account: AccountId) -> Vec<u8> {
        let chained = (
            (CANONICAL_FORMAT, account, self.seq, &self.body),
            (self.balance_after, self.reserved_after, self.debt_after, self.recorded_at, self.actor),
            self.prev_hash,
        );
        postcard::to_stdvec(&chained).expect("an entry has no form that postcard refuses")
    }

    /// Reads canonical bytes back: the account that they name, and the entry. Its hash is that of the bytes.
    pub fn from_canonical(bytes: &[u8]) -> Result<(AccountId, Self), NotCanonical> {
        type Chained = ((u8, AccountId, u64, EntryBody), (Credits, Credits, Credits, Timestamp, Actor), Hash);
        let format = *bytes.first().ok_or(NotCanonical::Unreadable)?;
        if format != CANONICAL_FORMAT {
            return Err(NotCanonical::Format(format));
        }
        let read: Chained = postcard::from_bytes(bytes).map_err(|_| NotCanonical::Unreadable)?;
        let ((_, account, seq, body), figures, prev_hash) = read;
        let (balance_after, reserved_after, debt_after, recorded_at, actor) = figures;
        let hash = Hash::of(bytes);
        let entry = Self { seq, body, balance_after, reserved_after, debt_after, recorded_at, actor, prev_hash, hash };
        // One entry has one form: neither longer numbers nor anything behind it.
        if entry.canonical_bytes(account) == bytes { Ok((account, entry)) } else { Err(NotCanonical::Unreadable) }
    }

    /// The instant up to which time had been applied with this entry: what time alone did holds from when it was due,
    /// however late it was written.
    pub fn instant(&self) -> Timestamp {
        let is_times = match self.body.cause {
            Cause::Time | Cause::Subscription(_) => true,
            _ => self.body.kind == EntryKind::HoldExpired,
        };
        if is_times { self.body.effective_at.min(self.recorded_at) } else { self.recorded_at }
    }

    /// The hash that an entry of this account with this content has.
    pub fn computed_hash(&self, account: AccountId) -> Hash {
        Hash::of(&self.canonical_bytes(account))
    }
}

/// Why bytes are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCanonical {
    /// Their format is another.
    #[error("the bytes have format {0}, which this version does not know")]
    Format(u8),
    /// They are not the one form of an entry.
    #[error("the bytes are not the canonical form of an entry")]
    Unreadable,
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
