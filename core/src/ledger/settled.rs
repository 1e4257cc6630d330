//! What settled debts, per debt: a void gives it back, the newest first. Source: docs/ledger.md, "Void".

use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::ids::BlockId;
use crate::ledger::debt::DebtOf;
use crate::ledger::entry::{Entry, EntryKind};

/// Credit of a block that paid a debt and has not been given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Payment {
    of: DebtOf,
    block_id: BlockId,
    amount: Credits,
}

/// Payments of debts, the newest last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Settled(Vec<Payment>);

impl Settled {
    /// Reads the payments, and what was given back of them, out of entries in order of `seq`.
    pub fn read<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut settled = Self::default();
        for entry in entries {
            let of_debts = entry.body.allocations.iter().filter_map(|part| Some((part, part.debt.as_ref()?)));
            for (part, of) in of_debts {
                match entry.body.kind {
                    EntryKind::DebtSettled => settled.push(of.clone(), part.block_id, -part.amount),
                    EntryKind::Void => {
                        settled.give_back(of, part.amount);
                    }
                    _ => {}
                }
            }
        }
        settled
    }

    /// The blocks that something could be given back to for `of`.
    pub fn blocks_of(&self, of: &DebtOf) -> impl Iterator<Item = BlockId> {
        self.0.iter().filter(move |payment| payment.of == *of).map(|payment| payment.block_id)
    }

    pub(super) fn push(&mut self, of: DebtOf, block_id: BlockId, amount: Credits) {
        self.0.push(Payment { of, block_id, amount });
    }

    /// Takes back up to `amount` of what was paid for `of`, the newest first: the blocks it came from.
    pub(super) fn give_back(&mut self, of: &DebtOf, amount: Credits) -> Vec<(BlockId, Credits)> {
        let mut left = amount;
        let mut given = Vec::new();
        for payment in self.0.iter_mut().rev().filter(|payment| payment.of == *of) {
            let part = payment.amount.min(left);
            if part.is_positive() {
                payment.amount -= part;
                left -= part;
                given.push((payment.block_id, part));
            }
        }
        self.0.retain(|payment| payment.amount.is_positive());
        given
    }
}
