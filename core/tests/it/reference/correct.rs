//! Corrections by people: adjustments, voided blocks, refunds of top-ups.

use std::collections::BTreeSet;

use super::command::{Answer, BlockId, BlockKind, Code, Grant};
use super::entry::EntryKind;
use super::model::{Block, Fate, Model};

impl Model {
    pub(super) fn adjust(
        &mut self,
        amount: i64,
        block: Option<BlockId>,
        feature: Option<&str>,
        allow_negative: bool,
    ) -> Result<Answer, Code> {
        if let Some(key) = feature {
            self.feature(key)?;
        }
        if block.is_some_and(|id| id >= self.blocks.len()) {
            return Err("not_found");
        }
        match amount {
            1.. if block.is_some() => Err("validation_failed"),
            1.. => self.adjust_up(amount, feature),
            0 => Err("validation_failed"),
            _ => self.adjust_down(-amount, block, feature, allow_negative),
        }
    }

    fn adjust_up(&mut self, amount: i64, feature: Option<&str>) -> Result<Answer, Code> {
        let scope: BTreeSet<String> = feature.map(str::to_owned).into_iter().collect();
        let grant = Grant {
            amount,
            kind: BlockKind::Adjustment,
            priority: 100,
            effective_at: None,
            expires_at: None,
            paid: false,
            scope,
            settles_debt: true,
            accumulation_cap: None,
            cap_group: None,
        };
        self.give(&grant, None, EntryKind::Adjust)
    }

    fn adjust_down(
        &mut self,
        amount: i64,
        block: Option<BlockId>,
        feature: Option<&str>,
        allow_negative: bool,
    ) -> Result<Answer, Code> {
        let may_pay = |of: &Block| match block {
            Some(id) => of.id == id,
            None => of.may_pay(feature),
        };
        let mut short = amount;
        for id in self.in_burn_order(|of| of.is_usable() && may_pay(of)) {
            let block = &mut self.blocks[id];
            let taken = short.min(block.free());
            block.remaining -= taken;
            block.withdrawn += taken;
            short -= taken;
        }
        if short > 0 && !allow_negative {
            return Err("insufficient_credits");
        }
        self.seal(EntryKind::Adjust, self.now);
        if short > 0 {
            self.raise_debt(None, short)?;
            self.seal(EntryKind::Debt, self.now);
        }
        self.settle(self.now);
        Ok(Answer { credit: amount - short, debt: short, ..Answer::default() })
    }

    pub(super) fn void_block(&mut self, id: BlockId) -> Result<Answer, Code> {
        let block = self.blocks.get_mut(id).ok_or("not_found")?;
        match block.ended {
            Some((Fate::Withdraw, _)) => return Ok(Answer { replayed: true, block: Some(id), ..Answer::default() }),
            Some(_) => return Err("invalid_transition"),
            None => {}
        }
        let credit = block.end(Fate::Withdraw, self.now);
        self.seal(EntryKind::Withdraw, self.now);
        Ok(Answer { block: Some(id), credit, ..Answer::default() })
    }

    /// Takes what is free, up to `amount`. What could not be taken can be claimed as debt, as far as the block paid for
    /// something or is held; the rest is taken of what has expired. A refund of the rest of what was paid for ends the
    /// block.
    pub(super) fn refund(
        &mut self,
        payment_reference: &str,
        amount: Option<i64>,
        claw_back_spent: bool,
    ) -> Result<Answer, Code> {
        let now = self.now;
        let known = |block: &&mut Block| block.payment_reference.as_deref() == Some(payment_reference);
        let block = self.blocks.iter_mut().find(known).ok_or("not_found")?;
        let rest = block.original - block.refunded;
        if rest == 0 {
            return Err("invalid_transition");
        }
        let amount = amount.unwrap_or(rest);
        if !(1..=rest).contains(&amount) {
            return Err("validation_failed");
        }
        block.refunded += amount;
        let free = amount.min(block.free());
        let spent = block.consumed + block.held - block.clawed_back;
        let debt = if claw_back_spent { (amount - free).min(spent.max(0)) } else { 0 };
        let lapsed = block.expired.min(amount - free - debt);
        block.remaining -= free;
        block.expired -= lapsed;
        block.withdrawn += free + lapsed;
        if amount == rest {
            block.ended = Some((Fate::Refund, block.ended.map_or(now, |(_, at)| at)));
            block.end(Fate::Refund, now);
        }
        let credit = free + lapsed;
        block.clawed_back += debt;
        let id = block.id;
        self.seal(EntryKind::Refund, now);
        if debt > 0 {
            self.raise_debt(None, debt)?;
            self.seal(EntryKind::Debt, now);
        }
        self.settle(now);
        Ok(Answer { block: Some(id), credit, debt, ..Answer::default() })
    }
}
