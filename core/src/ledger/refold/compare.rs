//! What the entries add up to, held against what is stored.

use std::collections::HashSet;

use crate::credits::Credits;
use crate::ids::BlockId;
use crate::ledger::account::Account;
use crate::ledger::block::{Block, HasLot};
use crate::ledger::hold::Hold;
use crate::ledger::refold::{Difference, Fault, FoldedHold, Refold};

impl Refold {
    /// Holds `stored` against the entries read. Blocks with nothing left may be missing from it.
    pub fn compare(&self, stored: &Account) -> Result<(), Difference> {
        self.difference(stored).map_or(Ok(()), |fault| Err(Difference { seq: self.seq, fault }))
    }

    fn difference(&self, stored: &Account) -> Option<Fault> {
        if (stored.id, stored.seq, stored.last_hash) != (self.account, self.seq, self.last_hash) {
            return Some(Fault::StoredHead);
        }
        let lifetime = (stored.lifetime_granted, stored.lifetime_consumed);
        if (stored.totals, lifetime) != (self.totals(), (self.granted, self.consumed)) {
            return Some(Fault::StoredTotals);
        }
        if !stored.wallet.debts.iter().eq(&self.debts) {
            return Some(Fault::StoredDebts);
        }
        self.other_block(stored).or_else(|| self.other_hold(stored)).or_else(|| self.other_counters(stored))
    }

    fn other_block(&self, stored: &Account) -> Option<Fault> {
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
        let ordered = lots.is_sorted_by(|a, b| a.full_order(b).is_lt());
        (!ordered).then_some(Fault::StoredOrder)
    }

    fn other_hold(&self, stored: &Account) -> Option<Fault> {
        let wallet = &stored.wallet;
        let is_same = |hold: &Hold, folded: &FoldedHold| {
            let parts: Vec<(BlockId, Credits)> =
                hold.parts.iter().map(|part| (wallet.lots[part.lot].id, part.amount)).collect();
            let counted = hold.counted.as_ref().map(|(key, units)| (key.clone(), units.get()));
            (parts, counted) == (folded.parts.clone(), folded.counted.clone())
                && (&hold.feature_key, hold.expires_at, hold.uncovered)
                    == (&folded.feature_key, folded.expires_at, folded.uncovered)
        };
        let other = |hold: &&Hold| self.holds.get(&hold.id).is_none_or(|folded| !is_same(hold, folded));
        let known = |id| wallet.holds.iter().any(|hold| hold.id == id);
        let other = wallet.holds.iter().find(other).map(|hold| hold.id);
        other.or_else(|| self.holds.keys().copied().find(|id| !known(*id))).map(Fault::StoredHold)
    }

    fn other_counters(&self, stored: &Account) -> Option<Fault> {
        let wallet = &stored.wallet;
        let folded = self.counters.iter().filter(|(key, units)| **units > 0 && !key.is_closed(wallet.time));
        let stored = wallet.counters.iter().filter(|counter| !counter.key.is_closed(wallet.time));
        let same = folded.map(|(key, units)| (key, *units)).eq(stored.map(|own| (&own.key, own.units.get())));
        (!same).then_some(Fault::StoredCounters)
    }
}
