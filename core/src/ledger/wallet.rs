//! A [`Wallet`]: credit in burn order, holds, debts, tier counters, and the instant up to which time has been applied.
//!
//! The one form over which time passes and credit burns, for both the ledger (blocks) and what is published of it
//! (tranches). Invariants: lots are in burn order; no open debt stands beside free credit that may pay it.

use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::entitlement::terms::Override;
use crate::ids::FeatureKey;
use crate::ledger::block::{Ending, Exit, HasLot, Lot};
use crate::ledger::counter::Counters;
use crate::ledger::debt::{DebtOf, Debts};
use crate::ledger::hold::{HeldPart, Hold};
use crate::ledger::rollover::Rollovers;
use crate::subscription::given::Given;
use crate::subscription::past::Past;
use crate::subscription::state::Subscription;
use crate::time::Timestamp;

/// What an account owns and owes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wallet<L> {
    /// All that time does has been applied up to this instant.
    pub time: Timestamp,
    /// In burn order.
    pub lots: Vec<L>,
    /// Open holds, in order of their reservations' ids.
    pub holds: Vec<Hold>,
    /// Open debts.
    pub debts: Debts,
    /// How far tier windows are.
    pub counters: Counters,
    /// Subscriptions that are not over, in order of their ids.
    pub subscriptions: Vec<Subscription>,
    /// What was subscribed to before.
    pub past: Past,
    /// What plans gave that is given only once.
    pub given: Given,
    /// What has rolled over, for as long as more may follow.
    pub rollovers: Rollovers,
    /// The end user's own terms, also those that are over.
    pub overrides: Vec<Override>,
}

impl<L> Default for Wallet<L> {
    fn default() -> Self {
        Self {
            time: Timestamp::default(),
            lots: Vec::new(),
            holds: Vec::new(),
            debts: Debts::default(),
            counters: Counters::default(),
            subscriptions: Vec::new(),
            past: Past::default(),
            given: Given::default(),
            rollovers: Rollovers::default(),
            overrides: Vec::new(),
        }
    }
}

/// Sums over a wallet, in the smallest credit unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// What counts, less debts.
    pub balance: Credits,
    /// What open holds have set aside.
    pub reserved: Credits,
    /// `balance` less `reserved`; may be below 0.
    pub available: Credits,
    /// Open debt.
    pub debt: Credits,
}

/// Credit taken from one lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Index of the lot.
    pub lot: usize,
    /// How much.
    pub amount: Credits,
    /// Whether it had expired since and was brought back for late usage.
    pub revived: bool,
}

/// Credit of one lot that paid a debt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Index of the lot.
    pub lot: usize,
    /// Which debt.
    pub of: DebtOf,
    /// How much.
    pub amount: Credits,
}

/// Free credit that left a lot because the lot is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaving {
    /// Index of the lot.
    pub lot: usize,
    /// How much.
    pub amount: Credits,
    /// Why.
    pub exit: Exit,
}

impl<L: HasLot> Wallet<L> {
    /// Sums over everything.
    pub fn totals(&self) -> Totals {
        self.totals_of(|_| true, self.debts.total())
    }

    /// Sums over the credit that may pay for `feature`, and its own debt.
    pub fn feature_totals(&self, feature: &FeatureKey) -> Totals {
        self.totals_of(|lot| lot.lot().pays_for(feature), self.debts.amount_of_feature(feature))
    }

    fn totals_of(&self, counts_lot: impl Fn(&L) -> bool, debt: Credits) -> Totals {
        let (mut counted, mut reserved) = (Credits::ZERO, Credits::ZERO);
        for lot in self.lots.iter().filter(|lot| counts_lot(lot)) {
            counted += lot.lot().counted(self.time);
            reserved += lot.lot().held;
        }
        let balance = counted - debt;
        Totals { balance, reserved, available: balance - reserved, debt }
    }

    /// What a charge for `feature` can take now.
    pub fn spendable(&self, feature: &FeatureKey) -> Credits {
        self.spendable_for(feature, self.time)
    }

    /// What a charge that counts at `effective_at` can take now: also what was usable then and has expired since.
    pub fn spendable_for(&self, feature: &FeatureKey, effective_at: Timestamp) -> Credits {
        self.payers(feature, effective_at).map(|taken| taken.amount).sum()
    }

