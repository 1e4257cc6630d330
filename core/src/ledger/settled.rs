//! What settled debts, per debt: a void gives it back, the newest first. Source: docs/ledger.md, "Void".

use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::ids::{BlockId, FeatureKey};
use crate::ledger::debt::DebtOf;
use crate::ledger::entry::{Entry, EntryKind};

/// What paid a debt and has not been given back: credit of a block, or an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Payment {
    of: DebtOf,
    block_id: Option<BlockId>,
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
                    EntryKind::Void => settled.take_off(of, Some(part.block_id), part.amount),
                    _ => {}
                }
            }
            for (feature_key, amount) in &entry.body.billed {
                match entry.body.kind {
                    EntryKind::DebtBilled => settled.push_billed(feature_key.clone(), *amount),
                    _ => settled.take_off(&DebtOf::Feature(feature_key.clone()), None, *amount),
                }
            }
        }
        settled
    }

    /// The blocks that something could be given back to for `of`.
    pub fn blocks_of(&self, of: &DebtOf) -> impl Iterator<Item = BlockId> {
        self.0.iter().filter(move |payment| payment.of == *of).filter_map(|payment| payment.block_id)
    }

    pub(super) fn push(&mut self, of: DebtOf, block_id: BlockId, amount: Credits) {
        self.0.push(Payment { of, block_id: Some(block_id), amount });
    }

    pub(super) fn push_billed(&mut self, feature_key: FeatureKey, amount: Credits) {
        self.0.push(Payment { of: DebtOf::Feature(feature_key), block_id: None, amount });
    }

    /// Forgets what a void has given back, of blocks or of invoices, the newest first.
    fn take_off(&mut self, of: &DebtOf, block_id: Option<BlockId>, amount: Credits) {
        let mut left = amount;
        for payment in self.0.iter_mut().rev().filter(|payment| payment.of == *of && payment.block_id == block_id) {
            let part = payment.amount.min(left);
            payment.amount -= part;
            left -= part;
        }
        self.0.retain(|payment| payment.amount.is_positive());
    }

    /// Takes back up to `amount` of what was paid for `of`, the newest first: the blocks it came from, `None` where an
    /// invoice pays it.
    pub(super) fn give_back(&mut self, of: &DebtOf, amount: Credits) -> Vec<(Option<BlockId>, Credits)> {
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
