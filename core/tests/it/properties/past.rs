//! Looking back: what an account answered at an instant is what its entries say of it for ever, also when it is rebuilt
//! from checkpoints on the way.

use std::collections::BTreeMap;

use super::*;

use quotastack_core::catalogue::Catalogue;
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::block::Block;
use quotastack_core::ledger::debt::Debt;
use quotastack_core::ledger::wallet::Totals;

/// Instants at which answers are recorded after each command, in ticks ahead.
const READ_AHEAD: [i64; 4] = [0, 1, 3, 17];

/// What a reader is told of an account.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    totals: Totals,
    lifetime: (Credits, Credits),
    blocks: Vec<Block>,
    debts: Vec<Debt>,
}

impl Answer {
    fn of(mut account: Account, catalogue: &Catalogue, now: Timestamp) -> Self {
        read_at(&mut account.wallet, catalogue, now);
        Self {
            totals: account.wallet.totals(),
            lifetime: (account.lifetime_granted, account.lifetime_consumed),
            blocks: account.wallet.lots,
            debts: account.wallet.debts.iter().cloned().collect(),
        }
    }
}

impl World {
    /// Records what readers are told now and, if nothing else happens, a little later. What was recorded for an
    /// instant that was not over yet is forgotten.
    pub(super) fn record_answers(&mut self, answers: &mut BTreeMap<Timestamp, Answer>) {
        let last = self.entries.last().map_or(Timestamp::MIN, |entry| entry.recorded_at);
        answers.retain(|at, _| *at < last);
        for ahead in READ_AHEAD {
            let now = tick(self.clock + ahead).max(self.account.wallet.time);
            answers.insert(now, Answer::of(self.account.clone(), &self.catalogue, now));
        }
    }

    /// Asks for all of them again.
    pub(super) fn answers_are_the_same(&self, answers: &BTreeMap<Timestamp, Answer>) -> Result<(), TestCaseError> {
        for (at, answer) in answers {
            let mut refold = Refold::new(self.account.id);
            for entry in self.entries.iter().take_while(|entry| entry.instant() <= *at) {
                prop_assert_eq!(refold.push(entry), Ok(()));
            }
            let rebuilt = refold.account(self.account.end_user_id.clone());
            prop_assert_eq!(&Answer::of(rebuilt, &self.catalogue, *at), answer, "as of {}", at);
        }
        Ok(())
    }

    /// Rebuilt with a checkpoint every `stride` entries, it is the same account; and each checkpoint is the same one
    /// whether or not it was reached from another.
    pub(super) fn resumes_from_checkpoints(&self, stride: usize) -> Result<(), TestCaseError> {
        let mut used_up = BTreeMap::new();
        let mut refold = Refold::new(self.account.id);
        let mut whole = Refold::new(self.account.id);
        for segment in self.entries.chunks(stride) {
            let missing = refold.missing(segment);
            refold.bring(missing.iter().filter_map(|id| used_up.get(id)).cloned());
            for entry in segment {
                prop_assert_eq!(refold.push(entry), Ok(()));
                prop_assert_eq!(whole.push(entry), Ok(()));
            }
            let checkpoint = refold.checkpoint();
            prop_assert_eq!(&checkpoint.state, &whole.clone().checkpoint().state);
            used_up.extend(checkpoint.used_up.into_iter().map(|block| (block.id, block)));
            refold = Refold::resume(&checkpoint.state).unwrap();
        }
        refold.bring(used_up.into_values());
        prop_assert_eq!(refold.compare(&self.account), Ok(()));
        Ok(())
    }
}
