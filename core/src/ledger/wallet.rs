//! A [`Wallet`]: credit in burn order, debts, and the instant up to which time has been applied.
//!
//! The one form over which time passes and credit burns, for both the ledger (blocks) and what is published of it
//! (tranches). Invariants: lots are in burn order; no open debt stands beside free credit that may pay it.

use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::ids::FeatureKey;
use crate::ledger::block::HasLot;
use crate::subscription::Subscription;
use crate::time::Timestamp;

/// Credit used beyond what there was, per feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// The feature; `None` for a debt from a correction.
    pub feature: Option<FeatureKey>,
    /// More than 0.
    pub amount: Credits,
    /// `seq` of the entry by which it last rose from 0: the smallest is settled first.
    pub since: u64,
}

/// What an account owns and owes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wallet<L> {
    /// All that time does has been applied up to this instant.
    pub time: Timestamp,
    /// In burn order.
    pub lots: Vec<L>,
    /// Open debts, in order of `since`.
    pub debts: Vec<Debt>,
    /// Subscriptions that are not over.
    pub subscriptions: Vec<Subscription>,
}

impl<L> Default for Wallet<L> {
    fn default() -> Self {
        Self { time: Timestamp::default(), lots: Vec::new(), debts: Vec::new(), subscriptions: Vec::new() }
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

impl<L: HasLot> Wallet<L> {
    /// Sums over everything.
    pub fn totals(&self) -> Totals {
        self.totals_of(|_| true, |_| true)
    }

    /// Sums over the credit that may pay for `feature`, and its own debt.
    pub fn feature_totals(&self, feature: &FeatureKey) -> Totals {
        self.totals_of(|lot| lot.lot().pays_for(feature), |debt| debt.feature.as_ref() == Some(feature))
    }

    fn totals_of(&self, counts_lot: impl Fn(&L) -> bool, counts_debt: impl Fn(&Debt) -> bool) -> Totals {
        let (mut counted, mut reserved) = (Credits::ZERO, Credits::ZERO);
        for lot in self.lots.iter().filter(|lot| counts_lot(lot)) {
            counted += lot.lot().counted(self.time);
            reserved += lot.lot().held;
        }
        let debt: Credits = self.debts.iter().filter(|debt| counts_debt(debt)).map(|debt| debt.amount).sum();
        let balance = counted - debt;
        Totals { balance, reserved, available: balance - reserved, debt }
    }

    /// What a charge for `feature` can take now.
    pub fn spendable(&self, feature: &FeatureKey) -> Credits {
        self.usable(feature).map(|(_, free)| free).sum()
    }

    /// Takes up to `amount` for `feature` in burn order: `(index of the lot, amount)` of each part.
    pub fn burn(&mut self, feature: &FeatureKey, amount: Credits) -> Vec<(usize, Credits)> {
        let mut left = amount;
        let mut taken = Vec::new();
        for (index, free) in self.usable(feature) {
            if !left.is_positive() {
                break;
            }
            let part = free.min(left);
            left -= part;
            taken.push((index, part));
        }
        for (index, part) in &taken {
            self.lots[*index].lot_mut().remaining -= *part;
        }
        taken
    }

    /// Open debt of `feature`.
    pub fn debt_of(&self, feature: &FeatureKey) -> Credits {
        self.debts.iter().filter(|debt| debt.feature.as_ref() == Some(feature)).map(|debt| debt.amount).sum()
    }

    /// Adds to the debt of `feature`; `since` is the `seq` of the entry. True if the debt rose from 0.
    pub fn owe(&mut self, feature: &FeatureKey, amount: Credits, since: u64) -> bool {
        if let Some(debt) = self.debts.iter_mut().find(|debt| debt.feature.as_ref() == Some(feature)) {
            debt.amount += amount;
            return false;
        }
        self.debts.push(Debt { feature: Some(feature.clone()), amount, since });
        true
    }

    /// Puts a lot at its place: after all that burn before it or are granted earlier.
    pub fn insert(&mut self, lot: L) -> usize {
        let index = self.lots.partition_point(|other| other.lot().burn_order(lot.lot()).is_le());
        self.lots.insert(index, lot);
        index
    }

    /// Free credit pays the debts it may pay: lots in burn order, the oldest debt first.
    pub fn settle(&mut self) -> Vec<Settlement> {
        let mut settled = Vec::new();
        if self.debts.is_empty() {
            return settled;
        }
        let now = self.time;
        for (index, lot) in self.lots.iter_mut().enumerate() {
            let lot = lot.lot_mut();
            if !lot.is_usable(now) {
                continue;
            }
            for debt in &mut self.debts {
                let amount = lot.free().min(debt.amount);
                if amount.is_positive() && lot.pays_debt_of(debt.feature.as_ref()) {
                    lot.remaining -= amount;
                    debt.amount -= amount;
                    settled.push(Settlement { lot: index, feature: debt.feature.clone(), amount });
                }
            }
        }
        self.debts.retain(|debt| debt.amount.is_positive());
        settled
    }

    fn usable(&self, feature: &FeatureKey) -> impl Iterator<Item = (usize, Credits)> {
        let lots = self.lots.iter().map(HasLot::lot).enumerate();
        lots.filter(|(_, lot)| lot.is_usable(self.time) && lot.pays_for(feature))
            .map(|(index, lot)| (index, lot.free()))
            .filter(|(_, free)| free.is_positive())
    }
}

/// Credit of one lot that paid a debt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Index of the lot.
    pub lot: usize,
    /// Whose debt.
    pub feature: Option<FeatureKey>,
    /// How much.
    pub amount: Credits,
}
