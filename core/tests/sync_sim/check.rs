//! What must hold: after every step, and at rest.

use std::collections::{BTreeMap, BTreeSet};

use quotastack_core::entitlement::evaluate::wallet_at;
use quotastack_core::ids::EndUserId;
use quotastack_core::sync::record::Status;
use quotastack_core::time::Timestamp;
use quotastack_core::wire::Mode;

use crate::sidecar::Sidecar;
use crate::world::{STEADY, STEADY_GRANT, World, at, user};

impl World {
    /// Holds after every step.
    pub(crate) fn check(&mut self) {
        // Of a history that is gone, a replica may say anything until it hears so.
        let is_current = self.sidecars[0].machine.cursor().is_none_or(|cursor| cursor.epoch == self.server.epoch);
        for id in (0..STEADY).map(|index| user("steady", index)).filter(|_| is_current) {
            let Some(view) = self.sidecars[0].view(&id) else { continue };
            let spent: i64 = self.steady.iter().filter(|((owner, _), _)| *owner == id).map(|(_, cost)| cost).sum();
            let seen = view.wallet.totals().balance.get();
            assert_eq!(STEADY_GRANT - spent, seen, "{id} at {}: counted twice, or forgotten: {view:?}", self.now);
        }
        let as_of = self.sidecars.iter().map(|sidecar| sidecar.machine.as_of()).collect();
        if as_of != self.checked_as_of {
            self.checked_as_of = as_of;
            self.sidecars.iter().for_each(|sidecar| self.check_as_of(sidecar));
        }
    }

    /// Everything that was committed before `as_of` is shown, but for accounts whose events, or they themselves, are on their way.
    fn check_as_of(&self, sidecar: &Sidecar) {
        let Some(as_of) = sidecar.machine.as_of() else { return };
        let busy = sidecar.machine.waiting_accounts().chain(&sidecar.fetching);
        let busy: BTreeSet<EndUserId> = busy.cloned().collect();
        let version = sidecar.machine.catalogue_version();
        let before = self.server.history.iter().filter(|(at, ..)| *at < as_of);
        let newest: BTreeMap<&EndUserId, (Timestamp, u64)> =
            before.map(|(at, id, stamp)| (id, (*at, *stamp))).collect();
        for (id, (at, stamp)) in newest {
            let Some(view) =
                sidecar.view(id).filter(|_| !busy.contains(id) && version == self.server.catalogue.version)
            else {
                continue;
            };
            let replica = (sidecar.mode(), sidecar.machine.cursor());
            assert!(view.stamp >= stamp, "{id}: {stamp} of {at} is not shown at {as_of} by {replica:?}: {view:?}");
        }
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.unacknowledged.iter().all(|admitted| self.sidecars[admitted.sidecar].run != admitted.run)
            && self.sidecars.iter().all(|sidecar| {
                sidecar.machine.outbox_status().waiting == 0
                    && sidecar.machine.catalogue_version() == self.server.catalogue.version
                    && sidecar.machine.cursor().is_some_and(|cursor| cursor.lanes == self.server.heads)
                    && sidecar.machine.replica_backlog() == 0
                    && sidecar.machine.lease_figures().0 == 0
                    && sidecar.machine.are_leases_returned()
            })
    }

    pub(crate) fn check_rest(&self) {
        for event in &self.acknowledged {
            let record = self.server.records.get(event).unwrap_or_else(|| panic!("{event:?} was lost"));
            let charges = self.server.rows[&event.0].charged.iter().filter(|(id, _)| *id == record.id).count();
            assert_eq!(charges, 1, "{event:?}");
        }
        for (id, row) in &self.server.rows {
            let charged: i64 = row.charged.iter().map(|(_, charged)| charged).sum();
            assert_eq!(charged, row.account.lifetime_consumed.get(), "{id}");
            for sidecar in &self.sidecars {
                let view = sidecar.view(id);
                assert!(view.is_some() || sidecar.mode() == Mode::OnDemand, "{id} is missing");
                let now = at(self.now);
                for found in [view, sidecar.disk.file.get(id)].into_iter().flatten() {
                    let truth = self.server.state(id);
                    assert_eq!((found.stamp, found.version), (truth.stamp, truth.version), "{id}");
                    assert_eq!(
                        wallet_at(&found, &self.server.catalogue, now),
                        wallet_at(&truth, &self.server.catalogue, now),
                        "{id}"
                    );
                }
            }
        }
        for sidecar in &self.sidecars {
            assert!(sidecar.machine.outbox_status().refused == 0, "nothing in this world is refused for good");
            let records = sidecar.disk.records();
            assert!(records.iter().all(|record| !matches!(record.status, Status::Refused { .. })));
        }
    }
}
