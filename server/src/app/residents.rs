//! Accounts that a lane's writer has at hand from its last batches, so that it need not read them again.
//!
//! Whoever changes an account moves its lane on, under the lane's lock. So they are what the database holds exactly as
//! long as the lane stands where the writer left it; else they are forgotten. A debug build reads the accounts all the
//! same and compares.

use std::collections::HashMap;

use quotastack_core::ids::EndUserId;
use quotastack_core::ledger::account::Account;

use crate::store::lanes::LanePlace;

/// Young accounts with their parts, before they become the old ones: some megabytes.
const PARTS_MAX: usize = 16_384;

/// The accounts, as of one place of their lane: the young ones, and the old ones that were not used since.
#[derive(Debug, Default)]
pub struct Residents {
    place: LanePlace,
    young: HashMap<EndUserId, (Account, u64)>,
    old: HashMap<EndUserId, (Account, u64)>,
    /// How many parts the young ones have.
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
        if let Some(found) = self.young.remove(end_user_id) {
            self.parts -= parts(&found.0);
            return Some(found);
        }
        self.old.remove(end_user_id)
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

#[cfg(test)]
mod tests {
    use quotastack_core::ids::{AccountId, uuid_v7};
    use quotastack_core::time::Timestamp;

    use super::*;

    fn account(number: usize) -> Account {
        let id = AccountId::from_uuid(uuid_v7(Timestamp::default(), [7; 10], Some(1)));
        Account::new(id, EndUserId::new(&format!("user-{number}")).unwrap())
    }

    fn place(feed_seq: u64) -> LanePlace {
        LanePlace { feed_seq, ..LanePlace::default() }
    }

    #[test]
    fn accounts_are_at_hand_while_the_lane_stands_where_it_was_left() {
        let mut residents = Residents::default();
        residents.resume(place(1));
        residents.follow(place(2), [(account(1), 2)]);
        residents.resume(place(2));
        assert_eq!(residents.take(&account(1).end_user_id), Some((account(1), 2)));
        assert_eq!(residents.take(&account(1).end_user_id), None, "it is handed out once");

        residents.follow(place(3), [(account(1), 3)]);
        residents.resume(place(4));
        assert_eq!(residents.take(&account(1).end_user_id), None, "somebody else has moved the lane on");
    }

    #[test]
    fn those_that_were_not_used_for_long_are_forgotten() {
        let mut residents = Residents::default();
        residents.follow(place(1), (0..3 * PARTS_MAX).map(|number| (account(number), 1)));
        assert!(residents.young.len() + residents.old.len() <= 2 * (PARTS_MAX + 1));
        assert_eq!(residents.take(&account(0).end_user_id), None);
        let last = account(3 * PARTS_MAX - 1);
        assert_eq!(residents.take(&last.end_user_id), Some((last, 1)));
    }
}
