//! Holds: credit that open reservations have set aside. Source: docs/ledger.md, "Reservations".

use serde::{Deserialize, Serialize};

use crate::credits::{Credits, Units};
use crate::ids::{FeatureKey, ReservationId};
use crate::ledger::counter::CounterKey;
use crate::time::Timestamp;

/// Credit of one lot that a hold has set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPart {
    /// Index of the lot in its wallet.
    pub lot: usize,
    /// How much, more than 0.
    pub amount: Credits,
}

/// An open hold: what a wallet needs to know of a reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The reservation.
    pub id: ReservationId,
    /// What it is for.
    pub feature_key: FeatureKey,
    /// Over from this instant on.
    pub expires_at: Timestamp,
    /// In burn order as of the reserve: a commit takes from the front.
    pub parts: Vec<HeldPart>,
    /// What was not there to be held; counts against the feature's overdraft limit.
    pub uncovered: Credits,
    /// The counter that the estimate has moved, and by how many units that are not committed yet.
    pub counted: Option<(CounterKey, Units)>,
}

impl Hold {
    /// What it holds.
    pub fn held(&self) -> Credits {
        self.parts.iter().map(|part| part.amount).sum()
    }

    /// Takes up to `amount` off the back: the parts taken, in burn order.
    pub(super) fn take_last(&mut self, amount: Credits) -> Vec<HeldPart> {
        let mut left = amount;
        let mut taken = Vec::new();
        for part in self.parts.iter_mut().rev() {
            let amount = part.amount.min(left);
            if amount.is_positive() {
                part.amount -= amount;
                left -= amount;
                taken.insert(0, HeldPart { lot: part.lot, amount });
            }
        }
        self.parts.retain(|part| part.amount.is_positive());
        taken
    }

    /// Takes up to `amount` off the front: the parts taken, in recorded order.
    pub(super) fn take(&mut self, amount: Credits) -> Vec<HeldPart> {
        let mut left = amount;
        let mut taken = Vec::new();
        for part in &mut self.parts {
            let amount = part.amount.min(left);
            if amount.is_positive() {
                part.amount -= amount;
                left -= amount;
                taken.push(HeldPart { lot: part.lot, amount });
            }
        }
        self.parts.retain(|part| part.amount.is_positive());
        taken
    }
}
