//! A [`Reservation`]: its terms and where it stands. What it holds is the wallet's [`super::hold::Hold`].
//!
//! `active -> committed | released | expired`. Priced when it was made, so that neither a change of price nor of plan
//! touches it. Source: docs/ledger.md, "Reservations".

use serde::{Deserialize, Serialize};

use crate::credits::{AmountOutOfRange, Credits, Units};
use crate::ids::{FeatureKey, ReservationId};
use crate::ledger::command::{LeaseHolder, Properties};
use crate::ledger::entry::Cause;
use crate::ledger::quote::Quote;
use crate::time::Timestamp;

/// Where a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationStatus {
    /// It holds credit.
    Active,
    /// A final commit closed it.
    Committed,
    /// It was released.
    Released,
    /// Its time ran out.
    Expired,
}

/// One reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Its id.
    pub id: ReservationId,
    /// What it is for.
    pub feature_key: FeatureKey,
    /// Where it stands.
    pub status: ReservationStatus,
    /// The estimate.
    pub units: Units,
    /// Properties of the event.
    pub properties: Properties,
    /// How it is priced, and what happens on a shortfall.
    pub quote: Quote,
    /// What was held at the start.
    pub amount: Credits,
    /// Units committed so far.
    pub committed_units: Units,
    /// The price of the units committed so far.
    pub committed_cost: Credits,
    /// When it was made: its usage counts then.
    pub created_at: Timestamp,
    /// Over from this instant on.
    pub expires_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// What it holds now, and what it could not hold; 0 once it is closed.
    pub held: Credits,
    /// What was not there to be held.
    pub uncovered: Credits,
    /// Where it is a lease: whose, and how far it was returned.
    #[serde(default)]
    pub lease: Option<Box<LeaseTerms>>,
}

/// What a lease is beside a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTerms {
    /// Who may spend it,
    pub holder: LeaseHolder,
    /// and until when; `expires_at` is later.
    pub until: Timestamp,
    /// What was given back.
    pub returned: Credits,
}

impl Reservation {
    /// What committing `units` more costs: the price of all units so far, less what was committed.
    pub fn cost_of_commit(&self, units: Units) -> Result<Credits, AmountOutOfRange> {
        let total = Units::new(self.committed_units.get().saturating_add(units.get()))?;
        // A volume price may fall as units rise; what was committed stays.
        Ok((self.quote.cost_of(total)? - self.committed_cost).max(Credits::ZERO))
    }

    /// As it stands at `now`, also if its end has not been written yet.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        if self.status == ReservationStatus::Active && self.expires_at <= now {
            let at = self.expires_at;
            self.close(ReservationStatus::Expired, at);
        }
        self
    }

    /// What entries about it name as their cause.
    pub(super) fn cause(&self) -> Cause {
        Cause::Reservation { id: self.id, feature_key: self.feature_key.clone(), units: self.units }
    }

    pub(super) fn close(&mut self, status: ReservationStatus, at: Timestamp) {
        self.status = status;
        self.closed_at = Some(at);
        (self.held, self.uncovered) = (Credits::ZERO, Credits::ZERO);
    }
}
