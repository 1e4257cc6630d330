//! What a batch of commands needs to know, read in the lane's transaction: accounts with what the commands name of
//! them, and what was recorded before under their identities.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use quotastack_core::catalogue::Catalogue;
use quotastack_core::ids::{AccountId, BlockId, EndUserId, ReservationId, SubscriptionId, TopupId, UsageId};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::command::Command;
use quotastack_core::ledger::debt::DebtOf;
use quotastack_core::ledger::outcome::{UsageRecord, VoidRecord};
use quotastack_core::ledger::topup::Topup;
use quotastack_core::time::Timestamp;

use crate::app::decide::Submission;
use crate::app::residents::Residents;
use crate::store::lanes::LanePlace;
use crate::store::requests::StoredRequest;
use crate::store::topups::reference_hash;
use crate::store::tx::Tx;
use crate::store::types::LaneId;
use crate::store::usage::{KeyHash, key_hash};

/// What the transaction found.
#[derive(Debug)]
pub struct Loaded {
    /// The catalogue, as of this transaction.
    pub catalogue: Arc<Catalogue>,
    /// The lane's last place in the feed.
    pub feed_seq: u64,
    /// The lane's last instant.
    pub last_now: Timestamp,
    /// The accounts that exist, each with its stamp.
    pub accounts: HashMap<EndUserId, (Account, u64)>,
    /// Usage recorded before under the batch's keys.
    pub known_usage: HashMap<(AccountId, KeyHash), UsageRecord>,
    /// Usage that the batch's voids name, each with its account.
    pub named_usage: HashMap<UsageId, (AccountId, UsageRecord)>,
    /// Voids of that usage.
    pub voids: HashMap<UsageId, VoidRecord>,
    /// Top-ups booked before with the batch's payments.
    pub topups: HashMap<(AccountId, [u8; 16]), Topup>,
    /// Requests carried out before under the batch's keys.
    pub requests: HashMap<[u8; 16], StoredRequest>,
}

/// What the commands of one batch name.
#[derive(Default)]
struct Needs {
    usage_keys: Vec<(AccountId, KeyHash)>,
    references: Vec<(AccountId, [u8; 16])>,
    request_keys: Vec<[u8; 16]>,
    voided: Vec<UsageId>,
    reservations: Vec<ReservationId>,
    refunded: Vec<TopupId>,
    blocks: Vec<(AccountId, BlockId)>,
    subscriptions: Vec<(EndUserId, SubscriptionId)>,
    /// Accounts with usage that may be older than their last expiry, and the earliest instant it counts at.
    late: HashMap<AccountId, Timestamp>,
}

impl Needs {
    fn of(commands: &[Submission], accounts: &HashMap<EndUserId, (Account, u64)>) -> Self {
        let mut needs = Self::default();
        for submission in commands {
            needs.request_keys.extend(submission.identity.map(|identity| identity.key_hash));
            // Whoever has no account yet has nothing that could be named.
            if let Some((account, _)) = accounts.get(&submission.end_user_id) {
                needs.add(account, &submission.request.command);
            }
        }
        needs
    }

    fn add(&mut self, account: &Account, command: &Command) {
        match command {
            Command::Usage(usage) | Command::Consume(usage) => {
                self.usage_keys.push((account.id, key_hash(&usage.key)));
                self.reservations.extend(usage.leased.map(|leased| leased.id));
                if let Some(at) = usage.effective_at.or(usage.admitted_at)
                    && self.may_be_late(account, at)
                {
                    let earliest = self.late.entry(account.id).or_insert(at);
                    *earliest = at.min(*earliest);
                }
            }
            Command::Void(void) => self.voided.push(void.usage_id),
            Command::Commit(commit) => self.reservations.push(commit.reservation_id),
            Command::Release(id) => self.reservations.push(*id),
            Command::Extend(extend) => self.reservations.push(extend.reservation_id),
            Command::OpenLease(order) => self.reservations.push(order.id),
            Command::ReturnLease(order) => self.reservations.push(order.id),
            Command::Adjust(adjust) => self.blocks.extend(adjust.block_id.map(|block| (account.id, block))),
            Command::VoidBlock(void) => self.blocks.push((account.id, void.block_id)),
            Command::TopUp(order) => self.references.push((account.id, reference_hash(&order.payment_reference))),
            Command::Refund(refund) => self.refunded.push(refund.topup_id),
            // One that is over is not loaded with its account.
            Command::Subscription(order) if account.subscription(order.id).is_none() => {
                self.subscriptions.push((account.end_user_id.clone(), order.id));
            }
            Command::Subscription(_)
            | Command::Grant(_)
            | Command::Subscribe(_)
            | Command::Reserve(_)
            | Command::SetOverride(_)
            | Command::RemoveOverride(_)
            | Command::Advance => {}
        }
    }

    /// Whether credit that expired after `at` may be in the database: usage that counts later needs none of it.
    fn may_be_late(&self, account: &Account, at: Timestamp) -> bool {
        account.last_expiry.is_some_and(|last| at < last)
    }
}

