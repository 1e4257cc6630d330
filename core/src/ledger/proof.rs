//! Proofs: a segment of an account's hash chain that anyone can check, without trusting whoever sent it.
//!
//! The chain is over bytes, so a proof carries the bytes of each entry; what they say is read from them, never taken
//! on trust. What a proof alone cannot show is a history that was written anew as a whole: for that, remember where an
//! earlier proof ended. The bytes come from outside, so nothing here may panic on them. Source: docs/ledger.md,
//! "Proofs". Both SDKs call it.

use crate::credits::Credits;
use crate::ids::AccountId;
use crate::ledger::entry::{Entry, EntryKind, Hash, NotCanonical};

/// An account as an entry left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The entry's `seq`; 0 before the first.
    pub seq: u64,
    /// Its hash; zeros before the first.
    pub hash: Hash,
    /// The balance with it.
    pub balance: Credits,
    /// What holds set aside with it.
    pub reserved: Credits,
    /// Open debt with it.
    pub debt: Credits,
}

/// An entry as a proof carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenEntry {
    /// Its place.
    pub seq: u64,
    /// All that its hash covers.
    pub canonical: Vec<u8>,
    /// Its hash.
    pub hash: Hash,
}

/// A segment of a chain, and where the chain ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Whose.
    pub account: AccountId,
    /// The account before the segment.
    pub before: Point,
    /// The segment.
    pub entries: Vec<ProvenEntry>,
    /// The account after the segment.
    pub after: Point,
    /// The account after its last entry.
    pub head: Point,
}

/// What somebody knows of a chain from an earlier proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// Whose.
    pub account: AccountId,
    /// Where that proof ended.
    pub at: Point,
}

/// The first entry of a proof that is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at entry {seq}: {fault}")]
pub struct BrokenProof {
    /// Which.
    pub seq: u64,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes do not have the hash.
    #[error("its bytes do not have its hash")]
    Hash,
    /// The bytes have another format.
    #[error("its bytes have format {0}, which this version of the verifier does not know")]
    Format(u8),
    /// The bytes are no entry.
    #[error("its bytes are not the canonical form of an entry")]
    Unreadable,
    /// It is an entry of another account.
    #[error("it belongs to another account")]
    Account,
    /// Its number is another: an entry is missing, or out of order.
    #[error("another entry stands in its place")]
    Seq,
    /// It does not name the hash of the entry before it.
    #[error("it does not follow from the entry before it")]
    Previous,
    /// Its balance, reserved credit or debt is not that before it and its own change.
    #[error("its figures do not add up with those before it")]
    Figures,
    /// The proof does not end where it says.
    #[error("the proof does not end with it as it says")]
    End,
    /// The history ends before an entry that was there.
    #[error("it was there before, and the history now ends at an earlier entry")]
    Cut,
    /// It had another hash before.
    #[error("it had another hash before: the history was written anew")]
    Rewritten,
    /// The proof does not reach the entry that is remembered.
    #[error("the proof says nothing about it, and it is what is remembered: ask for a proof from the entry after it")]
    NotCovered,
}

/// What a proof shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Whose chain.
    pub account: AccountId,
    /// The account before the segment.
    pub before: Point,
    /// The account after the segment: what to remember.
    pub after: Point,
    /// Whether the chain ends there.
    pub is_head: bool,
    /// The segment, read from its bytes.
    pub entries: Vec<Entry>,
}

impl Point {
    /// Before the first entry.
    pub const START: Self =
        Self { seq: 0, hash: Hash::ZERO, balance: Credits::ZERO, reserved: Credits::ZERO, debt: Credits::ZERO };

    /// The account as this entry left it.
    pub const fn after(entry: &Entry) -> Self {
        Self {
            seq: entry.seq,
            hash: entry.hash,
            balance: entry.balance_after,
            reserved: entry.reserved_after,
            debt: entry.debt_after,
        }
    }

    /// The account as it was before this entry, by what the entry says of itself.
    pub fn before(entry: &Entry) -> Self {
        Self {
            seq: entry.seq - 1,
            hash: entry.prev_hash,
            balance: entry.balance_after - entry.body.amount,
            reserved: entry.reserved_after - entry.body.reserved_change(),
            debt: entry.debt_after - entry.body.debt_change(),
        }
    }
}

