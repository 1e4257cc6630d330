//! Credit that is given: grants, top-ups, positive adjustments.

use super::MAX_AMOUNT;
use super::command::{Answer, BlockKind, Code, Grant, Micros};
use super::entry::EntryKind;
use super::model::{Block, Model};

impl Model {
    pub(super) fn grant(&mut self, grant: &Grant, payment_reference: Option<&str>) -> Result<Answer, Code> {
        self.give(grant, payment_reference, EntryKind::Grant)
    }

    pub(super) fn topup(&mut self, payment_reference: &str, grant: &Grant) -> Result<Answer, Code> {
        let grant = Grant { kind: BlockKind::Topup, accumulation_cap: None, cap_group: None, ..grant.clone() };
        let known = |block: &&Block| block.payment_reference.as_deref() == Some(payment_reference);
        let Some(block) = self.blocks.iter().find(known) else { return self.grant(&grant, Some(payment_reference)) };
        let is_same = (block.original, &block.scope, block.expires_at, block.paid, block.priority, block.settles_debt)
            == (grant.amount, &grant.scope, grant.expires_at, grant.paid, grant.priority, grant.settles_debt)
            && grant.effective_at.is_none_or(|at| at == block.effective_at);
        let answer = Answer { block: Some(block.id), credit: block.original, ..Answer::default() };
        if is_same { Ok(answer.again()) } else { Err("idempotency_conflict") }
    }

    /// A new block, cut to what its cap leaves room for; of an amount cut to 0 there is an entry and no block.
    pub(super) fn give(
        &mut self,
        grant: &Grant,
        payment_reference: Option<&str>,
        kind: EntryKind,
    ) -> Result<Answer, Code> {
        let effective_at = grant.effective_at.unwrap_or(self.now);
        let ends_too_early = |end: Micros| end <= self.now.max(effective_at);
        if grant.amount <= 0 || grant.expires_at.is_some_and(ends_too_early) {
            return Err("validation_failed");
        }
        let amount = self.trimmed(grant);
        let id = self.blocks.len();
        if amount > 0 {
            self.blocks.push(Block {
                id,
                kind: grant.kind,
                priority: grant.priority,
                effective_at,
                expires_at: grant.expires_at,
                paid: grant.paid,
                scope: grant.scope.clone(),
                settles_debt: grant.settles_debt,
                cap_group: grant.cap_group.clone(),
                payment_reference: payment_reference.map(str::to_owned),
                original: amount,
                remaining: amount,
                held: 0,
                consumed: 0,
                expired: 0,
                withdrawn: 0,
                started: effective_at <= self.now,
                ended: None,
                refunded: 0,
                clawed_back: 0,
                claw_back_undone: 0,
            });
        }
        let total: i128 = self.blocks.iter().map(|block| i128::from(block.remaining)).sum();
        if total > i128::from(MAX_AMOUNT) {
            return Err("amount_out_of_range");
        }
        self.granted.push(amount);
        self.seal(kind, self.now);
        self.settle(self.now);
        Ok(Answer {
            block: (amount > 0).then_some(id),
            credit: amount,
            trimmed: grant.amount - amount,
            ..Answer::default()
        })
    }

    fn trimmed(&self, grant: &Grant) -> i64 {
        let Some(cap) = grant.accumulation_cap else { return grant.amount };
        let same_group = |block: &&Block| grant.cap_group.is_some() && block.cap_group == grant.cap_group;
        let usable = self.blocks.iter().filter(|block| block.is_usable());
        let there: i64 = usable.filter(same_group).map(|block| block.remaining).sum();
        grant.amount.min((cap - there).max(0))
    }
}