/// Reads what `commands` need, in a transaction that has locked the lane or sees one instant of it.
pub async fn load(
    tx: &mut Tx,
    lane_id: LaneId,
    place: LanePlace,
    catalogue: Arc<Catalogue>,
    commands: &[Submission],
    real_now: Timestamp,
    residents: &mut Residents,
) -> sqlx::Result<Loaded> {
    let accounts = load_accounts(tx, lane_id, place, commands, residents).await?;
    let mut needs = Needs::of(commands, &accounts);
    let mut loaded = Loaded {
        catalogue,
        feed_seq: place.feed_seq,
        last_now: place.last_now,
        accounts,
        known_usage: tx.load_known_usage(lane_id, &needs.usage_keys).await?,
        named_usage: HashMap::new(),
        voids: HashMap::new(),
        topups: HashMap::new(),
        requests: tx.load_requests(lane_id, &needs.request_keys, real_now).await?,
    };
    loaded.add_voids(tx, lane_id, &mut needs).await?;
    loaded.add_topups(tx, lane_id, &mut needs).await?;
    loaded.add_blocks(tx, lane_id, &needs).await?;
    for (account, reservation) in tx.load_reservations(lane_id, &needs.reservations).await? {
        if let Some(account) = loaded.account_mut(account)
            && account.reservation(reservation.id).is_none()
        {
            account.reservations.push(reservation);
        }
    }
    for (end_user_id, id) in needs.subscriptions {
        if let Some((account, _)) = loaded.accounts.get_mut(&end_user_id)
            && let Some((owner, subscription)) = tx.find_subscription(lane_id, id).await?
            && owner == end_user_id
        {
            account.ended.push(subscription);
        }
    }
    Ok(loaded)
}

/// The accounts of the commands that exist, those that are at hand without reading them.
async fn load_accounts(
    tx: &mut Tx,
    lane_id: LaneId,
    place: LanePlace,
    commands: &[Submission],
    residents: &mut Residents,
) -> sqlx::Result<HashMap<EndUserId, (Account, u64)>> {
    residents.resume(place);
    let (mut accounts, mut missing) = (HashMap::new(), BTreeSet::new());
    for end_user_id in commands.iter().map(|command| &command.end_user_id) {
        if accounts.contains_key(end_user_id) || missing.contains(end_user_id) {
            continue;
        }
        match residents.take(end_user_id) {
            Some(resident) => drop(accounts.insert(end_user_id.clone(), resident)),
            None => drop(missing.insert(end_user_id.clone())),
        }
    }
    if cfg!(debug_assertions) {
        let at_hand: Vec<EndUserId> = accounts.keys().cloned().collect();
        assert_eq!(accounts, tx.load_accounts(lane_id, &at_hand).await?, "what is at hand is what is stored");
    }
    accounts.extend(tx.load_accounts(lane_id, &Vec::from_iter(missing)).await?);
    Ok(accounts)
}

impl Loaded {
    /// The events to be undone, what paid for them, and where what settled their debts came from.
    async fn add_voids(&mut self, tx: &mut Tx, lane_id: LaneId, needs: &mut Needs) -> sqlx::Result<()> {
        let found = tx.load_usage(lane_id, &needs.voided).await?;
        for void in tx.load_voids(lane_id, &needs.voided).await? {
            self.voids.insert(void.usage_id, void);
        }
        for (account_id, usage) in found {
            needs.blocks.extend(usage.allocations.iter().map(|part| (account_id, part.block_id)));
            if usage.owed.is_positive()
                && let Some(account) = self.account_mut(account_id)
            {
                account.settled = tx.load_settled(lane_id, account_id).await?;
                let of = DebtOf::Feature(usage.feature_key.clone());
                needs.blocks.extend(account.settled.blocks_of(&of).map(|block| (account_id, block)));
            }
            self.named_usage.insert(usage.id, (account_id, usage));
        }
        Ok(())
    }

    async fn add_topups(&mut self, tx: &mut Tx, lane_id: LaneId, needs: &mut Needs) -> sqlx::Result<()> {
        for (account_id, topup) in tx.load_topups_by_reference(lane_id, &needs.references).await? {
            needs.blocks.push((account_id, topup.block_id));
            self.topups.insert((account_id, reference_hash(&topup.payment_reference)), topup);
        }
        for (account_id, topup) in tx.load_topups(lane_id, &needs.refunded).await? {
            needs.blocks.push((account_id, topup.block_id));
            if let Some(account) = self.account_mut(account_id) {
                account.topups.push(topup);
            }
        }
        Ok(())
    }

    async fn add_blocks(&mut self, tx: &mut Tx, lane_id: LaneId, needs: &Needs) -> sqlx::Result<()> {
        let late: Vec<(AccountId, Timestamp)> = needs.late.iter().map(|(account, at)| (*account, *at)).collect();
        let mut blocks = tx.load_blocks(lane_id, &needs.blocks).await?;
        blocks.extend(tx.load_expired_blocks(lane_id, &late).await?);
        for (account_id, block, _) in blocks {
            if let Some(account) = self.account_mut(account_id) {
                account.bring([block]);
            }
        }
        Ok(())
    }

    fn account_mut(&mut self, id: AccountId) -> Option<&mut Account> {
        self.accounts.values_mut().map(|(account, _)| account).find(|account| account.id == id)
    }
}
