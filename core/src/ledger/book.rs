//! A [`Book`]: an account open for one command. It writes entries and collects what must be stored.
//!
//! What happens to the wallet is told to [`super::note`], which writes the entries of it. Every change of an account
//! goes through here, so entry numbers, running totals and hashes cannot disagree with
//! the blocks. Used by [`super::apply`] and the modules that it calls.

use std::collections::BTreeSet;

use crate::catalogue::Catalogue;
use crate::credits::{AmountOutOfRange, Credits};
use crate::ids::{BlockId, ReservationId};
use crate::ledger::account::Account;
use crate::ledger::advance::{catch_up, pass};
use crate::ledger::block::Block;
use crate::ledger::command::{Command, Request};
use crate::ledger::entry::{Allocation, Entry, EntryBody, Hash};
use crate::ledger::event::{Event, EventKind};
use crate::ledger::hold::Hold;
use crate::ledger::invariants;
use crate::ledger::mint::IdMint;
use crate::ledger::motion::Motion;
use crate::ledger::outcome::Standing;
use crate::ledger::refusal::Refusal;
use crate::ledger::topup::Topup;
use crate::ledger::wallet::{Settlement, Wallet};
use crate::limits::LIVE_BLOCKS_MAX;
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
    pub(super) catalogue: &'a Catalogue,
    now: Timestamp,
    /// How much `effects` held before this command.
    written_before: usize,
    /// Whether time moves, and not the command: what it makes has ids of its own.
    pub(super) is_opening: bool,
}

impl<'a> Book<'a> {
    /// Opens the account at the request's instant: what time alone did until then is written first.
    pub(crate) fn open(
        account: &'a mut Account,
        catalogue: &'a Catalogue,
        request: &'a Request,
        effects: &'a mut Effects,
    ) -> Self {
        let now = request.now.max(account.wallet.time);
        let ids = IdMint::new(now, request.seed, account.end_user_id.bucket());
        let mut wallet = std::mem::take(&mut account.wallet);
        let time_before = wallet.time;
        let written_before = effects.written();
        let is_opening = true;
        let mut book = Self { account, effects, ids, request, catalogue, now, written_before, is_opening };
        book.pass_until_now(&mut wallet);
        if request.command != Command::Advance {
            // Somebody is there. Whoever only writes down what is due is nobody.
            catch_up(&mut wallet, catalogue, &mut |wallet, at, step| book.note(wallet, at, step));
        }
        // What is used up and over by now leaves: nothing else writes that.
        let has_left = |block: &&Block| block.is_live(time_before) && !block.is_live(now);
        book.effects.blocks.extend(wallet.lots.iter().filter(has_left).map(|block| block.id));
        let periods = wallet.tier_windows();
        wallet.counters.forget_closed(now, &periods);
        book.account.wallet = wallet;
        book.is_opening = false;
        book
    }

    /// Writes down all instants up to the command's, and sends the summaries that were due between them.
    fn pass_until_now(&mut self, wallet: &mut Wallet<Block>) {
        let (now, catalogue) = (self.now, self.catalogue);
        loop {
            let due = wallet.next_due().filter(|at| *at <= now);
            let summary = self.account.tallies.next_due().filter(|at| *at <= now);
            match (due, summary) {
                (None, None) => break,
                (None, Some(at)) => self.send_summaries(at),
                (Some(due), Some(at)) if at < due => self.send_summaries(at),
                (Some(at), _) => pass(wallet, catalogue, at, &mut |wallet, at, step| self.note(wallet, at, step)),
            }
        }
        wallet.time = wallet.time.max(now);
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
    pub(crate) fn close(mut self) {
        // Of a period that the command has ended, if nothing is waited for.
        self.send_summaries(self.now);
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
        self.in_motion(|motion| {
            motion.tell_clawed_back(clawed_back);
            motion.finish();
        });
    }

    /// Has subscriptions move by `order`, and lets follow what follows. Refuses before anything changes.
    pub(crate) fn carry_out(
        &mut self,
        order: impl Fn(&mut Motion<'_, Block>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        // First on a copy that nobody writes down: what comes of it may be out of range.
        let mut copy = self.account.wallet.clone();
        let mut trial = |_: &mut Wallet<Block>, _, _| {};
        let mut motion = Motion::new(&mut copy, self.catalogue, &mut trial);
        order(&mut motion)?;
        motion.run_subscriptions();
        motion.finish();
        if motion.was_cut {
            return Err(AmountOutOfRange.into());
        }
        if copy.lots.iter().filter(|block| block.lot.remaining.is_positive()).count() > LIVE_BLOCKS_MAX {
            return Err(Refusal::TooManyBlocks);
        }
        self.in_motion(|motion| {
            order(motion)?;
            motion.run_subscriptions();
            motion.finish();
            Ok(())
        })
    }

    /// Moves the wallet and writes each step down.
    fn in_motion<T>(&mut self, work: impl FnOnce(&mut Motion<'_, Block>) -> T) -> T {
        let mut wallet = std::mem::take(&mut self.account.wallet);
        let catalogue = self.catalogue;
        let done = work(&mut Motion::new(&mut wallet, catalogue, &mut |wallet, at, step| self.note(wallet, at, step)));
        self.account.wallet = wallet;
        done
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
}

/// What a hold that is closed gives back, as changes of `held`.
pub(crate) fn given_back(wallet: &Wallet<Block>, hold: &Hold) -> Vec<Allocation> {
    hold.parts.iter().map(|part| Allocation::of_held(wallet.lots[part.lot].id, -part.amount)).collect()
}

/// The place in its tier window that a hold that is closed gives back.
pub(crate) fn uncounted(hold: &Hold) -> Option<(crate::ledger::counter::CounterKey, i64)> {
    hold.counted.as_ref().map(|(key, units)| (key.clone(), -units.get()))
}
