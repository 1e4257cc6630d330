//! Entries: each is the difference between the account now and as the entry before left it.
//!
//! That is how the model writes them: it moves credit first and then seals what has changed, so that an entry cannot say
//! anything but what happened.

use std::collections::BTreeMap;

use super::command::{BlockId, Micros};
use super::model::Model;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) kind: EntryKind,
    /// The change of the balance: what allocations add less what debts add.
    pub(crate) amount: i64,
    pub(crate) balance_after: i64,
    pub(crate) reserved_after: i64,
    pub(crate) debt_after: i64,
    /// One for each block that changed, in order of granting, however often it was touched.
    pub(crate) allocations: Vec<Allocation>,
    /// Change of each debt that changed, by feature.
    pub(crate) debts: Vec<(Option<String>, i64)>,
    /// When it was due: of usage (and the `expire` +x and `debt` with it) and commits the event's time, of what time does
    /// its instant, of all else the present.
    pub(crate) effective_at: Micros,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allocation {
    pub(crate) block: BlockId,
    /// Of what remains and counts: nothing for a block that has not started, all of it at its start.
    pub(crate) remaining: i64,
    pub(crate) held: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Grant,
    Start,
    Usage,
    Commit,
    Debt,
    Hold,
    Extend,
    Release,
    HoldExpired,
    Expire,
    Refund,
    Withdraw,
    DebtSettled,
    Void,
    Adjust,
}

/// What counts and what is held in each block, and each debt.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Sheet {
    blocks: BTreeMap<BlockId, (i64, i64)>,
    debts: BTreeMap<Option<String>, i64>,
}

impl Sheet {
    fn balance(&self) -> i64 {
        self.blocks.values().map(|(counted, _)| counted).sum::<i64>() - self.debt()
    }

    fn reserved(&self) -> i64 {
        self.blocks.values().map(|(_, held)| held).sum()
    }

    fn debt(&self) -> i64 {
        self.debts.values().sum()
    }
}

impl Model {
    /// Writes down what has changed since the last entry.
    pub(super) fn seal(&mut self, kind: EntryKind, effective_at: Micros) {
        let before = &self.sealed;
        let after = self.sheet();
        let mut allocations = Vec::new();
        for (id, (counted, held)) in &after.blocks {
            let (counted_before, held_before) = before.blocks.get(id).copied().unwrap_or_default();
            let allocation = Allocation { block: *id, remaining: counted - counted_before, held: held - held_before };
            if (allocation.remaining, allocation.held) != (0, 0) {
                allocations.push(allocation);
            }
        }
        let mut debts = Vec::new();
        for (feature, amount) in &after.debts {
            let change = amount - before.debts.get(feature).copied().unwrap_or_default();
            if change != 0 {
                debts.push((feature.clone(), change));
            }
        }
        self.entries.push(Entry {
            kind,
            amount: after.balance() - before.balance(),
            balance_after: after.balance(),
            reserved_after: after.reserved(),
            debt_after: after.debt(),
            allocations,
            debts,
            effective_at,
        });
        self.sealed = after;
    }

    pub(super) fn sheet(&self) -> Sheet {
        Sheet {
            blocks: self.blocks.iter().map(|block| (block.id, (block.counted(), block.held))).collect(),
            debts: self.debts.iter().map(|debt| (debt.feature.clone(), debt.amount)).collect(),
        }
    }
}
