//! Burn order, debt that meets free credit, and credit that comes back to a block.

use super::command::{BlockId, Micros};
use super::entry::EntryKind;
use super::model::{Block, Fate, Model, Settled};

impl Model {
    /// All of `blocks` that are asked for, in the order in which they pay.
    pub(super) fn in_burn_order(&self, wanted: impl Fn(&Block) -> bool) -> Vec<BlockId> {
        let mut blocks: Vec<&Block> = self.blocks.iter().filter(|block| wanted(block)).collect();
        blocks.sort_by_key(|block| {
            (
                block.priority,
                block.expires_at.unwrap_or(Micros::MAX),
                block.paid,
                block.effective_at,
                block.scope.is_empty(),
                block.scope.iter().cloned().collect::<Vec<_>>(),
                block.id,
            )
        });
        blocks.into_iter().map(|block| block.id).collect()
    }

    /// Usable blocks in burn order pay the debts that they may pay, the oldest first.
    pub(super) fn settle(&mut self, at: Micros) {
        let mut any = false;
        for id in self.in_burn_order(|block| block.is_usable() && block.settles_debt) {
            let mut debts: Vec<usize> = (0..self.debts.len()).collect();
            debts.sort_by_key(|number| self.debts[*number].since);
            for number in debts {
                let (block, debt) = (&mut self.blocks[id], &mut self.debts[number]);
                if !block.may_pay(debt.feature.as_deref()) {
                    continue;
                }
                let amount = block.free().min(debt.amount);
                if amount == 0 {
                    continue;
                }
                any = true;
                debt.amount -= amount;
                block.remaining -= amount;
                block.consumed += amount;
                match debt.feature.clone() {
                    Some(feature) => self.settled.push(Settled { block: id, feature, amount, undone: 0 }),
                    None => block.claw_back_undone += amount.min(block.clawed_back - block.claw_back_undone),
                }
            }
        }
        if any {
            self.seal(EntryKind::DebtSettled, at);
        }
    }

    /// What came back to blocks first lowers the claw-back debt of its block; then what is free in ended blocks goes
    /// the way of its block.
    pub(super) fn meet_fates(&mut self, returned: &[(BlockId, i64)], at: Micros) {
        let mut lowered = 0;
        for block in self.in_burn_order(|_| true) {
            let back: i64 = returned.iter().filter(|(id, _)| *id == block).map(|(_, amount)| amount).sum();
            let owed = self.blocks[block].clawed_back - self.blocks[block].claw_back_undone;
            let paid = self.lower_debt(None, back.min(owed));
            self.blocks[block].remaining -= paid;
            self.blocks[block].consumed += paid;
            self.blocks[block].claw_back_undone += paid;
            lowered += paid;
        }
        if lowered > 0 {
            self.seal(EntryKind::DebtSettled, at);
        }
        for (fate, kind) in [
            (Fate::Expire, EntryKind::Expire),
            (Fate::Refund, EntryKind::Refund),
            (Fate::Withdraw, EntryKind::Withdraw),
        ] {
            let ended = |block: &&mut Block| block.ended.is_some_and(|(ended_by, _)| ended_by == fate);
            let gone: i64 = self.blocks.iter_mut().filter(ended).map(|block| block.end(fate, at)).sum();
            if gone > 0 {
                self.seal(kind, at);
            }
        }
    }
}
