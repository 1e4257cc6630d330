//! What clients, operators and faults do to the world.

use std::collections::BTreeMap;

use quotastack_core::credits::{Credits, Units};
use quotastack_core::ids::{IdempotencyKey, UsageId, uuid_v7};
use quotastack_core::ledger::command::Usage;
use quotastack_core::pricing::{Price, PriceModel, PriceVersion};
use quotastack_core::sync::machine::NotAdmitted;
use quotastack_core::wire::Mode;

use crate::sidecar::Sidecar;
use crate::world::{Admitted, Event, STEADY, World, at, key, user};

const SHARED: usize = 6;

impl World {
    /// One step of somebody: mostly usage, sometimes a fault.
    pub(crate) fn client(&mut self) {
        self.restore();
        let sidecar = self.rng.index(self.sidecars.len());
        match self.rng.below(100) {
            0 => self.crash(sidecar),
            1 => self.disconnect(sidecar),
            2 => {
                self.server.restart();
                (0..self.sidecars.len()).for_each(|sidecar| self.disconnect(sidecar));
            }
            3 => self.change_price(),
            4 => self.sidecars[sidecar].evict(&mut self.rng),
            5..=6 => self.forget(sidecar),
            7..=20 => {
                let id = user("user", self.rng.index(SHARED));
                let expiry = self.rng.chance(30).then(|| at(self.now + 300_000));
                let amount = 1 + i64::try_from(self.rng.below(60)).unwrap();
                self.server.grant(&id, amount, expiry, at(self.now), &mut self.rng);
            }
            _ if self.is_strict && self.rng.chance(70) => self.strict_client(sidecar),
            _ => self.usage(sidecar),
        }
    }

    fn change_price(&mut self) {
        let mut catalogue = self.server.catalogue.clone();
        catalogue.version += 1;
        let cost = Credits::new(1 + i64::try_from(self.rng.below(5)).unwrap()).unwrap();
        let price = Price::plain(PriceModel::PerUnit { cost, per_units: Units::ONE });
        let feature = catalogue.features.get_mut(&key("overdraft")).unwrap();
        feature.prices.push(PriceVersion { effective_from: at(self.now), price });
        self.server.publish(catalogue);
    }

    fn forget(&mut self, index: usize) {
        let id = user("user", self.rng.index(SHARED));
        let sidecar = &mut self.sidecars[index];
        if sidecar.mode() == Mode::OnDemand && sidecar.machine.forget(&id) {
            sidecar.forget(&id);
        }
    }

    fn usage(&mut self, index: usize) {
        let steady = index == 0 && self.rng.chance(30);
        let (id, usage) = if self.rng.chance(10) && !self.sent.is_empty() {
            let (id, usage) = self.sent[self.rng.index(self.sent.len())].clone();
            // A repeat that the sidecar no longer remembers is pending again until the ledger recognises it.
            let is_remembered = index == 0 && self.sidecars[0].remembers_for_long();
            if id.as_str().starts_with("steady") && !is_remembered {
                return;
            }
            (id, Usage { id: self.usage_id(), ..usage })
        } else {
            let features = ["blocked", "capped", "overdraft"];
            let (id, feature) = if steady {
                (user("steady", self.rng.index(STEADY)), "steady")
            } else {
                (user("user", self.rng.index(SHARED)), features[self.rng.index(3)])
            };
            (id, self.new_usage(feature))
        };
        let now = self.clock(index);
        let Sidecar { machine, disk, run, fetching, conn, .. } = &mut self.sidecars[index];
        let (run, conn) = (*run, *conn);
        let file = &disk.file;
        match machine.admit(&id, usage.clone(), &|id| file.get(id), now) {
            Ok(admitted) => {
                if let Some(state) = admitted.state {
                    self.sidecars[index].views.insert(id.clone(), state);
                }
                let event = (id.clone(), usage.key.clone());
                if id.as_str().starts_with("steady") {
                    self.steady.insert(event.clone(), admitted.admission.answer.cost.get());
                }
                self.unacknowledged.push(Admitted { sidecar: index, run, ticket: admitted.ticket, event });
                self.sent.push((id, usage));
                self.acknowledge();
            }
            Err(NotAdmitted::NoLease { .. } | NotAdmitted::ServerOnly) => panic!("nothing is strict here"),
            Err(NotAdmitted::NoState) => {
                if let Some(conn) = conn.filter(|_| !fetching.contains(&id)) {
                    machine.fetch_begins(&id);
                    fetching.insert(id.clone());
                    self.later(Event::Fetch { conn, sidecar: index, id });
                }
            }
            Err(NotAdmitted::Refused(_) | NotAdmitted::OutboxFull) => {}
            Err(NotAdmitted::Partial) => panic!("no account of this world is that large"),
        }
    }

    fn usage_id(&mut self) -> UsageId {
        UsageId::from_uuid(uuid_v7(at(self.now), self.rng.bytes(), Some(0)))
    }

    pub(crate) fn new_usage(&mut self, feature: &str) -> Usage {
        self.next_key += 1;
        Usage {
            id: self.usage_id(),
            key: IdempotencyKey::new(&format!("key-{}", self.next_key)).unwrap(),
            feature_key: key(feature),
            units: Units::new(1 + i64::try_from(self.rng.below(4)).unwrap()).unwrap(),
            properties: BTreeMap::new(),
            effective_at: None,
            on_insufficient: None,
            admitted_at: None,
            leased: None,
        }
    }
}
