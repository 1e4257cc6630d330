//! The lane writer under load, with a poisoned command, and with connections that die under it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use quotastack_core::api::fields;
use quotastack_core::ids::{EndUserId, FeatureKey, IdempotencyKey, UsageId, uuid_v7};
use quotastack_core::ledger::command::{Command, Usage};
use quotastack_core::ledger::entry::{Cause, Entry, EntryKind};
use quotastack_core::ledger::outcome::Outcome;
use quotastack_server::app::auth::Principal;
use quotastack_server::app::decide::{Decided, Submission};
use quotastack_server::app::{clock, submission};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::task::{JoinHandle, JoinSet};

use crate::support::client::Client;
use crate::support::server::TestServer;
use crate::support::workload::{Caller, Door, Ledger, set_up};

const CLIENTS: u64 = 64;
const EVENTS_EACH: u64 = 8;
/// What the database is made to refuse.
const POISONED_UNITS: i64 = 666;

pub(crate) async fn create_feature(client: &Client) {
    let feature = json!({"feature_key": "f", "name": "F", "kind": "metered",
        "price": {"type": "per_unit", "cost": 1}, "overage_policy": "overdraft"});
    client.post("/v1/features", &feature).await.is(201);
}

fn event(user: &str, units: i64, key: &str) -> Value {
    json!({"end_user_id": user, "feature_key": "f", "units": units, "idempotency_key": key})
}

pub(crate) fn used(entries: &[Entry]) -> Vec<UsageId> {
    let usage = entries.iter().filter(|entry| entry.body.kind == EntryKind::Usage);
    usage.map(|entry| if let Cause::Usage { id, .. } = entry.body.cause { id } else { panic!("{entry:?}") }).collect()
}

/// All clients at once; `user_of` names whom a client reports for.
async fn report_all(client: &Client, user_of: impl Fn(u64) -> String) {
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (client, user) = (client.clone(), user_of(number));
        clients.spawn(async move {
            for event_number in 0..EVENTS_EACH {
                let body = event(&user, 1, &format!("{number}/{event_number}"));
                // On a machine that is busy with something else a write may not get its turn in time.
                let mut answer = client.post("/v1/usage", &body).await;
                while answer.status == 503 && answer.json["code"] == "overloaded" {
                    answer = client.post("/v1/usage", &body).await;
                }
                answer.is(200);
            }
        });
    }
    clients.join_all().await;
}

