//! Back into an account: how it is read as of an earlier entry.

use crate::credits::Units;
use crate::ids::EndUserId;
use crate::ledger::account::Account;
use crate::ledger::block::{Block, HasLot};
use crate::ledger::counter::Counters;
use crate::ledger::hold::{HeldPart, Hold};
use crate::ledger::refold::Refold;
use crate::ledger::wallet::Wallet;

impl Refold {
    /// The account as the entries read leave it, with time applied as far as it was then. What is not in entries is
    /// not in it: subscriptions, overrides, its version.
    pub fn account(&self, end_user_id: EndUserId) -> Account {
        let mut lots: Vec<Block> = self.blocks.values().map(|folded| folded.block.clone()).collect();
        lots.sort_by(Block::full_order);
        let place_of = |id| lots.iter().position(|block| block.id == id).expect("holds name blocks that were granted");
        let holds = self.holds.iter().map(|(id, folded)| Hold {
            id: *id,
            feature_key: folded.feature_key.clone(),
            expires_at: folded.expires_at,
            parts: folded.parts.iter().map(|(id, amount)| HeldPart { lot: place_of(*id), amount: *amount }).collect(),
            uncovered: folded.uncovered,
            counted: folded.counted.as_ref().map(|(key, units)| (key.clone(), units_of(*units))),
        });
        let holds = holds.collect();
        let mut counters = Counters::default();
        for (key, units) in &self.counters {
            counters.add(key, *units);
        }
        let debts = self.debts.iter().cloned().collect();
        Account {
            seq: self.seq,
            last_hash: self.last_hash,
            totals: self.totals(),
            lifetime_granted: self.granted,
            lifetime_consumed: self.consumed,
            wallet: Wallet { time: self.time, lots, holds, debts, counters, ..Wallet::default() },
            ..Account::new(self.account, end_user_id)
        }
    }
}

fn units_of(units: i64) -> Units {
    Units::new(units).expect("counters were checked when they were read")
}
