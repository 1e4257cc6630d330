//! A [`Book`]: an account open for one command. It writes entries and collects what must be stored.
//!
//! Every change of an account goes through here, so entry numbers, running totals and hashes cannot disagree with
//! the blocks. Used by [`super::apply`] only.

use std::collections::BTreeSet;

use crate::credits::{AmountOutOfRange, Credits};
use crate::ids::BlockId;
use crate::ledger::account::Account;
use crate::ledger::advance::{Instant, advance};
use crate::ledger::block::Block;
use crate::ledger::command::{IdMint, Request};
use crate::ledger::entry::{Allocation, Cause, Entry, EntryBody, EntryKind, Hash};
use crate::ledger::event::{Event, EventKind};
use crate::ledger::wallet::Wallet;
use crate::subscription::Subscription;
use crate::time::Timestamp;

/// What a command leaves behind, beside the account itself, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// New entries.
    pub entries: Vec<Entry>,
    /// New events.
    pub events: Vec<Event>,
    /// Blocks that were made or changed.
    pub blocks: BTreeSet<BlockId>,
    /// Subscriptions that were made or changed, with their state.
    pub subscriptions: Vec<Subscription>,
}

impl Effects {
    /// Whether anything was written.
    pub fn is_empty(&self) -> bool {
        self.written() == 0
    }

    fn written(&self) -> usize {
        self.entries.len() + self.events.len() + self.subscriptions.len()
    }
}

pub(crate) struct Book<'a> {
    pub(crate) account: &'a mut Account,
    pub(crate) effects: &'a mut Effects,
    pub(crate) ids: IdMint,
    pub(crate) request: &'a Request,
    now: Timestamp,
    /// How much `effects` held before this command.
    written_before: usize,
}

impl<'a> Book<'a> {
    /// Opens the account at the request's instant: what time alone did until then is written first.
    pub(crate) fn open(account: &'a mut Account, request: &'a Request, effects: &'a mut Effects) -> Self {
        let now = request.now.max(account.wallet.time);
        let ids = IdMint::new(now, request.seed, account.end_user_id.bucket());
        let mut wallet = std::mem::take(&mut account.wallet);
        let written_before = effects.written();
        let mut book = Self { account, effects, ids, request, now, written_before };
        advance(&mut wallet, now, |wallet, instant| book.write_instant(wallet, instant));
        book.account.wallet = wallet;
        book
    }

    /// The instant of the command: the request's, or the account's time if a clock went back.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Ends a command: the version rises if anything was written.
    pub(crate) fn close(self) {
        if self.effects.written() > self.written_before {
            self.account.version += 1;
        }
        debug_assert_eq!(self.account.totals, self.account.wallet.totals(), "entries add up to the blocks");
    }

    /// Appends an entry and moves the running totals; `debt` is the signed change of open debt.
    pub(crate) fn write(&mut self, body: EntryBody, debt: Credits) -> u64 {
        let account = &mut *self.account;
        account.seq += 1;
        account.totals.balance += body.amount;
        account.totals.debt += debt;
        account.totals.available = account.totals.balance - account.totals.reserved;
        let mut entry = Entry {
            seq: account.seq,
            body,
            balance_after: account.totals.balance,
            reserved_after: account.totals.reserved,
            debt_after: account.totals.debt,
            recorded_at: self.now,
            actor: self.request.actor,
            prev_hash: account.last_hash,
            hash: Hash::ZERO,
        };
        entry.hash = entry.computed_hash(account.id);
        account.last_hash = entry.hash;
        self.effects.blocks.extend(entry.body.allocations.iter().map(|allocation| allocation.block_id));
        self.effects.entries.push(entry);
        account.seq
    }

    pub(crate) fn announce(&mut self, at: Timestamp, kind: EventKind) {
        let id = self.ids.next_event_id();
        self.effects.events.push(Event { id, at, kind });
    }

    /// Refuses an amount that would take the sum of `remaining` out of range.
    pub(crate) fn check_room_for(&self, amount: Credits) -> Result<(), AmountOutOfRange> {
        let remaining: Credits = self.account.wallet.lots.iter().map(|block| block.lot.remaining).sum();
        remaining.checked_add(amount).map(|_| ())
    }

    /// Free credit pays open debts, and the entry says so.
    pub(crate) fn settle(&mut self) {
        let mut wallet = std::mem::take(&mut self.account.wallet);
        let settled = wallet.settle();
        let instant = Instant { at: wallet.time, settled, ..Instant::default() };
        self.write_instant(&mut wallet, instant);
        self.account.wallet = wallet;
    }

    fn write_instant(&mut self, wallet: &mut Wallet<Block>, instant: Instant) {
        let at = instant.at;
        for subscription in instant.ended {
            self.effects.subscriptions.push(subscription.clone());
            self.announce(at, EventKind::SubscriptionExpired { subscription });
        }
        if !instant.expired.is_empty() {
            for (index, amount) in &instant.expired {
                let block = &mut wallet.lots[*index];
                block.expired += *amount;
                let block_id = block.id;
                self.announce(at, EventKind::CreditsExpired { block_id, amount: *amount });
            }
            let allocations = allocations(wallet, instant.expired.iter().map(|(index, amount)| (*index, -*amount)));
            self.write(time_entry(EntryKind::Expire, allocations, at), Credits::ZERO);
        }
        if !instant.started.is_empty() {
            let amount = instant.started.iter().map(|(_, amount)| *amount).sum();
            // A start makes credit count; no block's `remaining` changes.
            let body = EntryBody { amount, ..time_entry(EntryKind::Start, Vec::new(), at) };
            self.write(body, Credits::ZERO);
        }
        if !instant.settled.is_empty() {
            let paid: Credits = instant.settled.iter().map(|settlement| settlement.amount).sum();
            let mut allocations = allocations(wallet, instant.settled.iter().map(|part| (part.lot, -part.amount)));
            for (allocation, settlement) in allocations.iter_mut().zip(instant.settled) {
                allocation.feature_key = settlement.feature;
            }
            let body = EntryBody { amount: Credits::ZERO, ..time_entry(EntryKind::DebtSettled, allocations, at) };
            self.write(body, -paid);
        }
    }
}

pub(crate) fn allocations(wallet: &Wallet<Block>, parts: impl Iterator<Item = (usize, Credits)>) -> Vec<Allocation> {
    parts.map(|(index, amount)| Allocation::of(wallet.lots[index].id, amount)).collect()
}

fn time_entry(kind: EntryKind, allocations: Vec<Allocation>, at: Timestamp) -> EntryBody {
    let amount = allocations.iter().map(|allocation| allocation.amount).sum();
    EntryBody { kind, amount, allocations, granted: Vec::new(), cause: Cause::Time, effective_at: at }
}