async fn sums_are_exact(server: TestServer) {
    let client = &server.sandbox;
    create_feature(client).await;
    let total = CLIENTS * EVENTS_EACH;
    client.post("/v1/credits/grants", &json!({"end_user_id": "one", "amount": total})).await.is(201);
    report_all(client, |_| "one".to_owned()).await;
    let account = client.get("/v1/end_users/one/credits").await.is(200);
    assert_eq!((&account["balance"], &account["lifetime_consumed"]), (&json!(0), &json!(total)));
    let entries = server.verified_entries(client, "one").await;
    assert_eq!(used(&entries).into_iter().collect::<BTreeSet<_>>().len() as u64, total);
    assert_eq!(entries.len() as u64, total + 1);

    report_all(client, |number| format!("many-{number}")).await;
    for number in 0..CLIENTS {
        let entries = server.verified_entries(client, &format!("many-{number}")).await;
        let last = entries.last().unwrap();
        assert_eq!((used(&entries).len() as u64, last.balance_after.get()), (EVENTS_EACH, -EVENTS_EACH.cast_signed()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_at_once_add_up() {
    sums_are_exact(TestServer::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_at_once_add_up_where_the_database_is_serializable() {
    sums_are_exact(TestServer::start_serializable().await).await;
}

/// Every kind of write from all clients at once, on one account and then each on its own.
async fn every_kind_adds_up(server: TestServer) {
    let variants = set_up(&server.live).await;
    let mut sum = Ledger::default();
    for on_one in [true, false] {
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let name = format!("{}-{number}", if on_one { "one" } else { "many" });
            let user = if on_one { "one" } else { name.as_str() };
            let mut caller = Caller::new(&name, user, &variants, Door::to(&server.live), number);
            clients.spawn(async move {
                caller.episode().await;
                caller.repeat().await;
                caller.into_ledger()
            });
        }
        sum = clients.join_all().await.into_iter().fold(sum, Ledger::and);
    }
    sum.must_be_all_of(&server.db.url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_write_of_many_clients_at_once_adds_up() {
    every_kind_adds_up(TestServer::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_write_adds_up_where_the_database_is_serializable() {
    every_kind_adds_up(TestServer::start_serializable().await).await;
}

async fn poison(server: &TestServer) {
    let sql = format!("alter table usage_events add constraint poison check (units <> {POISONED_UNITS})");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut server.owner().await).await.unwrap();
}

pub(crate) fn usage(principal: &Principal, user: &EndUserId, units: i64, key: &str) -> Submission {
    let usage = Usage {
        id: UsageId::from_uuid(uuid_v7(clock::now(), clock::random(), Some(user.bucket()))),
        key: IdempotencyKey::new(key).unwrap(),
        feature_key: FeatureKey::new("f").unwrap(),
        units: fields::units(units, "").unwrap(),
        properties: Default::default(),
        effective_at: None,
        on_insufficient: None,
        admitted_at: None,
        leased: None,
    };
    submission(principal, user.clone(), Command::Usage(usage), None, None)
}

#[tokio::test]
async fn a_command_that_the_database_refuses_fails_alone() {
    let server = TestServer::start().await;
    create_feature(&server.live).await;
    poison(&server).await;
    let (app, principal) = server.app(&server.live).await;
    let user = EndUserId::new("u").unwrap();
    let environment = app.environment(principal.environment_id).await.unwrap();
    let (lane, _) = environment.handle.lane_of(user.bucket());
    for poisoned in [0, 1, 6, 12] {
        let units = |place| if place == poisoned { POISONED_UNITS } else { 1 };
        let batch = (0..13).map(|place| usage(&principal, &user, units(place), &format!("{poisoned}/{place}")));
        let written = app.write_lane(principal.environment_id, lane, batch.collect()).await.unwrap();
        for (place, result) in written.results.iter().enumerate() {
            match result {
                Decided::Failed => assert_eq!(place, poisoned),
                Decided::Done { outcome, replayed: false } => {
                    let Outcome::Used { record, .. } = &**outcome else { panic!("{outcome:?}") };
                    assert_eq!(record.units.get(), 1);
                }
                other => panic!("{place}: {other:?}"),
            }
        }
        assert_eq!(written.states[&user].version, environment_version(&server, "u").await);
    }
    assert_eq!(used(&server.verified_entries(&server.live, "u").await).len(), 4 * 12);
}

async fn environment_version(server: &TestServer, user: &str) -> u64 {
    let account = server.live.get(&format!("/v1/end_users/{user}/credits")).await.is(200);
    account["version"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn among_many_requests_only_the_poisoned_ones_are_told_of_an_internal_error() {
    let server = TestServer::start().await;
    create_feature(&server.live).await;
    poison(&server).await;
    let mut requests = JoinSet::new();
    for number in 0..CLIENTS {
        let client = server.live.clone();
        requests.spawn(async move {
            let units = if number % 16 == 5 { POISONED_UNITS } else { 1 };
            let answer = client.post("/v1/usage", &event("u", units, &number.to_string())).await;
            if units == 1 {
                answer.is(200);
            } else {
                let problem = answer.refused(500, "internal");
                assert!(!problem.to_string().contains("poison"), "internals are shown: {problem}");
            }
        });
    }
    requests.join_all().await;
    let batch = json!({"events": [event("v", 1, "a"), event("v", POISONED_UNITS, "b"), event("v", 1, "c")]});
    let answer = server.live.post("/v1/usage/batch", &batch).await.is(200);
    for (result, (status, code)) in answer["results"].as_array().unwrap().iter().zip([
        ("recorded", Value::Null),
        ("refused", json!("internal")),
        ("recorded", Value::Null),
    ]) {
        assert_eq!((&result["status"], &result["code"]), (&json!(status), &code));
    }
    assert_eq!(used(&server.verified_entries(&server.live, "v").await).len(), 2);
    assert_eq!(used(&server.verified_entries(&server.live, "u").await).len() as u64, CLIENTS - 4);
    let account = server.live.get("/v1/end_users/u/credits").await.is(200);
    assert_eq!(account["balance"], -i64::try_from(CLIENTS - 4).unwrap());
}

/// Ends connections of the server, at this pace a random half of them, until it is stopped; counts them.
pub(crate) fn kill_connections(mut owner: PgConnection, pace: Duration) -> (JoinHandle<()>, Arc<AtomicI64>) {
    let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity
               where application_name = 'quotastack-server' and datname = current_database() and random() < 0.5";
    let killed = Arc::new(AtomicI64::new(0));
    let counter = Arc::clone(&killed);
    let killer = tokio::spawn(async move {
        let mut pace = tokio::time::interval(pace);
        loop {
            pace.tick().await;
            counter.fetch_add(sqlx::query_scalar(sql).fetch_one(&mut owner).await.unwrap(), Ordering::Relaxed);
        }
    });
    (killer, killed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_once_however_often_connections_die() {
    connections_die(TestServer::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_die_where_the_database_is_serializable() {
    connections_die(TestServer::start_serializable().await).await;
}

async fn connections_die(server: TestServer) {
    const REQUESTS: u64 = 500;
    create_feature(&server.live).await;
    let (killer, killed) = kill_connections(server.owner().await, Duration::from_millis(10));
    let gate = Arc::new(tokio::sync::Semaphore::new(32));
    let mut requests = JoinSet::new();
    for number in 0..REQUESTS {
        let (client, gate) = (server.live.clone(), Arc::clone(&gate));
        requests.spawn(async move {
            let _turn = gate.acquire().await.unwrap();
            let body = event(&format!("u{}", number % 3), 1, &number.to_string());
            loop {
                let answer = client.post("/v1/usage", &body).await;
                if answer.status == 200 {
                    return answer.json["id"].as_str().unwrap().to_owned();
                }
                // All it may say meanwhile: try again, with the same key.
                let code = answer.json["code"].as_str();
                assert!(matches!(code, Some("overloaded" | "outcome_unknown")), "{}", answer.text);
                assert_eq!(answer.status, 503);
            }
        });
    }
    let acknowledged: BTreeSet<String> = requests.join_all().await.into_iter().collect();
    killer.abort();
    assert!(killed.load(Ordering::Relaxed) > 10, "hardly any connection died: {killed:?}");
    assert_eq!(acknowledged.len() as u64, REQUESTS);
    let mut recorded = Vec::new();
    for user in ["u0", "u1", "u2"] {
        recorded.extend(used(&server.verified_entries(&server.live, user).await).iter().map(ToString::to_string));
    }
    assert_eq!(recorded.len() as u64, REQUESTS);
    assert_eq!(recorded.into_iter().collect::<BTreeSet<_>>(), acknowledged);
}