/// Checks that the proof's bytes have their hashes, that each entry follows from the one before it, in number, hash and
/// figures, that the proof ends where it says, and that what is `remembered` is still so.
pub fn verify(proof: &Proof, remembered: Option<&Remembered>) -> Result<Verified, BrokenProof> {
    let Proof { account, before, after, head, .. } = *proof;
    if before.seq == 0 && before != Point::START {
        return Err(BrokenProof { seq: 0, fault: Fault::Figures });
    }
    if let Some(known) = remembered {
        let broken = |fault| Err(BrokenProof { seq: known.at.seq, fault });
        if known.account != account {
            return broken(Fault::Account);
        }
        if head.seq < known.at.seq {
            return broken(Fault::Cut);
        }
        if before.seq == known.at.seq && before != known.at {
            return broken(if before.hash == known.at.hash { Fault::Figures } else { Fault::Rewritten });
        }
    }
    let remembered = remembered.map(|known| &known.at);
    let mut at = before;
    let mut entries = Vec::with_capacity(proof.entries.len());
    for proven in &proof.entries {
        let seq = at.seq.saturating_add(1);
        let entry = follow(account, &at, proven).map_err(|fault| BrokenProof { seq, fault })?;
        if remembered.is_some_and(|known| known.seq == seq && known.hash != entry.hash) {
            return Err(BrokenProof { seq, fault: Fault::Rewritten });
        }
        at = Point::after(&entry);
        entries.push(entry);
    }
    if at != after {
        // Whatever the proof says of its end, the first entry that it does not show is the one after `at`.
        let seq = if after.seq == at.seq { at.seq } else { at.seq.saturating_add(1) };
        return Err(BrokenProof { seq, fault: Fault::End });
    }
    if head.seq < at.seq || (head.seq == at.seq && head != at) {
        return Err(BrokenProof { seq: at.seq, fault: Fault::End });
    }
    if let Some(known) = remembered.filter(|known| known.seq < before.seq || known.seq > at.seq) {
        return Err(BrokenProof { seq: known.seq, fault: Fault::NotCovered });
    }
    Ok(Verified { account, before, after, is_head: head.seq == at.seq, entries })
}

/// The entry that stands behind these bytes, if it follows from `at`.
fn follow(account: AccountId, at: &Point, proven: &ProvenEntry) -> Result<Entry, Fault> {
    if Hash::of(&proven.canonical) != proven.hash {
        return Err(Fault::Hash);
    }
    let (named, entry) = Entry::from_canonical(&proven.canonical).map_err(|error| match error {
        NotCanonical::Format(format) => Fault::Format(format),
        NotCanonical::Unreadable => Fault::Unreadable,
    })?;
    if named != account {
        return Err(Fault::Account);
    }
    if Some(entry.seq) != at.seq.checked_add(1) || proven.seq != entry.seq {
        return Err(Fault::Seq);
    }
    if entry.prev_hash != at.hash {
        return Err(Fault::Previous);
    }
    let (reserved, debt) = changes(&entry);
    let adds_up = |before: Credits, change: i128, after: Credits| wide(before) + change == wide(after);
    let figures = adds_up(at.balance, wide(entry.body.amount), entry.balance_after)
        && adds_up(at.reserved, reserved, entry.reserved_after)
        && adds_up(at.debt, debt, entry.debt_after);
    if figures { Ok(entry) } else { Err(Fault::Figures) }
}

/// By how much an entry changes what is reserved and what is owed, whatever amounts it names.
fn changes(entry: &Entry) -> (i128, i128) {
    let allocations = &entry.body.allocations;
    let reserved = allocations.iter().map(|part| wide(part.held)).sum();
    let owed = entry.body.owed.as_ref().map_or(0, |(_, amount)| wide(*amount));
    let settled = allocations.iter().map(|part| wide(part.amount)).sum::<i128>();
    (reserved, if entry.body.kind == EntryKind::DebtSettled { owed + settled } else { owed })
}

fn wide(amount: Credits) -> i128 {
    i128::from(amount.get())
}
