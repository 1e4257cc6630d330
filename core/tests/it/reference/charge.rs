//! Taking credit from blocks for a feature, and what happens to the part that nobody can pay.

use super::command::{BlockId, Code, Micros};
use super::model::{Fate, HoldState, Model};
use super::price::Policy;

/// What a charge would take, before it takes it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Charge {
    /// From each block, in order; what was revived is in it.
    pub(super) taken: Vec<(BlockId, i64)>,
    /// How much of that the block had lost to expiry.
    pub(super) revived: Vec<(BlockId, i64)>,
    pub(super) short: i64,
}

/// Who asks for more than there is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shortfall<'a> {
    pub(super) feature: &'a str,
    pub(super) policy: Policy,
    pub(super) amount: i64,
    /// What the hold of this commit has noted as uncovered.
    pub(super) own_uncovered: i64,
    /// Work that a sidecar admitted is recorded whatever the credit.
    pub(super) is_admitted: bool,
}

impl Model {
    /// `amount` from blocks that may pay for `feature`, as they would have paid at `at`.
    ///
    /// In the present these are the usable ones, in burn order. For a past instant they are first those that were usable
    /// then, in burn order, also with what they have lost to expiry since; after them the others.
    pub(super) fn plan_charge(&self, feature: &str, amount: i64, at: Micros) -> Charge {
        let usable_then = |id: &BlockId| {
            let block = &self.blocks[*id];
            block.started && block.effective_at <= at && block.ended.is_none_or(|(_, end)| at < end)
        };
        let payers = self.in_burn_order(|block| block.may_pay(Some(feature)));
        let (then, others): (Vec<_>, Vec<_>) = payers.into_iter().partition(usable_then);
        let others = others.into_iter().filter(|id| self.blocks[*id].is_usable());

        let mut charge = Charge { short: amount, ..Charge::default() };
        for id in then.into_iter().chain(others) {
            let block = &self.blocks[id];
            // Nothing of a block is both free and expired: what is free in an expired block expires at once.
            // A refunded block has nothing for anybody any more.
            let is_refunded = block.ended.is_some_and(|(fate, _)| fate == Fate::Refund);
            let revivable = if usable_then(&id) && !is_refunded { block.expired } else { 0 };
            let taken = charge.short.min(block.free() + revivable);
            let revived = taken - taken.min(block.free());
            if taken > 0 {
                charge.taken.push((id, taken));
                charge.short -= taken;
            }
            if revived > 0 {
                charge.revived.push((id, revived));
            }
        }
        charge
    }

    /// How much of a shortfall becomes debt; the rest is not charged.
    pub(super) fn debt_for(&self, shortfall: Shortfall<'_>) -> Result<i64, Code> {
        let Shortfall { feature, policy, amount, own_uncovered, is_admitted } = shortfall;
        if amount == 0 || policy == Policy::Cap {
            return Ok(0);
        }
        if is_admitted {
            return Ok(amount);
        }
        if policy == Policy::Block {
            return Err("insufficient_credits");
        }
        let beyond_own = amount - amount.min(own_uncovered);
        let open = self.debt_of(Some(feature)) + self.uncovered_of(feature);
        match self.features[feature].overdraft_limit {
            Some(limit) if beyond_own > 0 && open + beyond_own > limit => Err("overdraft_limit"),
            _ => Ok(amount),
        }
    }

    fn uncovered_of(&self, feature: &str) -> i64 {
        let open = self.holds.iter().filter(|hold| hold.state == HoldState::Active && hold.feature == feature);
        open.map(|hold| hold.uncovered).sum()
    }
}
