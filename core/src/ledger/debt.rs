//! Debts: usage, corrections and claw-backs that nothing has paid for yet. Source: docs/ledger.md, "Debts and
//! settlement".

use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::ids::FeatureKey;
use crate::ledger::block::Lot;

/// What a debt is for; an account has at most one debt for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DebtOf {
    /// Usage of this feature.
    Feature(FeatureKey),
    /// No feature: a correction by a person, or the claw-back of a refund.
    Correction,
}

impl DebtOf {
    /// The feature, if it is a feature's.
    pub const fn feature(&self) -> Option<&FeatureKey> {
        match self {
            Self::Feature(feature) => Some(feature),
            Self::Correction => None,
        }
    }

    /// Whether `lot` may pay it: one without feature is paid by credit without scope.
    pub fn is_payable_by(&self, lot: &Lot) -> bool {
        lot.settles_debt && self.feature().map_or(lot.scope.is_empty(), |feature| lot.pays_for(feature))
    }
}

/// An open debt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// What for.
    pub of: DebtOf,
    /// More than 0.
    pub amount: Credits,
    /// `seq` of the entry by which it last rose from 0: the smallest is settled first.
    pub since: u64,
}

/// The open debts of an account, in order of `since`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Debts(Vec<Debt>);

impl Debts {
    /// All open debts, the oldest first.
    pub fn iter(&self) -> std::slice::Iter<'_, Debt> {
        self.0.iter()
    }

    /// How many are open.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is owed.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sum of all.
    pub fn total(&self) -> Credits {
        self.0.iter().map(|debt| debt.amount).sum()
    }

    /// What is owed for `of`.
    pub fn amount_of(&self, of: &DebtOf) -> Credits {
        self.0.iter().find(|debt| debt.of == *of).map_or(Credits::ZERO, |debt| debt.amount)
    }

    /// What is owed for usage of `feature`.
    pub fn amount_of_feature(&self, feature: &FeatureKey) -> Credits {
        self.0.iter().find(|debt| debt.of.feature() == Some(feature)).map_or(Credits::ZERO, |debt| debt.amount)
    }

    /// Adds to the debt for `of`; `since` is the `seq` of the entry. True if it rose from 0.
    pub fn raise(&mut self, of: DebtOf, amount: Credits, since: u64) -> bool {
        if let Some(debt) = self.0.iter_mut().find(|debt| debt.of == of) {
            debt.amount += amount;
            return false;
        }
        self.0.push(Debt { of, amount, since });
        true
    }

    /// Lowers the debt for `of` by up to `amount`; answers by how much.
    pub fn lower(&mut self, of: &DebtOf, amount: Credits) -> Credits {
        let Some(index) = self.0.iter().position(|debt| debt.of == *of) else { return Credits::ZERO };
        let lowered = self.0[index].amount.min(amount);
        self.0[index].amount -= lowered;
        if self.0[index].amount.is_zero() {
            self.0.remove(index);
        }
        lowered
    }

    /// `lot`'s free credit pays what it may, the oldest debt first: what was paid, in that order.
    pub(super) fn pay_from(&mut self, lot: &mut Lot) -> Vec<(DebtOf, Credits)> {
        let mut paid = Vec::new();
        for debt in &mut self.0 {
            let amount = lot.free().min(debt.amount);
            if amount.is_positive() && debt.of.is_payable_by(lot) {
                lot.pay(&debt.of, amount);
                debt.amount -= amount;
                paid.push((debt.of.clone(), amount));
            }
        }
        self.0.retain(|debt| debt.amount.is_positive());
        paid
    }
}

impl FromIterator<Debt> for Debts {
    fn from_iter<I: IntoIterator<Item = Debt>>(debts: I) -> Self {
        Self(debts.into_iter().collect())
    }
}
