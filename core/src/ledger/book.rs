//! A [`Book`]: an account open for one command. It writes entries and collects what must be stored.
//!
//! Every change of an account goes through here, so entry numbers, running totals and hashes cannot disagree with
//! the blocks. Used by [`super::apply`] and the modules that it calls.

use std::collections::BTreeSet;

use crate::credits::{AmountOutOfRange, Credits};
use crate::ids::{BlockId, ReservationId};
use crate::ledger::account::Account;
use crate::ledger::advance::{Instant, advance};
use crate::ledger::block::{Block, Exit};
use crate::ledger::command::Request;
use crate::ledger::entry::{Allocation, Cause, Entry, EntryBody, EntryKind, Hash};
use crate::ledger::event::{Event, EventKind};
use crate::ledger::hold::Hold;
use crate::ledger::invariants;
use crate::ledger::mint::IdMint;
use crate::ledger::outcome::Standing;
use crate::ledger::reservation::ReservationStatus;
use crate::ledger::topup::Topup;
use crate::ledger::wallet::{Leaving, Settlement, Wallet};
use crate::subscription::Subscription;
use crate::time::Timestamp;

/// What a command leaves behind, beside the account itself, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Effects {
    /// New entries.
    pub entries: Vec<Entry>,
    /// Why people made some of them: `seq`, and their words. They are not in the chain, so that they can be erased.
    pub reasons: Vec<(u64, String)>,
    /// New events.
    pub events: Vec<Event>,
    /// Blocks that were made or changed.
    pub blocks: BTreeSet<BlockId>,
    /// Reservations that were made or changed.
    pub reservations: BTreeSet<ReservationId>,
    /// Top-ups that were made or changed, with their state.
    pub topups: Vec<Topup>,
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
        wallet.counters.forget_closed(now);
        book.account.wallet = wallet;
        book
    }

    /// The instant of the command: the request's, or the account's time if a clock went back.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// The account as it stands; its version is known only when the command is over.
    pub(crate) fn standing(&self) -> Standing {
        Standing { totals: self.account.totals, version: self.account.version, now: self.now }
    }

    /// Whether this command has left no more than one announcement.
    pub(crate) fn wrote_nothing_else(&self) -> bool {
        self.effects.written() == self.written_before + 1
    }

    /// Ends a command: the version rises if anything was written.
    pub(crate) fn close(self) {
        if self.effects.written() > self.written_before {
            self.account.version += 1;
        }
        debug_assert_eq!(invariants::check(self.account), Ok(()), "the invariants hold after every command");
    }

    /// Appends an entry and moves the running totals.
    pub(crate) fn write(&mut self, body: EntryBody) -> u64 {
        let account = &mut *self.account;
        account.seq += 1;
        account.totals.balance += body.amount;
        account.totals.reserved += body.reserved_change();
        account.totals.debt += body.debt_change();
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

    /// Notes why a person made the last entry.
    pub(crate) fn give_reason(&mut self, reason: &str) {
        self.effects.reasons.push((self.account.seq, reason.to_owned()));
    }

    /// Adds the debt that `body` speaks of, if it is more than nothing, and where it rose from 0 its event.
    pub(crate) fn owe(&mut self, body: EntryBody, notify: bool) {
        let (of, amount) = body.owed.clone().expect("a debt says what is owed");
        if !amount.is_positive() {
            return;
        }
        let seq = self.write(body);
        let feature_key = of.feature().cloned();
        if self.account.wallet.debts.raise(of, amount, seq) {
            self.announce(self.now, EventKind::CreditsOverdrawn { feature_key, debt: amount, notify });
        }
    }

    /// Refuses an amount that would take the sum of `remaining` out of range.
    pub(crate) fn check_room_for(&self, amount: Credits) -> Result<(), AmountOutOfRange> {
        let remaining: Credits = self.account.wallet.lots.iter().map(|block| block.lot.remaining).sum();
        remaining.checked_add(amount).map(|_| ())
    }

    /// After credit came free, of which claw-backs have taken `clawed_back`: what belongs to blocks that are over
    /// leaves them, the rest pays open debts.
    pub(crate) fn after_return(&mut self, clawed_back: Vec<Settlement>) {
        let mut wallet = std::mem::take(&mut self.account.wallet);
        let leaving = wallet.sweep();
        let settled = wallet.settle();
        let instant = Instant { at: wallet.time, clawed_back, leaving, settled, ..Instant::default() };
        self.write_instant(&mut wallet, instant);
        self.account.wallet = wallet;
    }

    /// Stores a top-up's new state.
    pub(crate) fn save_topup(&mut self, topup: Topup) {
        self.account.topups.retain(|other| other.id != topup.id);
        self.account.topups.push(topup.clone());
        self.effects.topups.push(topup);
    }

    /// Keeps what a reservation says of its hold in step with the hold itself.
    pub(crate) fn note_hold(&mut self, id: ReservationId) {
        let hold = self.account.wallet.holds.iter().find(|hold| hold.id == id);
        let (held, uncovered) = hold.map_or((Credits::ZERO, Credits::ZERO), |hold| (hold.held(), hold.uncovered));
        let reservation = self.account.reservation_mut(id).expect("an open hold has its reservation");
        (reservation.held, reservation.uncovered) = (held, uncovered);
        self.effects.reservations.insert(id);
    }

    fn write_instant(&mut self, wallet: &mut Wallet<Block>, instant: Instant) {
        let at = instant.at;
        for hold in instant.holds {
            self.expire_hold(wallet, &hold, at);
        }
        for subscription in instant.ended {
            self.effects.subscriptions.push(subscription.clone());
            self.announce(at, EventKind::SubscriptionExpired { subscription });
        }
        self.write_settled(wallet, instant.clawed_back, at);
        for exit in [Exit::Expired, Exit::Voided, Exit::Refunded] {
            self.write_leaving(wallet, instant.leaving.iter().filter(|leaving| leaving.exit == exit), exit, at);
        }
        if !instant.started.is_empty() {
            let amount = instant.started.iter().map(|(_, amount)| *amount).sum();
            // A start makes credit count; no block's `remaining` changes.
            self.write(EntryBody { amount, ..EntryBody::new(EntryKind::Start, Cause::Time, at) });
        }
        self.write_settled(wallet, instant.settled, at);
    }

    fn expire_hold(&mut self, wallet: &Wallet<Block>, hold: &Hold, at: Timestamp) {
        let reservation = self.account.reservation_mut(hold.id).expect("an open hold has its reservation");
        reservation.close(ReservationStatus::Expired, at);
        let cause = reservation.cause();
        self.effects.reservations.insert(hold.id);
        self.write(EntryBody {
            allocations: given_back(wallet, hold),
            counted: uncounted(hold),
            ..EntryBody::new(EntryKind::HoldExpired, cause, at)
        });
        self.announce(at, EventKind::ReservationExpired { reservation_id: hold.id, amount: hold.held() });
    }

    fn write_leaving<'l>(
        &mut self,
        wallet: &Wallet<Block>,
        leaving: impl Iterator<Item = &'l Leaving>,
        exit: Exit,
        at: Timestamp,
    ) {
        let mut allocations = Vec::new();
        for Leaving { lot, amount, .. } in leaving {
            let (block, amount) = (&wallet.lots[*lot], *amount);
            allocations.push(Allocation::of(block.id, -amount));
            let block_id = block.id;
            if exit == Exit::Expired {
                self.account.last_expiry = self.account.last_expiry.max(block.lot.expires_at);
                self.announce(at, EventKind::CreditsExpired { block_id, amount });
            } else {
                self.announce(at, EventKind::CreditsWithdrawn { block_id, amount });
            }
        }
        if !allocations.is_empty() {
            let kind = match exit {
                Exit::Expired => EntryKind::Expire,
                Exit::Voided => EntryKind::Withdraw,
                Exit::Refunded => EntryKind::Refund,
            };
            let amount = allocations.iter().map(|part| part.amount).sum();
            self.write(EntryBody { amount, allocations, ..EntryBody::new(kind, Cause::Time, at) });
        }
    }

    fn write_settled(&mut self, wallet: &Wallet<Block>, settled: Vec<Settlement>, at: Timestamp) {
        if settled.is_empty() {
            return;
        }
        let allocations = settled.into_iter().map(|Settlement { lot, of, amount }| {
            let block_id = wallet.lots[lot].id;
            self.account.settled.push(of.clone(), block_id, amount);
            Allocation { debt: Some(of), ..Allocation::of(block_id, -amount) }
        });
        let allocations = allocations.collect();
        self.write(EntryBody { allocations, ..EntryBody::new(EntryKind::DebtSettled, Cause::Time, at) });
    }
}

/// What a hold that is closed gives back, as changes of `held`.
pub(crate) fn given_back(wallet: &Wallet<Block>, hold: &Hold) -> Vec<Allocation> {
    hold.parts.iter().map(|part| Allocation::of_held(wallet.lots[part.lot].id, -part.amount)).collect()
}

/// The place in its tier window that a hold that is closed gives back.
pub(crate) fn uncounted(hold: &Hold) -> Option<(crate::ledger::counter::CounterKey, i64)> {
    hold.counted.as_ref().map(|(key, units)| (key.clone(), -units.get()))
}
