//! A [`Lane`] of the server, over Postgres: takes groups of commands, and shows what is stored of each account.

use std::sync::Arc;

use quotastack_core::catalogue::Catalogue;
use quotastack_core::ids::{AccountId, EndUserId, EventId, ReservationId, TopupId, UsageId};
use quotastack_core::ledger::account::Account;
use quotastack_core::ledger::entry::Entry;
use quotastack_server::app::App;
use quotastack_server::app::auth::Principal;
use quotastack_server::store::tx::Store;
use quotastack_server::store::types::{EnvironmentId, LaneId, Ts};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::alone::{Alone, Answer};
use super::history::{History, compare_accounts, compare_states, differ, in_groups};
use crate::support::server::TestServer;

/// More than any test writes.
const ROWS_MAX: i64 = 10_000;

/// The first lane of an environment.
pub(crate) struct Lane {
    pub(crate) app: Arc<App>,
    pub(crate) principal: Principal,
    pub(crate) catalogue: Arc<Catalogue>,
    store: Store,
    environment_id: EnvironmentId,
    lane_id: LaneId,
}

impl Lane {
    pub(crate) async fn open(server: &TestServer, app: Arc<App>, principal: Principal) -> Self {
        let environment_id = principal.environment_id;
        let environment = app.environment(environment_id).await.unwrap();
        let store = Store::connect(&server.db.url, 1).unwrap();
        let mut tx = store.begin_snapshot(environment_id).await.unwrap();
        let catalogue = environment.handle.current_catalogue(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        Self { app, principal, catalogue, store, environment_id, lane_id: environment.handle.lanes[0] }
    }

    /// The `number`th end user of this lane whose name begins like this.
    pub(crate) async fn end_user(&self, name: &str, number: usize) -> EndUserId {
        let environment = self.app.environment(self.environment_id).await.unwrap();
        let names = (0..).map(|suffix| EndUserId::new(&format!("{name}-{suffix}")).unwrap());
        let mut own = names.filter(|name| environment.handle.lane_of(name.bucket()).1 == self.lane_id);
        own.nth(number).expect("names do not end")
    }

    /// Sends the histories in groups, compares every answer and every published state, and at the end all that is
    /// stored.
    pub(crate) async fn takes(
        &self,
        histories: &[History],
        sizes: &[usize],
        server: &TestServer,
    ) -> Result<(), String> {
        for group in in_groups(histories, sizes) {
            self.write(histories, &group).await?;
        }
        for history in histories {
            let stored = self.is_stored(history, server).await;
            stored.map_err(|difference| format!("{}: {difference}", history.end_user_id))?;
        }
        Ok(())
    }

    async fn write(&self, histories: &[History], group: &[(usize, usize)]) -> Result<(), String> {
        let sent = |(history, place): &(usize, usize)| &histories[*history].sent[*place];
        let commands = group.iter().map(|at| sent(at).submission.clone()).collect();
        let written = self.app.write_lane(self.environment_id, 0, commands).await;
        let written = written.map_err(|error| format!("a group was not written: {error}"))?;
        for (at, decided) in group.iter().zip(written.results) {
            let what = format!("command {} of {}: {:?}", at.1, at.0, sent(at).submission.request);
            differ(&what, &Answer::try_from(decided)?, &sent(at).answer)?;
        }
        for (end_user_id, state) in &written.states {
            let last = group.iter().rfind(|(history, _)| histories[*history].end_user_id == *end_user_id);
            let at = last.ok_or("there is a state of somebody who was not named")?;
            compare_states(state, &sent(at).after, &self.catalogue)
                .map_err(|difference| format!("after command {} of {}: {difference}", at.1, at.0))?;
        }
        Ok(())
    }

    /// Holds everything that is stored of an account against the same commands alone.
    async fn is_stored(&self, history: &History, server: &TestServer) -> Result<(), String> {
        let Some(id) = self.account_id(&history.end_user_id).await else {
            return differ("entries of an account that is not stored", &history.alone.effects.entries, &Vec::new());
        };
        let alone = history.replay(id);
        let entries = self.entries(&history.end_user_id).await;
        for (found, expected) in entries.iter().zip(&alone.effects.entries) {
            differ("an entry", found, expected)?;
        }
        differ("how many entries there are", &entries.len(), &alone.effects.entries.len())?;
        let stored = self.account(id).await;
        compare_accounts(&stored, &alone, &self.catalogue)?;
        server.check_due(self.lane_id, &stored, &self.catalogue).await;
        self.things_are_stored(&alone).await?;
        self.events_and_reasons_are_stored(&alone, &mut server.owner().await).await
    }

    pub(crate) async fn account_id(&self, end_user_id: &EndUserId) -> Option<AccountId> {
        let mut tx = self.store.begin_snapshot(self.environment_id).await.unwrap();
        let id = tx.find_account(self.lane_id, end_user_id).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    pub(crate) async fn entries(&self, end_user_id: &EndUserId) -> Vec<Entry> {
        self.app.chain(self.environment_id, end_user_id, 0, ROWS_MAX).await.unwrap()
    }

    async fn account(&self, id: AccountId) -> Account {
        let mut tx = self.store.begin_snapshot(self.environment_id).await.unwrap();
        let nobody = AccountId::from_uuid(Uuid::nil());
        let stored = tx.stored_accounts(self.lane_id, nobody, ROWS_MAX).await.unwrap();
        stored.into_iter().find(|account| account.id == id).unwrap()
    }

    async fn things_are_stored(&self, alone: &Alone) -> Result<(), String> {
        let Alone { account, events, voids, topups, .. } = alone;
        let mut tx = self.store.begin_snapshot(self.environment_id).await.unwrap();
        let ids: Vec<ReservationId> = account.reservations.iter().map(|reservation| reservation.id).collect();
        let found = tx.load_reservations(self.lane_id, &ids).await.unwrap();
        let expected = account.reservations.iter().map(|reservation| (account.id, reservation.clone()));
        differ("reservations", &by_key(found, |(_, one)| one.id), &by_key(expected, |(_, one)| one.id))?;
        let ids: Vec<TopupId> = topups.iter().map(|topup| topup.id).collect();
        let found = tx.load_topups(self.lane_id, &ids).await.unwrap();
        let expected = topups.iter().map(|topup| (account.id, topup.clone()));
        differ("top-ups", &by_key(found, |(_, one)| one.id), &by_key(expected, |(_, one)| one.id))?;
        let ids: Vec<UsageId> = events.iter().map(|record| record.id).collect();
        let found = tx.load_usage(self.lane_id, &ids).await.unwrap();
        let expected = events.iter().map(|record| (account.id, record.clone()));
        differ("usage", &by_key(found, |(_, one)| one.id), &by_key(expected, |(_, one)| one.id))?;
        let found = tx.load_voids(self.lane_id, &ids).await.unwrap();
        differ("voids", &by_key(found, |void| void.usage_id), &voids.values().cloned().collect())?;
        tx.commit().await.unwrap();
        Ok(())
    }

    async fn events_and_reasons_are_stored(&self, alone: &Alone, owner: &mut PgConnection) -> Result<(), String> {
        let sql = "select event_id, occurred_at, type, data from events where lane_id = $1 and account_id = $2
                   order by feed_seq, place";
        let query = sqlx::query(sql).bind(self.lane_id.0).bind(alone.account.id.uuid());
        let rows = query.fetch_all(&mut *owner).await.unwrap();
        let found = rows.iter().map(|row| {
            let at = row.get::<Ts, _>("occurred_at").0;
            let kind = serde_json::json!({ "type": row.get::<&str, _>("type"), "data": row.get::<serde_json::Value, _>("data") });
            (EventId::from_uuid(row.get("event_id")), at, kind)
        });
        let expected =
            alone.effects.events.iter().map(|event| (event.id, event.at, serde_json::to_value(&event.kind).unwrap()));
        differ("events", &found.collect::<Vec<_>>(), &expected.collect())?;
        let sql = "select seq, reason from entry_reasons where lane_id = $1 and account_id = $2 order by seq";
        let query = sqlx::query(sql).bind(self.lane_id.0).bind(alone.account.id.uuid());
        let rows = query.fetch_all(owner).await.unwrap();
        let found = rows.iter().map(|row| (row.get::<i64, _>("seq").cast_unsigned(), row.get("reason")));
        differ("reasons", &found.collect(), &alone.effects.reasons)
    }
}

fn by_key<T, K: Ord>(things: impl IntoIterator<Item = T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut things: Vec<T> = things.into_iter().collect();
    things.sort_by_key(key);
    things
}
