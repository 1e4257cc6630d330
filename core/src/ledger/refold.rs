//! A [`Refold`]: an account rebuilt from its entries alone, and held against what is stored of it.
//!
//! It shares no code with what decides: it only reads what entries say. So a fault there, or a change made behind
//! the ledger's back, shows as a [`Difference`] with the first `seq` that is wrong. Subscriptions are not in
//! entries. Source: docs/ledger.md, "Entries" and invariants 1, 2, 3 and 8. A verifier calls it.

use std::collections::{BTreeMap, HashSet};

use crate::credits::{AmountOutOfRange, Credits};
use crate::ids::{AccountId, BlockId, FeatureKey};
use crate::ledger::account::Account;
use crate::ledger::block::Block;
use crate::ledger::entry::{Allocation, Cause, Entry, EntryKind, Hash, verify_chain};
use crate::ledger::wallet::{Debt, Totals};

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
    /// Granted twice, never granted, not begun, or left outside 0 to what was granted.
    #[error("block {0} cannot change like this")]
    Block(BlockId),
    /// A debt is paid that is not owed, or owed for no feature.
    #[error("a debt cannot change like this")]
    Debt,
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
}

impl From<AmountOutOfRange> for Fault {
    fn from(_: AmountOutOfRange) -> Self {
        Self::Sums
    }
}

/// What the entries read so far add up to.
#[derive(Debug, Clone)]
pub struct Refold {
    account: AccountId,
    seq: u64,
    last_hash: Hash,
    blocks: BTreeMap<BlockId, Folded>,
    debts: Vec<Debt>,
    counted: Credits,
    owed: Credits,
    granted: Credits,
    consumed: Credits,
}

#[derive(Debug, Clone)]
struct Folded {
    block: Block,
    counts: bool,
}

impl Refold {
    /// An account without entries.
    pub fn new(account: AccountId) -> Self {
        Self {
            account,
            seq: 0,
            last_hash: Hash::ZERO,
            blocks: BTreeMap::new(),
            debts: Vec::new(),
            counted: Credits::ZERO,
            owed: Credits::ZERO,
            granted: Credits::ZERO,
            consumed: Credits::ZERO,
        }
    }

    /// Reads the next entry.
    pub fn push(&mut self, entry: &Entry) -> Result<(), Difference> {
        self.read(entry).map_err(|fault| Difference { seq: entry.seq, fault })
    }

    /// The totals after the entries read.
    pub fn totals(&self) -> Totals {
        let balance = self.counted - self.owed;
        Totals { balance, reserved: Credits::ZERO, available: balance, debt: self.owed }
    }

    /// Holds `stored` against the entries read. Blocks with nothing left may be missing from it.
    pub fn compare(&self, stored: &Account) -> Result<(), Difference> {
        self.difference(stored).map_or(Ok(()), |fault| Err(Difference { seq: self.seq, fault }))
    }

    fn read(&mut self, entry: &Entry) -> Result<(), Fault> {
        let after = (self.seq, self.last_hash, self.totals().balance);
        verify_chain(self.account, after, std::slice::from_ref(entry)).map_err(|_| Fault::Chain)?;
        let body = &entry.body;
        match body.kind {
            EntryKind::Grant => self.grant(entry)?,
            EntryKind::Start => {
                for folded in self.blocks.values_mut() {
                    if !folded.counts && folded.block.lot.effective_at == body.effective_at {
                        folded.counts = true;
                        self.counted = self.counted.checked_add(folded.block.lot.remaining)?;
                    }
                }
            }
            EntryKind::Usage => {
                for allocation in &body.allocations {
                    self.take(allocation)?;
                }
                self.consumed = self.consumed.checked_add(-body.amount)?;
            }
            EntryKind::Debt => {
                let Cause::Usage { feature_key, .. } = &body.cause else { return Err(Fault::Debt) };
                self.owe(feature_key, -body.amount)?;
                self.consumed = self.consumed.checked_add(-body.amount)?;
            }
            EntryKind::DebtSettled => {
                for allocation in &body.allocations {
                    self.take(allocation)?;
                    self.pay(allocation.feature_key.as_ref(), -allocation.amount)?;
                }
            }
            EntryKind::Expire => {
                for allocation in &body.allocations {
                    let block = self.take(allocation)?;
                    block.expired = block.expired.checked_add(-allocation.amount)?;
                }
            }
        }
        let totals = self.totals();
        if (entry.balance_after, entry.reserved_after, entry.debt_after)
            != (totals.balance, totals.reserved, totals.debt)
        {
            return Err(Fault::Sums);
        }
        (self.seq, self.last_hash) = (entry.seq, entry.hash);
        Ok(())
    }

