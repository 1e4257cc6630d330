//! What happens to a wallet, as entries and events: each [`Step`] is written down here.

use crate::credits::Credits;
use crate::ids::{BlockId, SubscriptionId};
use crate::ledger::block::{Block, Ending, Exit, id_of_made};
use crate::ledger::book::{Book, given_back, uncounted};
use crate::ledger::entry::{Allocation, Cause, EntryBody, EntryKind, GrantedBlock};
use crate::ledger::event::EventKind;
use crate::ledger::hold::Hold;
use crate::ledger::reservation::ReservationStatus;
use crate::ledger::step::{NewLot, Rolled, Step};
use crate::ledger::wallet::{Leaving, Settlement, Wallet};
use crate::subscription::machine::Happening;
use crate::subscription::{Subscription, SubscriptionStatus};
use crate::time::Timestamp;

impl Book<'_> {
    /// Writes down what has happened to the wallet at an instant.
    pub(super) fn note(&mut self, wallet: &mut Wallet<Block>, at: Timestamp, step: Step) {
        match step {
            Step::HoldExpired(hold) => self.note_expired_hold(wallet, &hold, at),
            Step::ClawedBack(paid) | Step::Settled(paid) => self.note_settled(wallet, paid, at),
            Step::Moved { before, after, happening } => self.note_moved(before, after, happening, at),
            Step::Turned(subscription) => self.effects.subscriptions.push(*subscription),
            Step::TermEnding { subscription, renews } => {
                self.announce(at, EventKind::ContractEnding { subscription, renews });
            }
            Step::Rescheduled { subscription_id, lots, how } => {
                let allocations = lots.iter().map(|lot| Allocation::of(wallet.lots[*lot].id, Credits::ZERO)).collect();
                let cause = Cause::Subscription(subscription_id);
                let reschedule = Some(how);
                self.write(EntryBody { allocations, reschedule, ..EntryBody::new(EntryKind::Reschedule, cause, at) });
            }
            Step::Withdrawn { subscription_id, parts, ends } => {
                self.note_withdrawn(wallet, subscription_id, &parts, ends, at);
            }
            Step::Billed { subscription_id, debts } => {
                for (feature_key, amount) in &debts {
                    self.account.settled.push_billed(feature_key.clone(), *amount);
                }
                self.account.tallies.bill(subscription_id, &debts);
                let amount = debts.iter().map(|(_, amount)| *amount).sum();
                let cause = Cause::Subscription(subscription_id);
                let billed = debts.clone();
                self.write(EntryBody { amount, billed, ..EntryBody::new(EntryKind::DebtBilled, cause, at) });
                self.announce(at, EventKind::DebtBilled { subscription_id, debts });
            }
            Step::Rolled(rolled) => self.note_rolled(wallet, &rolled, at),
            Step::Left(leaving) => {
                for exit in [Exit::Expired, Exit::Voided, Exit::Refunded] {
                    self.note_leaving(wallet, leaving.iter().filter(|leaving| leaving.exit == exit), exit, at);
                }
            }
            Step::Started(started) => {
                let amount = started.iter().map(|(_, amount)| *amount).sum();
                // A start makes credit count; no block's `remaining` changes.
                self.write(EntryBody { amount, ..EntryBody::new(EntryKind::Start, Cause::Time, at) });
            }
            Step::Granted { subscription_id, lots } => self.note_granted(wallet, subscription_id, lots, at),
        }
    }

    fn note_moved(
        &mut self,
        before: Option<Box<Subscription>>,
        after: Box<Subscription>,
        happening: Option<Happening>,
        at: Timestamp,
    ) {
        self.effects.subscriptions.push(Subscription::clone(&after));
        self.follow_period(before.as_deref(), &after, at);
        if after.status.is_over() {
            self.account.ended.push(Subscription::clone(&after));
        }
        let subscription = after;
        let kind = match (before.zip(happening), subscription.status) {
            (None, _) => EventKind::SubscriptionCreated { subscription },
            (Some((before, happening)), SubscriptionStatus::Canceled) => {
                EventKind::SubscriptionCanceled { subscription, before, happening }
            }
            (Some((before, happening)), SubscriptionStatus::Expired) => {
                EventKind::SubscriptionExpired { subscription, before, happening }
            }
            (Some((before, happening)), _) => EventKind::SubscriptionUpdated { subscription, before, happening },
        };
        self.announce(at, kind);
    }

    fn note_expired_hold(&mut self, wallet: &Wallet<Block>, hold: &Hold, at: Timestamp) {
        let reservation = self.account.reservation_mut(hold.id).expect("an open hold has its reservation");
        reservation.close(ReservationStatus::Expired, at);
        let (cause, lease) = (reservation.cause(), reservation.lease.clone());
        self.effects.reservations.insert(hold.id);
        self.write(EntryBody {
            allocations: given_back(wallet, hold),
            counted: uncounted(hold),
            ..EntryBody::new(EntryKind::HoldExpired, cause, at)
        });
        let amount = hold.held();
        self.announce(
            at,
            match lease {
                Some(lease) => {
                    EventKind::LeaseAbandoned { lease_id: hold.id, sidecar_id: lease.holder.sidecar_id, amount }
                }
                None => EventKind::ReservationExpired { reservation_id: hold.id, amount },
            },
        );
    }

    fn note_withdrawn(
        &mut self,
        wallet: &Wallet<Block>,
        subscription_id: SubscriptionId,
        parts: &[(usize, Credits)],
        ends: bool,
        at: Timestamp,
    ) {
        let mut allocations = Vec::with_capacity(parts.len());
        for (lot, amount) in parts {
            let block_id = wallet.lots[*lot].id;
            allocations.push(Allocation::of(block_id, -*amount));
            if amount.is_positive() {
                self.announce(at, EventKind::CreditsWithdrawn { block_id, amount: *amount });
            }
        }
        let amount = allocations.iter().map(|part| part.amount).sum();
        let ends = ends.then_some(Ending::Voided);
        let cause = Cause::Subscription(subscription_id);
        self.write(EntryBody { amount, allocations, ends, ..EntryBody::new(EntryKind::Withdraw, cause, at) });
    }

    fn note_rolled(&mut self, wallet: &mut Wallet<Block>, rolled: &[Rolled], at: Timestamp) {
        let seq = self.account.seq + 1;
        let mut allocations = Vec::with_capacity(2 * rolled.len());
        let mut granted = Vec::new();
        for Rolled { from, to, amount, is_new } in rolled {
            allocations.push(Allocation::of(wallet.lots[*from].id, -*amount));
            if *is_new {
                let place = granted.len();
                let id = self.name_made(&mut wallet.lots[*to], seq, place);
                // More may have moved into it in this very step: that follows as allocations.
                let mut lot = wallet.lots[*to].lot.clone();
                lot.remaining = *amount;
                granted.push(GrantedBlock { id, lot, trimmed: Credits::ZERO });
            }
            allocations.push(Allocation::of(wallet.lots[*to].id, *amount));
        }
        self.write(EntryBody { allocations, granted, ..EntryBody::new(EntryKind::Rollover, Cause::Time, at) });
    }

    fn note_granted(
        &mut self,
        wallet: &mut Wallet<Block>,
        subscription_id: SubscriptionId,
        lots: Vec<NewLot>,
        at: Timestamp,
    ) {
        let seq = self.account.seq + 1;
        let mut granted = Vec::with_capacity(lots.len());
        let mut allocations = Vec::new();
        for NewLot { place, lot, trimmed } in lots {
            let amount = lot.remaining;
            let id = match place {
                Some(index) => self.name_made(&mut wallet.lots[index], seq, granted.len()),
                // What time makes may be written before or after a command runs again: it takes none of its ids.
                None if self.is_opening => id_of_made(&lot, at),
                None => BlockId::from_uuid(self.ids.next_uuid()),
            };
            if place.is_some() {
                allocations.push(Allocation::of(id, amount));
                self.announce(at, EventKind::CreditsGranted { block_id: id, amount });
            }
            granted.push(GrantedBlock { id, lot, trimmed });
        }
        let amount: Credits = allocations.iter().map(|part| part.amount).sum();
        self.account.lifetime_granted = (self.account.lifetime_granted + amount).min(Credits::MAX);
        let cause = Cause::Subscription(subscription_id);
        self.write(EntryBody { amount, allocations, granted, ..EntryBody::new(EntryKind::Grant, cause, at) });
    }

    /// Gives a block that was just made its place in the order of granting, and one of the command's ids unless time
    /// made it.
    fn name_made(&mut self, block: &mut Block, seq: u64, place: usize) -> BlockId {
        block.granted = (seq, u16::try_from(place).expect("a variant has few templates"));
        if !self.is_opening {
            block.id = BlockId::from_uuid(self.ids.next_uuid());
        }
        block.id
    }

    fn note_leaving<'l>(
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

    fn note_settled(&mut self, wallet: &Wallet<Block>, settled: Vec<Settlement>, at: Timestamp) {
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