    /// The lots that a charge for `feature` can take from now, in the order in which it does, each with what it has.
    pub fn payers_now(&self, feature: &FeatureKey) -> impl Iterator<Item = (&L, Credits)> {
        self.payers(feature, self.time).map(|taken| (&self.lots[taken.lot], taken.amount))
    }

    /// Takes up to `amount` for a charge that counts at `effective_at`: from the lots usable then, in burn order, also
    /// what they have lost to expiry since; then from the others usable now.
    pub fn burn(&mut self, feature: &FeatureKey, amount: Credits, effective_at: Timestamp) -> Vec<Taken> {
        let taken = up_to(amount, self.payers(feature, effective_at));
        for part in &taken {
            let lot = &mut self.lots[part.lot];
            if part.revived {
                lot.note_exit(Exit::Expired, -part.amount);
            } else {
                lot.lot_mut().remaining -= part.amount;
            }
        }
        taken
    }

    /// Sets up to `amount` aside for `feature`, in burn order.
    pub fn set_aside(&mut self, feature: &FeatureKey, amount: Credits) -> Vec<HeldPart> {
        let taken = up_to(amount, self.payers(feature, self.time));
        for part in &taken {
            self.lots[part.lot].lot_mut().held += part.amount;
        }
        taken.into_iter().map(|part| HeldPart { lot: part.lot, amount: part.amount }).collect()
    }

    /// Who pays for a charge that counts at `effective_at`, in order, each with all it has.
    fn payers(&self, feature: &FeatureKey, effective_at: Timestamp) -> impl Iterator<Item = Taken> {
        let is_late = effective_at < self.time;
        let paying = move || self.lots.iter().enumerate().filter(|(_, lot)| lot.lot().pays_for(feature));
        let was_usable = move |lot: &L| lot.lot().has_started(effective_at) && !lot.lot().has_expired(effective_at);
        let usable_then = paying().filter(move |(_, lot)| is_late && was_usable(lot)).map(|(index, lot)| {
            let revived = lot.lot().has_expired(self.time);
            let amount = match (revived, lot.lot().ended) {
                (_, Some(_)) => Credits::ZERO,
                (true, None) => lot.expired(),
                (false, None) => lot.lot().free(),
            };
            Taken { lot: index, amount, revived }
        });
        let usable_now = paying()
            .filter(move |(_, lot)| lot.lot().is_usable(self.time) && !(is_late && was_usable(lot)))
            .map(|(index, lot)| Taken { lot: index, amount: lot.lot().free(), revived: false });
        usable_then.chain(usable_now).filter(|taken| taken.amount.is_positive())
    }

    /// What open holds for `feature` could not set aside.
    pub fn uncovered(&self, feature: &FeatureKey) -> Credits {
        self.holds.iter().filter(|hold| hold.feature_key == *feature).map(|hold| hold.uncovered).sum()
    }

    /// Puts a lot at its place: after all that burn before it or are granted earlier.
    pub fn insert(&mut self, lot: L) -> usize {
        let index = self.lots.partition_point(|other| other.lot().burn_order(lot.lot()).is_le());
        self.insert_at(index, lot);
        index
    }

    /// Makes a lot at `at`, granted after all that are there, and puts it at its place.
    pub(super) fn make(&mut self, lot: Lot, at: Timestamp) -> usize {
        let latest = self.lots.iter().map(HasLot::granting).max();
        self.insert(L::made(lot, at, latest))
    }

    /// Puts a lot at `index`; holds go on naming the lots that they named.
    pub(super) fn insert_at(&mut self, index: usize, lot: L) {
        self.lots.insert(index, lot);
        for part in self.holds.iter_mut().flat_map(|hold| &mut hold.parts) {
            if part.lot >= index {
                part.lot += 1;
            }
        }
    }

    /// Puts lots whose ends have moved at their places.
    pub(super) fn reorder(&mut self) {
        let mut order: Vec<usize> = (0..self.lots.len()).collect();
        order.sort_by(|one, other| self.lots[*one].full_order(&self.lots[*other]));
        let mut places = vec![0; order.len()];
        for (place, lot) in order.iter().enumerate() {
            places[*lot] = place;
        }
        let mut lots: Vec<(usize, L)> = places.iter().copied().zip(self.lots.drain(..)).collect();
        lots.sort_by_key(|(place, _)| *place);
        self.lots.extend(lots.into_iter().map(|(_, lot)| lot));
        for part in self.holds.iter_mut().flat_map(|hold| &mut hold.parts) {
            part.lot = places[part.lot];
        }
    }

