//! What people do to the naive ledger: adjustments, voids of blocks, top-ups and refunds.

use super::{Ended, Model, ModelBlock, Owed, pays};

impl Model {
    pub(crate) fn adjust(
        &mut self,
        now: i64,
        amount: i64,
        feature: Option<&'static str>,
        allow_negative: bool,
    ) -> Result<(), &'static str> {
        self.advance(now);
        if amount == 0 {
            return Err("validation_failed");
        }
        if amount > 0 {
            let scope = feature.into_iter().collect();
            let (original, start) = (amount, self.now);
            let block = ModelBlock { original, remaining: amount, start, scope, ..ModelBlock::empty() };
            self.add("adjust", vec![block]);
            return Ok(());
        }
        let may = |block: &ModelBlock| feature.map_or(block.scope.is_empty(), |feature| pays(block, feature));
        let order = self.burn_order().into_iter();
        let places: Vec<usize> = order.filter(|p| self.is_usable(&self.blocks[*p]) && may(&self.blocks[*p])).collect();
        let there: i64 = places.iter().map(|place| self.blocks[*place].free()).sum();
        let taken = there.min(-amount);
        let owed = -amount - taken;
        if owed > 0 && !allow_negative {
            return Err("insufficient_credits");
        }
        let mut left = taken;
        for place in places {
            let part = left.min(self.blocks[place].free());
            self.blocks[place].remaining -= part;
            self.blocks[place].withdrawn += part;
            left -= part;
        }
        self.line("adjust", -taken, self.now);
        self.owe(Owed::Correction, owed, self.now);
        self.settle();
        Ok(())
    }

    pub(crate) fn void_block(&mut self, now: i64, place: usize) -> Result<(), &'static str> {
        self.advance(now);
        let block = &mut self.blocks[place];
        if block.ended == Some(Ended::Voided) {
            return Ok(());
        }
        if block.ended.is_some() || block.end.is_some_and(|end| end <= self.now) {
            return Err("invalid_transition");
        }
        let counted = self.end(place, Ended::Voided, i64::MAX);
        self.line("withdraw", -counted, self.now);
        Ok(())
    }

    pub(crate) fn top_up(&mut self, now: i64, amount: i64) {
        self.advance(now);
        let (original, start) = (amount, self.now);
        let block = ModelBlock { original, remaining: amount, start, paid: true, ..ModelBlock::empty() };
        self.topups.push((self.blocks.len(), 0, 0));
        self.add("grant", vec![block]);
    }

    pub(crate) fn refund(
        &mut self,
        now: i64,
        number: usize,
        amount: Option<i64>,
        claw_back: bool,
    ) -> Result<(), &'static str> {
        self.advance(now);
        let (place, refunded, clawed) = self.topups[number];
        let left = self.blocks[place].original - refunded;
        let amount = amount.unwrap_or(left);
        if amount < 1 || amount > left {
            return Err("validation_failed");
        }
        let block = &self.blocks[place];
        let free = block.free().min(amount);
        let spent = (block.consumed + block.held - clawed).max(0);
        let owed = if claw_back { (amount - free).min(spent) } else { 0 };
        if amount == left {
            let already = self.blocks[place].ended;
            self.end(place, Ended::Refunded, free);
            assert!(already.is_none_or(|ended| ended == Ended::Voided));
        } else {
            self.blocks[place].remaining -= free;
            self.blocks[place].withdrawn += free;
        }
        self.line("refund", -free, self.now);
        self.owe(Owed::Correction, owed, self.now);
        self.blocks[place].claw_back += owed;
        self.topups[number] = (place, refunded + amount, clawed + owed);
        self.sweep();
        self.settle();
        Ok(())
    }

    /// Takes up to `most` of what is free, and ends the block: what counted of that.
    pub(super) fn end(&mut self, place: usize, ended: Ended, most: i64) -> i64 {
        let now = self.now;
        let block = &mut self.blocks[place];
        let free = block.free().min(most);
        block.remaining -= free;
        block.withdrawn += free;
        block.ended = Some(ended);
        if block.start <= now { free } else { 0 }
    }
}
