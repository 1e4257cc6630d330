//! Back into an account, and on from one: how an account is read as of an earlier entry.

use crate::credits::Units;
use crate::ids::EndUserId;
use crate::ledger::account::Account;
use crate::ledger::block::Block;
use crate::ledger::counter::Counters;
use crate::ledger::hold::{HeldPart, Hold};
use crate::ledger::refold::{FoldedBlock, FoldedHold, Refold};
use crate::ledger::wallet::Wallet;

impl Refold {
    /// Goes on from an account as it stood after an entry: a checkpoint. Blocks that had nothing left then are not
    /// known to it.
    pub fn resume(account: &Account) -> Self {
        let wallet = &account.wallet;
        let id_of = |part: &HeldPart| (wallet.lots[part.lot].id, part.amount);
        let counts = |block: &Block| block.lot.has_started(wallet.time);
        let blocks =
            wallet.lots.iter().map(|block| (block.id, FoldedBlock { block: block.clone(), counts: counts(block) }));
        let holds = wallet.holds.iter().map(|hold| {
            let folded = FoldedHold {
                feature_key: hold.feature_key.clone(),
                expires_at: hold.expires_at,
                parts: hold.parts.iter().map(id_of).collect(),
                uncovered: hold.uncovered,
                counted: hold.counted.as_ref().map(|(key, units)| (key.clone(), units.get())),
            };
            (hold.id, folded)
        });
        Self {
            seq: account.seq,
            last_hash: account.last_hash,
            recorded_at: wallet.time,
            blocks: blocks.collect(),
            holds: holds.collect(),
            debts: wallet.debts.iter().cloned().collect(),
            counters: wallet.counters.iter().map(|own| (own.key.clone(), own.units.get())).collect(),
            counted: account.totals.balance + account.totals.debt,
            reserved: account.totals.reserved,
            owed: account.totals.debt,
            granted: account.lifetime_granted,
            consumed: account.lifetime_consumed,
            ..Self::new(account.id)
        }
    }

    /// The account as the entries read leave it, without what is not in entries: subscriptions, overrides, versions.
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
            wallet: Wallet { time: self.recorded_at, lots, holds, debts, counters, ..Wallet::default() },
            ..Account::new(self.account, end_user_id)
        }
    }
}

fn units_of(units: i64) -> Units {
    Units::new(units).expect("counters were checked when they were read")
}