    fn grant(&mut self, entry: &Entry) -> Result<(), Fault> {
        let granted = &entry.body.granted;
        for (place, block) in (0..).zip(granted) {
            let (id, original, lot) = (block.id, block.lot.remaining, block.lot.clone());
            let listed = entry.body.allocations.get(usize::from(place)) == Some(&Allocation::of(id, original));
            let counts = lot.has_started(entry.body.effective_at);
            let folded = Block { id, granted: (entry.seq, place), original, expired: Credits::ZERO, lot };
            if !listed || self.blocks.insert(id, Folded { block: folded, counts }).is_some() {
                return Err(Fault::Block(id));
            }
            if counts {
                self.counted = self.counted.checked_add(original)?;
            }
            self.granted = self.granted.checked_add(original)?;
        }
        Ok(())
    }

    fn take(&mut self, allocation: &Allocation) -> Result<&mut Block, Fault> {
        let fault = Fault::Block(allocation.block_id);
        let folded = self.blocks.get_mut(&allocation.block_id).filter(|folded| folded.counts).ok_or(fault)?;
        let lot = &mut folded.block.lot;
        let left = lot.remaining.checked_add(allocation.amount)?;
        if left < Credits::ZERO || left > lot.remaining {
            return Err(fault);
        }
        lot.remaining = left;
        self.counted = self.counted.checked_add(allocation.amount)?;
        Ok(&mut folded.block)
    }

    fn owe(&mut self, feature: &FeatureKey, amount: Credits) -> Result<(), Fault> {
        self.owed = self.owed.checked_add(amount)?;
        match self.debts.iter_mut().find(|debt| debt.feature.as_ref() == Some(feature)) {
            Some(debt) => debt.amount = debt.amount.checked_add(amount)?,
            None => self.debts.push(Debt { feature: Some(feature.clone()), amount, since: self.seq + 1 }),
        }
        Ok(())
    }

    fn pay(&mut self, feature: Option<&FeatureKey>, amount: Credits) -> Result<(), Fault> {
        let found = self.debts.iter_mut().find(|debt| debt.feature.as_ref() == feature);
        let debt = found.filter(|debt| debt.amount >= amount).ok_or(Fault::Debt)?;
        debt.amount -= amount;
        self.owed -= amount;
        self.debts.retain(|debt| debt.amount.is_positive());
        Ok(())
    }

    fn difference(&self, stored: &Account) -> Option<Fault> {
        if (stored.id, stored.seq, stored.last_hash) != (self.account, self.seq, self.last_hash) {
            return Some(Fault::StoredHead);
        }
        let lifetime = (stored.lifetime_granted, stored.lifetime_consumed);
        if (stored.totals, lifetime) != (self.totals(), (self.granted, self.consumed)) {
            return Some(Fault::StoredTotals);
        }
        if stored.wallet.debts != self.debts {
            return Some(Fault::StoredDebts);
        }
        let lots = &stored.wallet.lots;
        let other = |block: &&Block| self.blocks.get(&block.id).is_none_or(|folded| folded.block != **block);
        if let Some(block) = lots.iter().find(other) {
            return Some(Fault::StoredBlock(block.id));
        }
        let known: HashSet<BlockId> = lots.iter().map(|block| block.id).collect();
        let with_credit = self.blocks.values().filter(|folded| folded.block.lot.remaining.is_positive());
        if let Some(missing) = with_credit.map(|folded| folded.block.id).find(|id| !known.contains(id)) {
            return Some(Fault::StoredBlock(missing));
        }
        let ordered = lots.is_sorted_by(|a, b| a.lot.burn_order(&b.lot).then(a.granted.cmp(&b.granted)).is_lt());
        (!ordered).then_some(Fault::StoredOrder)
    }
}
