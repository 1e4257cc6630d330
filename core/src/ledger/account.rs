//! An [`Account`]: one end user's side of the ledger, as the commands of [`super::apply`] change it.

use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::ids::{AccountId, BlockId, EndUserId, ReservationId, SubscriptionId, TopupId};
use crate::ledger::block::{Block, HasLot};
use crate::ledger::entry::Hash;
use crate::ledger::reservation::{Reservation, ReservationStatus};
use crate::ledger::settled::Settled;
use crate::ledger::tally::Tallies;
use crate::ledger::topup::Topup;
use crate::ledger::wallet::{Totals, Wallet};
use crate::subscription::Subscription;
use crate::time::Timestamp;

/// One per end user per environment; created by the first write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Internal id; the hash chain names it.
    pub id: AccountId,
    /// The tenant's name for it.
    pub end_user_id: EndUserId,
    /// `seq` of the last entry, 0 before the first.
    pub seq: u64,
    /// Counts written changes.
    pub version: u64,
    /// Hash of the last entry, zeros before the first.
    pub last_hash: Hash,
    /// What the entries add up to.
    pub totals: Totals,
    /// Grants and positive adjustments so far.
    pub lifetime_granted: Credits,
    /// Cost of usage so far, debt included.
    pub lifetime_consumed: Credits,
    /// The latest end of a block that lost credit to it: usage that counts from then on needs no expired block.
    pub last_expiry: Option<Timestamp>,
    /// Blocks, holds, debts, counters, subscriptions, overrides. Of the blocks at least those with credit.
    pub wallet: Wallet<Block>,
    /// What is used in postpaid periods, until it is summed up.
    pub tallies: Tallies,
    /// The open reservations, and those that the command at hand names.
    pub reservations: Vec<Reservation>,
    /// Subscriptions that are over: those that ended here, and those that the command at hand names.
    pub ended: Vec<Subscription>,
    /// The top-ups that the command at hand names.
    pub topups: Vec<Topup>,
    /// What settled debts, the newest last; complete only where a void needs it.
    pub settled: Settled,
}

impl Account {
    /// An account without history.
    pub fn new(id: AccountId, end_user_id: EndUserId) -> Self {
        Self {
            id,
            end_user_id,
            seq: 0,
            version: 0,
            last_hash: Hash::ZERO,
            totals: Totals::default(),
            lifetime_granted: Credits::ZERO,
            lifetime_consumed: Credits::ZERO,
            last_expiry: None,
            wallet: Wallet::default(),
            tallies: Tallies::default(),
            reservations: Vec::new(),
            ended: Vec::new(),
            topups: Vec::new(),
            settled: Settled::default(),
        }
    }

    /// The next instant after the account's time at which time alone changes something, or has something announced.
    pub fn next_due(&self) -> Option<Timestamp> {
        [self.wallet.next_due(), self.tallies.next_due()].into_iter().flatten().min()
    }

    /// Adds blocks that the command at hand needs and that are not here yet, each at its place in burn order.
    pub fn bring(&mut self, blocks: impl IntoIterator<Item = Block>) {
        for block in blocks {
            if self.block_index(block.id).is_none() {
                let index = self.wallet.lots.partition_point(|other| other.full_order(&block).is_lt());
                self.wallet.insert_at(index, block);
            }
        }
    }

    /// Forgets what only the command at hand needed: blocks that are over, closed reservations, top-ups,
    /// subscriptions that are over, settled debts.
    pub fn settle_down(&mut self) {
        let now = self.wallet.time;
        self.wallet.keep_lots(|block| block.is_live(now));
        self.reservations.retain(|reservation| reservation.status == ReservationStatus::Active);
        self.reservations.sort_by_key(|reservation| reservation.id);
        self.topups.clear();
        self.ended.clear();
        self.settled = Settled::default();
    }

    /// Where a block stands in burn order.
    pub fn block_index(&self, id: BlockId) -> Option<usize> {
        self.wallet.lots.iter().position(|block| block.id == id)
    }

    /// A block that is here.
    pub fn block(&self, id: BlockId) -> Option<&Block> {
        self.wallet.lots.iter().find(|block| block.id == id)
    }

    /// A reservation that is here.
    pub fn reservation(&self, id: ReservationId) -> Option<&Reservation> {
        self.reservations.iter().find(|reservation| reservation.id == id)
    }

    pub(super) fn reservation_mut(&mut self, id: ReservationId) -> Option<&mut Reservation> {
        self.reservations.iter_mut().find(|reservation| reservation.id == id)
    }

    /// A subscription that is here, also one that is over.
    pub fn subscription(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.wallet.subscription(id).or_else(|| self.ended.iter().find(|own| own.id == id))
    }

    /// A top-up that is here.
    pub fn topup(&self, id: TopupId) -> Option<&Topup> {
        self.topups.iter().find(|topup| topup.id == id)
    }
}
