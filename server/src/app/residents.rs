//! Accounts that a lane's writer has at hand from its last batches, so that it need not read them again.
//!
//! Whoever changes an account moves its lane on, under the lane's lock. So they are what the database holds exactly as
//! long as the lane stands where the writer left it; else they are forgotten. A debug build reads the accounts all the
//! same and compares.

use std::collections::HashMap;

use quotastack_core::ids::EndUserId;
use quotastack_core::ledger::account::Account;

use crate::store::lanes::LanePlace;

/// Parts of accounts, and accounts, that come in before those not used meanwhile are forgotten: some megabytes.
const PARTS_MAX: usize = 16_384;

/// The accounts, as of one place of their lane: the young ones, and the old ones that were not used since.
#[derive(Debug, Default)]
pub struct Residents {
    place: LanePlace,
    young: HashMap<EndUserId, (Account, u64)>,
    old: HashMap<EndUserId, (Account, u64)>,
    /// How many parts came in since the last generation was put aside.
    parts: usize,
}

impl Residents {
    /// Goes on at the place at which the lane was found.
    pub fn resume(&mut self, place: LanePlace) {
        if self.place != place {
            *self = Self { place, ..Self::default() };
        }
    }

    /// Hands out an account with its stamp. It comes back with [`Self::follow`] if it is written; if not, it is read again
    /// next time.
    pub fn take(&mut self, end_user_id: &EndUserId) -> Option<(Account, u64)> {
        self.young.remove(end_user_id).or_else(|| self.old.remove(end_user_id))
    }

    /// Follows the writer, who has moved the lane on: `written` are all accounts that are not as they were.
    pub fn follow(&mut self, place: LanePlace, written: impl IntoIterator<Item = (Account, u64)>) {
        self.place = place;
        for (mut account, stamp) in written {
            account.settle_down();
            if self.parts > PARTS_MAX {
                self.old = std::mem::take(&mut self.young);
                self.parts = 0;
            }
            self.parts += parts(&account);
            self.young.insert(account.end_user_id.clone(), (account, stamp));
        }
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

fn parts(account: &Account) -> usize {
    let wallet = &account.wallet;
    1 + wallet.lots.len()
        + wallet.holds.len()
        + wallet.debts.len()
        + wallet.counters.len()
        + wallet.subscriptions.len()
        + wallet.overrides.len()
}
