//! Two servers over one database: one ledger, one feed, one catalogue.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use quotastack_core::ids::EndUserId;
use quotastack_core::sync::publisher::Rings;
use quotastack_core::sync::ring::{BatchLimits, Filter, Since};
use quotastack_server::app::App;
use quotastack_server::app::auth::Principal;
use quotastack_server::app::verify::{Progress, verify};
use quotastack_server::store::tx::Store;
use quotastack_server::workers::{Workers, WorkersConfig};
use serde_json::json;
use sqlx::Row;
use tokio::task::JoinSet;

use crate::due::{START, set_clock_and_die};
use crate::support::client::Client;
use crate::support::server::TestServer;
use crate::support::wait::until;
use crate::writer::{create_feature, usage, used};

const USERS: u64 = 5;
const WRITES: u64 = 300;
const ALL: BatchLimits = BatchLimits { states_max: 1_000, bytes_max: 1 << 20 };

/// Heads of the rings, by lane.
async fn heads(app: &App, principal: &Principal) -> Vec<u64> {
    let environment = app.environment(principal.environment_id).await.unwrap();
    (0..environment.handle.lanes.len()).map(|lane| environment.handle.feed.read(lane, |ring| ring.head())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_write_to_the_same_accounts_and_both_feeds_catch_up() {
    both_write(TestServer::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_write_where_the_database_is_serializable() {
    both_write(TestServer::start_serializable().await).await;
}

async fn both_write(server: TestServer) {
    create_feature(&server.live).await;
    let apps = [server.app(&server.live).await, server.app(&server.live).await];
    let mut readers = Vec::new();
    for (app, principal) in &apps {
        readers.push(app.environment(principal.environment_id).await.unwrap().handle.feed.subscribe());
    }
    let mut writes = JoinSet::new();
    for number in 0..WRITES {
        let (app, principal) = apps[usize::from(number % 2 == 1)].clone();
        writes.spawn(async move { write(&app, &principal, number).await });
    }
    // Each place of a lane's feed belongs to one account, and later versions of it stand at later places.
    let mut places: BTreeMap<(u16, u64), (EndUserId, u64)> = BTreeMap::new();
    for (lane, stamp, user, version) in writes.join_all().await {
        let there = places.entry((lane, stamp)).or_insert_with(|| (user.clone(), version));
        assert_eq!((&there.0, there.1), (&user, version));
    }
    let mut last: HashMap<&EndUserId, u64> = HashMap::new();
    for (user, version) in places.values() {
        assert!(last.insert(user, *version).is_none_or(|before| before < *version), "{places:?}");
    }
    for user in 0..USERS {
        let entries = server.verified_entries(&server.live, &format!("u{user}")).await;
        assert_eq!(used(&entries).len() as u64, WRITES / USERS);
    }
    both_feeds_catch_up(&server, &apps).await;
    drop(readers);
}

async fn write(app: &App, principal: &Principal, number: u64) -> (u16, u64, EndUserId, u64) {
    let user = EndUserId::new(&format!("u{}", number % USERS)).unwrap();
    let environment = app.environment(principal.environment_id).await.unwrap();
    let (lane, _) = environment.handle.lane_of(user.bucket());
    let commands = vec![usage(principal, &user, 1, &number.to_string())];
    let written = app.write_lane(principal.environment_id, lane, commands).await.unwrap();
    let state = &written.states[&user];
    (lane, state.stamp, user, state.version)
}

async fn both_feeds_catch_up(server: &TestServer, apps: &[(Arc<App>, Principal); 2]) {
    let mut owner = server.owner().await;
    let sql = "select feed_seq from lanes where environment_id = $1 order by number";
    let id = apps[0].1.environment_id.0;
    let rows = sqlx::query(sql).bind(id).fetch_all(&mut owner).await.unwrap();
    let positions: Vec<u64> = rows.iter().map(|row| row.get::<i64, _>("feed_seq").cast_unsigned()).collect();
    assert!(positions.iter().sum::<u64>() > USERS);
    let sql = "select end_user_id, feed_seq from feed join accounts using (lane_id, account_id)";
    let rows = sqlx::query(sql).fetch_all(&mut owner).await.unwrap();
    let stored: BTreeMap<String, u64> =
        rows.iter().map(|row| (row.get("end_user_id"), row.get::<i64, _>("feed_seq").cast_unsigned())).collect();
    assert_eq!(stored.len() as u64, USERS);
    for (app, principal) in apps {
        until("the rings are where the lanes are", async || (heads(app, principal).await == positions).then_some(()))
            .await;
        let environment = app.environment(principal.environment_id).await.unwrap();
        let mut newest = BTreeMap::new();
        for lane in 0..positions.len() {
            let since = environment.handle.feed.read(lane, |ring| ring.since(0, &Filter::All, ALL));
            let Since::Batch { states, .. } = since else { panic!("the ring lost its first state") };
            newest.extend(states.iter().map(|state| (state.end_user_id.to_string(), state.stamp)));
        }
        assert_eq!(newest, stored);
    }
}

#[tokio::test]
async fn what_one_server_changes_the_other_knows_at_once() {
    let server = TestServer::start().await;
    let (_other, other) = server.second(&server.sandbox).await;
    let one = &server.sandbox;
    // Both have met the environment before it changes.
    for client in [one, &other] {
        client.get("/v1/features").await.is(200);
        client.get("/v1/entitlements/check?end_user_id=u&feature_key=f").await.is(200);
    }
    create_feature(one).await;
    let event = json!({"end_user_id": "u", "feature_key": "f", "units": 3, "idempotency_key": "k"});
    let first = other.post("/v1/usage", &event).await.is(200);
    let again = one.post("/v1/usage", &event).await;
    assert!(again.is_replayed());
    assert_eq!(again.is(200)["id"], first["id"]);

    one.post("/v1/sandbox/clock", &json!({"now": "2200-01-01T00:00:00Z"})).await.is(200);
    let check = other.get("/v1/entitlements/check?end_user_id=u&feature_key=f").await.is(200);
    assert_eq!((&check["as_of"], &check["balance"]), (&json!("2200-01-01T00:00:00Z"), &json!(-3)));
    let ends = json!({"end_user_id": "u", "amount": 10, "expires_at": "2200-01-02T00:00:00Z"});
    let block = other.post_keyed("/v1/credits/grants", "k", &ends).await.is(201);
    assert_eq!(one.post_keyed("/v1/credits/grants", "k", &ends).await.is(201), block);
    other.post("/v1/sandbox/clock", &json!({"advance_seconds": 86_400})).await.is(200);
    assert_eq!(one.get("/v1/end_users/u/credits").await.is(200)["balance"], 0);
}

/// `users` subscriptions whose periods all end a month after [`START`] and follow each other by themselves.
async fn subscribe_all(client: &Client, users: u64) {
    client.post("/v1/sandbox/clock", &json!({ "now": START })).await.is(200);
    let plan = client.post("/v1/plans", &json!({"name": "Pro"})).await.is(201);
    let variant = json!({"name": "m", "billing_mode": "postpaid", "billing_period": {"count": 1, "unit": "month"},
        "grants": [{"amount": 50, "interval": "billing_period"}]});
    let variants = format!("/v1/plans/{}/variants", plan["id"].as_str().unwrap());
    let variant = client.post(&variants, &variant).await.is(201)["id"].clone();
    for chunk in (0..users).collect::<Vec<_>>().chunks(16) {
        let mut orders = JoinSet::new();
        for user in chunk {
            let (client, order) =
                (client.clone(), json!({"end_user_id": format!("u{user}"), "plan_variant_id": variant}));
            orders.spawn(async move { client.post("/v1/subscriptions", &order).await.is(201) });
        }
        orders.join_all().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_that_are_due_at_one_instant_are_each_advanced_once_by_two_servers() {
    const USERS: u64 = 300;
    const END: &str = "2100-02-01T00:00:00Z";
    let server = TestServer::start().await;
    subscribe_all(&server.sandbox, USERS).await;
    let (one, principal) = server.app(&server.sandbox).await;
    let (two, _) = server.app(&server.sandbox).await;
    let mut owner = server.owner().await;
    set_clock_and_die(&mut owner, principal.environment_id, END).await;
    let due = "select count(*) from due where next_due <= $1::text::timestamptz";
    let count: i64 = sqlx::query_scalar(due).bind(END).fetch_one(&mut owner).await.unwrap();
    assert_eq!(count.unsigned_abs(), USERS);

    let config = WorkersConfig { due_interval: Duration::from_millis(10) };
    let workers = [Workers::start(&one, config), Workers::start(&two, config)];
    until("nothing is due any more", async || {
        let left: i64 = sqlx::query_scalar(due).bind(END).fetch_one(&mut owner).await.unwrap();
        (left == 0).then_some(())
    })
    .await;
    for workers in workers {
        workers.stop().await;
    }

    for (what, sql) in [
        (
            "grants",
            "select account_id, count(*) from entries where kind = 'grant' and effective_at = $1::text::timestamptz group by 1",
        ),
        (
            "updates",
            "select account_id, count(*) from events
                     where type = 'subscription.updated' and occurred_at = $1::text::timestamptz group by 1",
        ),
    ] {
        let rows = sqlx::query(sql).bind(END).fetch_all(&mut owner).await.unwrap();
        let counts: Vec<i64> = rows.iter().map(|row| row.get("count")).collect();
        assert_eq!(counts, vec![1; usize::try_from(USERS).unwrap()], "{what}");
    }
    let findings =
        verify(&Store::connect(&server.db.url, 3).unwrap(), 2, &Arc::new(Progress::default())).await.unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    let credits = server.sandbox.get("/v1/end_users/u7/credits").await.is(200);
    assert_eq!(credits["balance"], 50, "the old block has ended");
    one.stop().await;
    two.stop().await;
}
