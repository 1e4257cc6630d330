//! How a [`Machine`] consumes with leases. Source: docs/sync.md, "Leases".

use std::sync::Arc;

use crate::catalogue::{Catalogue, Enforcement};
use crate::credits::Credits;
use crate::entitlement::evaluate::gate;
use crate::ids::{EndUserId, FeatureKey, ReservationId};
use crate::ledger::advance::read_at;
use crate::ledger::command::{Leased, Usage};
use crate::ledger::hold::Hold;
use crate::ledger::quote::quote;
use crate::ledger::refusal::Refusal;
use crate::state::AccountState;
use crate::sync::handover::{Admitted, NotAdmitted};
use crate::sync::leases::{LeaseReturn, LeaseWish};
use crate::sync::machine::Machine;
use crate::sync::overlay::charge;
use crate::sync::record::{Admission, UsageAnswer};
use crate::sync::replica::Held;
use crate::time::Timestamp;

impl Machine {
    /// Admits usage that is about to be done, and pays for it with a lease. `usage` is without `admitted_at`.
    pub fn consume(
        &mut self,
        end_user_id: &EndUserId,
        usage: Usage,
        held: Held<'_>,
        now: Timestamp,
    ) -> Result<Admitted, NotAdmitted> {
        if let Some(known) = self.find_admitted(end_user_id, &usage) {
            return known;
        }
        let (state, catalogue) = self.state_to_charge(end_user_id, held)?;
        let catalogue = &*catalogue;
        let mut after = AccountState::clone(&state);
        read_at(&mut after.wallet, catalogue, catalogue.clock.at(now));
        let at = after.wallet.time;
        gate(&after.wallet, catalogue, &usage.feature_key)?;
        let quote = quote(&after.wallet, catalogue, &usage.feature_key, &usage.properties, at)?;
        if quote.counter.is_some() || !is_strict(catalogue, &usage.feature_key) {
            return Err(NotAdmitted::ServerOnly);
        }
        let cost = quote.cost_of(usage.units).map_err(Refusal::from)?;
        // There is no lease of nothing.
        if cost.is_zero() {
            return Err(NotAdmitted::ServerOnly);
        }
        let answer = UsageAnswer { cost, charged: cost, totals: after.wallet.totals() };
        let unpaid = Usage { admitted_at: Some(at), ..usage };
        let admission = Admission { end_user_id: end_user_id.clone(), usage: unpaid, answer };
        if self.outbox.is_full(&admission, self.config.outbox_bytes_max) {
            return Err(NotAdmitted::OutboxFull);
        }
        let purpose = (end_user_id, &admission.usage.feature_key);
        let id = self.leases.spend(purpose, cost, at, now).ok_or(NotAdmitted::NoLease { need: cost })?;
        let usage = Usage { leased: Some(Leased { id, cost, priced_by: quote.priced_by }), ..admission.usage };
        let _refused = charge(&mut after.wallet, catalogue, &usage, at);
        let answer = UsageAnswer { totals: after.wallet.totals(), ..answer };
        let admission = Arc::new(Admission { usage, answer, ..admission });
        let is_low = self.leases.is_low(end_user_id, &admission.usage.feature_key);
        Ok(Admitted { is_low, ..self.take_in(admission, state, after, now) })
    }

    /// What to ask the server for, for an event that costs `need`.
    pub fn lease_wish(
        &self,
        end_user_id: &EndUserId,
        feature_key: &FeatureKey,
        need: Credits,
        now: Timestamp,
    ) -> LeaseWish {
        self.leases.wish(end_user_id, feature_key, need, now)
    }

    /// The server has opened a lease, to be spent until `until` (the environment's time).
    pub fn lease_opened(
        &mut self,
        (end_user_id, feature_key): (&EndUserId, &FeatureKey),
        id: ReservationId,
        (granted, until): (Credits, Timestamp),
        held: Held<'_>,
        now: Timestamp,
    ) {
        self.leases.opened((end_user_id, feature_key), id, granted, until, now);
        let base = self.replica.state(end_user_id, held);
        let account = self.accounts.entry(end_user_id.clone()).or_default();
        account.base = account.base.take().or(base);
        self.refresh(end_user_id);
    }

    /// It is not known whether the server has opened this lease.
    pub fn lease_doubtful(&mut self, end_user_id: &EndUserId, id: ReservationId) {
        self.leases.is_doubtful(end_user_id, id);
    }

    /// Ends leases that are over, idle or (with `all`) there, takes off what others need more, and gives what is to be sent
    /// back now. Call it some times a second.
    pub fn end_leases(&mut self, now: Timestamp, all: bool) -> Vec<LeaseReturn> {
        let at = self.replica.catalogue.as_ref().map_or(now, |catalogue| catalogue.clock.at(now));
        // Nobody else would find as much as this run wanted last.
        let is_short = |id: &EndUserId, feature_key: &FeatureKey, want: Credits| {
            let base = self.accounts.get(id).and_then(|account| account.base.as_ref());
            base.is_some_and(|base| base.wallet.spendable(feature_key) < want)
        };
        for id in self.leases.end(at, now, all, is_short) {
            self.refresh(&id);
        }
        self.leases.take_returns()
    }

    /// The server has what was given back, or (`false`) it is not known whether.
    pub fn lease_returned(&mut self, returned: &LeaseReturn, is_confirmed: bool) {
        self.leases.returned(returned, is_confirmed);
    }

    /// Whether the server has confirmed all that was given back.
    pub fn are_leases_returned(&self) -> bool {
        self.leases.is_returned()
    }

    /// Whether others hold credit of this end user that would pay `need`: some of it may come back soon.
    pub fn is_held_by_others(
        &self,
        end_user_id: &EndUserId,
        feature_key: &FeatureKey,
        need: Credits,
        held: Held<'_>,
    ) -> bool {
        // Own leases are no holds in there.
        let Some(state) = self.view(end_user_id, held) else { return false };
        let holds = state.wallet.holds.iter().filter(|hold| hold.feature_key == *feature_key);
        holds.map(Hold::held).sum::<Credits>() >= need
    }

    /// Leases that are held, and what is left of them.
    pub fn lease_figures(&self) -> (usize, Credits) {
        self.leases.figures()
    }
}

/// Whether usage of a feature is admitted by leases only.
pub(super) fn is_strict(catalogue: &Catalogue, feature_key: &FeatureKey) -> bool {
    catalogue.features.get(feature_key).is_some_and(|feature| feature.enforcement == Enforcement::Strict)
}