    /// How much of `lot` its accumulation cap leaves room for, beside the usable lots that share it.
    pub(super) fn room_under_cap(&self, lot: &Lot, cap: Option<Credits>) -> Credits {
        let usable = self.lots.iter().map(HasLot::lot).filter(|other| other.is_usable(self.time));
        let there: Credits = usable.filter(|other| other.shares_cap(lot)).map(|other| other.remaining).sum();
        cap.map_or(lot.remaining, |cap| (cap - there).max(Credits::ZERO).min(lot.remaining))
    }

    /// Drops all lots but those that `is_kept` names; holds go on naming the lots that they named.
    pub(super) fn keep_lots(&mut self, is_kept: impl Fn(&L) -> bool) {
        if self.lots.iter().all(&is_kept) {
            return;
        }
        let mut places = Vec::with_capacity(self.lots.len());
        let mut kept = 0;
        for lot in &self.lots {
            places.push(kept);
            kept += usize::from(is_kept(lot));
        }
        self.lots.retain(is_kept);
        for part in self.holds.iter_mut().flat_map(|hold| &mut hold.parts) {
            part.lot = places[part.lot];
        }
    }

    /// Adds a subscription at its place.
    pub(crate) fn add_subscription(&mut self, subscription: Subscription) {
        let index = self.subscriptions.partition_point(|other| other.id < subscription.id);
        self.subscriptions.insert(index, subscription);
    }

    /// Adds a hold at its place.
    pub(super) fn open_hold(&mut self, hold: Hold) {
        let index = self.holds.partition_point(|other| other.id < hold.id);
        self.holds.insert(index, hold);
    }

    /// Gives back what a closed hold still held, and its place in its tier window. What claw-backs take of it.
    pub(crate) fn give_back(&mut self, hold: &Hold) -> Vec<Settlement> {
        for part in &hold.parts {
            self.lots[part.lot].lot_mut().held -= part.amount;
        }
        if let Some((key, units)) = &hold.counted {
            self.counters.add(key, -units.get());
        }
        self.claw_back(hold.parts.iter().map(|part| (part.lot, part.amount)))
    }

    /// Credit that has come back to lots, named in burn order, first pays what refunds of these lots made owed.
    pub(super) fn claw_back(&mut self, returned: impl IntoIterator<Item = (usize, Credits)>) -> Vec<Settlement> {
        let mut paid = Vec::new();
        for (index, amount) in returned {
            let lot = self.lots[index].lot_mut();
            let amount = self.debts.lower(&DebtOf::Correction, amount.min(lot.claw_back));
            if amount.is_positive() {
                lot.pay(&DebtOf::Correction, amount);
                paid.push(Settlement { lot: index, of: DebtOf::Correction, amount });
            }
        }
        paid
    }

    /// Free credit leaves lots that are over.
    pub fn sweep(&mut self) -> Vec<Leaving> {
        let mut leaving = Vec::new();
        for (index, lot) in self.lots.iter_mut().enumerate() {
            let amount = lot.lot().free();
            if !lot.lot().has_ended(self.time) || !amount.is_positive() {
                continue;
            }
            lot.lot_mut().remaining -= amount;
            let exit = match lot.lot().ended {
                None => Exit::Expired,
                Some(Ending::Voided) => Exit::Voided,
                Some(Ending::Refunded) => Exit::Refunded,
            };
            lot.note_exit(exit, amount);
            leaving.push(Leaving { lot: index, amount, exit });
        }
        leaving
    }

    /// Free credit pays the debts it may pay: lots in burn order, the oldest debt first.
    pub fn settle(&mut self) -> Vec<Settlement> {
        let mut settled = Vec::new();
        for (index, lot) in self.lots.iter_mut().enumerate() {
            if self.debts.is_empty() {
                break;
            }
            if lot.lot().is_usable(self.time) {
                let paid = self.debts.pay_from(lot.lot_mut()).into_iter();
                settled.extend(paid.map(|(of, amount)| Settlement { lot: index, of, amount }));
            }
        }
        settled
    }
}

/// The first of `payers` that together have `amount`, the last one with what is missing.
pub(super) fn up_to(amount: Credits, payers: impl Iterator<Item = Taken>) -> Vec<Taken> {
    let mut left = amount;
    let mut taken = Vec::new();
    for payer in payers {
        if !left.is_positive() {
            break;
        }
        let part = payer.amount.min(left);
        left -= part;
        taken.push(Taken { amount: part, ..payer });
    }
    taken
}
