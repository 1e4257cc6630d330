//! What of requests is kept for 30 days, and how it goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quotastack_server::app::App;
use quotastack_server::workers::{Workers, WorkersConfig};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::task::JoinSet;

use crate::support::client::Client;
use crate::support::server::TestServer;
use crate::support::wait::until;

/// Hours after which a row's slot can be emptied on every day of a period.
const CERTAINLY_DEAD: u32 = 39 * 24;
const GRANTS: &str = "/v1/credits/grants";

fn grant() -> Value {
    json!({"end_user_id": "u", "amount": 1})
}

/// As if everything had been requested so much earlier.
async fn age(owner: &mut PgConnection, hours: u32) {
    let earlier = format!("created_at - interval '{hours} hours'");
    let period = format!("floor(extract(epoch from {earlier}) / 691200)::integer");
    for sql in [
        format!("update account_requests set created_at = {earlier}, period = {period}, slot = {period} % 6"),
        format!("update catalogue_requests set created_at = {earlier}"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *owner).await.unwrap();
    }
}

async fn count(owner: &mut PgConnection, table: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {table}"))).fetch_one(owner).await.unwrap()
}

async fn is_replayed(client: &Client, path: &str, body: &Value) -> bool {
    let answer = client.post_keyed(path, "k", body).await;
    assert!(answer.status < 300, "{}", answer.text);
    answer.is_replayed()
}

#[tokio::test]
async fn a_key_is_known_for_30_days_and_names_a_new_request_after_that() {
    let server = TestServer::start().await;
    let plan = json!({"name": "P"});
    for client in [&server.live, &server.sandbox] {
        // Real time counts, also where the clock is far ahead of it.
        if client.key() == server.sandbox.key() {
            client.post("/v1/sandbox/clock", &json!({"now": "2100-01-01T00:00:00Z"})).await.is(200);
        }
        assert!(!is_replayed(client, GRANTS, &grant()).await);
        assert!(!is_replayed(client, "/v1/plans", &plan).await);
    }
    let mut owner = server.owner().await;
    age(&mut owner, 30 * 24 - 1).await;
    let (app, _) = server.app(&server.live).await;
    for _ in 0..2 {
        for client in [&server.live, &server.sandbox] {
            assert!(is_replayed(client, GRANTS, &grant()).await);
            assert!(is_replayed(client, "/v1/plans", &plan).await);
            client
                .post_keyed(GRANTS, "k", &json!({"end_user_id": "u", "amount": 2}))
                .await
                .refused(422, "idempotency_key_reused");
        }
        // What is young enough stays, whoever cleans up.
        assert_eq!(app.forget_old_requests().await.unwrap(), 0);
    }
    // A little more than 30 days: the row is there still, and the key is free.
    age(&mut owner, 2).await;
    for client in [&server.live, &server.sandbox] {
        assert!(!is_replayed(client, GRANTS, &grant()).await);
        assert!(is_replayed(client, GRANTS, &grant()).await);
        assert!(!is_replayed(client, "/v1/plans", &plan).await);
        assert!(is_replayed(client, "/v1/plans", &plan).await);
        assert_eq!(client.get("/v1/end_users/u/credits").await.is(200)["balance"], 2);
    }
    app.stop().await;
}

#[tokio::test]
async fn what_is_old_goes_slot_by_slot_and_page_by_page() {
    let server = TestServer::start().await;
    let mut owner = server.owner().await;
    let (app, _) = server.app(&server.live).await;
    // A request every two days, the last one now.
    for number in 0..30 {
        age(&mut owner, 48).await;
        let body = json!({"end_user_id": format!("u{number}"), "amount": 1});
        server.live.post(GRANTS, &body).await.is(201);
        server.live.post("/v1/plans", &json!({"name": "P"})).await.is(201);
        app.forget_old_requests().await.unwrap();
        let old = "account_requests where created_at < now() - interval '40 days 1 hour'";
        assert_eq!(count(&mut owner, old).await, 0, "after {number}");
        let young = count(&mut owner, "account_requests where created_at > now() - interval '30 days'").await;
        assert_eq!(young, (number + 1).min(15), "after {number}");
        assert_eq!(count(&mut owner, "catalogue_requests").await, (number + 1).min(16), "after {number}");
    }
    // Usage and payments are remembered for ever: nothing of them is in these tables.
    assert_eq!(count(&mut owner, "accounts").await, 30);
    app.stop().await;
}

#[tokio::test]
async fn a_server_s_worker_forgets_what_is_old_at_its_start() {
    let server = TestServer::start().await;
    let mut owner = server.owner().await;
    is_replayed(&server.live, GRANTS, &grant()).await;
    is_replayed(&server.live, "/v1/plans", &json!({"name": "P"})).await;
    age(&mut owner, CERTAINLY_DEAD).await;
    assert_eq!(count(&mut owner, "account_requests").await, 1);
    let (app, _) = server.app(&server.live).await;
    let workers = Workers::start(&app, WorkersConfig::default());
    for table in ["account_requests", "catalogue_requests"] {
        until("it is empty", async || (count(&mut owner, table).await == 0).then_some(())).await;
    }
    workers.stop().await;
    app.stop().await;
}

#[tokio::test]
async fn a_slot_that_was_not_emptied_in_time_still_takes_the_same_key() {
    let server = TestServer::start().await;
    let mut owner = server.owner().await;
    assert!(!is_replayed(&server.live, GRANTS, &grant()).await);
    // One whole round: the same slot again.
    age(&mut owner, 48 * 24).await;
    assert!(!is_replayed(&server.live, GRANTS, &grant()).await);
    assert!(is_replayed(&server.live, GRANTS, &grant()).await);
    let slots: i64 = count(&mut owner, "(select distinct slot from account_requests) slots").await;
    assert_eq!((slots, count(&mut owner, "account_requests").await), (1, 2));
    // It holds what is young, so it waits for its next turn.
    let (app, _) = server.app(&server.live).await;
    assert_eq!(app.forget_old_requests().await.unwrap(), 0);
    assert!(is_replayed(&server.live, GRANTS, &grant()).await);
    age(&mut owner, CERTAINLY_DEAD).await;
    assert_eq!(app.forget_old_requests().await.unwrap(), 1);
    assert_eq!(count(&mut owner, "account_requests").await, 0);
    app.stop().await;
}

#[tokio::test]
async fn the_server_s_role_can_empty_nothing_that_is_young() {
    let server = TestServer::start().await;
    is_replayed(&server.live, GRANTS, &grant()).await;
    is_replayed(&server.live, "/v1/plans", &json!({"name": "P"})).await;
    let mut owner = server.owner().await;
    sqlx::raw_sql("set role quotastack_app").execute(&mut owner).await.unwrap();
    for slot in 0..6_i16 {
        let emptied: bool =
            sqlx::query_scalar("select empty_request_slot($1)").bind(slot).fetch_one(&mut owner).await.unwrap();
        assert!(!emptied, "{slot}");
        let direct = format!("select count(*) from account_requests_{slot}");
        let refused = sqlx::raw_sql(AssertSqlSafe(direct)).execute(&mut owner).await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "42501");
    }
    for slot in [-1_i16, 6] {
        sqlx::query("select empty_request_slot($1)").bind(slot).execute(&mut owner).await.unwrap_err();
    }
    let removed: i64 =
        sqlx::query_scalar("select forget_catalogue_requests(1000000)").fetch_one(&mut owner).await.unwrap();
    assert_eq!(removed, 0);
    assert!(is_replayed(&server.live, GRANTS, &grant()).await);
    assert!(is_replayed(&server.live, "/v1/plans", &json!({"name": "P"})).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeats_are_answered_while_slots_are_emptied() {
    const CLIENTS: u64 = 8;
    let server = TestServer::start().await;
    let mut owner = server.owner().await;
    let old = json!({"end_user_id": "old", "amount": 1});
    server.live.post_keyed(GRANTS, "k", &old).await.is(201);
    age(&mut owner, CERTAINLY_DEAD).await;
    let bodies: Vec<Value> =
        (0..CLIENTS).map(|number| json!({"end_user_id": format!("u{number}"), "amount": 1})).collect();
    for body in &bodies {
        assert!(!is_replayed(&server.live, GRANTS, body).await);
    }
    let done = Arc::new(AtomicBool::new(false));
    let mut repeats = JoinSet::new();
    for body in bodies {
        let (client, done) = (server.live.clone(), Arc::clone(&done));
        repeats.spawn(async move {
            let mut repeated = 0_u64;
            while !done.load(Ordering::Relaxed) || repeated == 0 {
                assert!(is_replayed(&client, GRANTS, &body).await);
                repeated += 1;
            }
            repeated
        });
    }
    let (one, _) = server.app(&server.live).await;
    let (two, _) = server.app(&server.live).await;
    // Two servers at once, again and again: each old row goes once, and only old ones do.
    for _ in 0..10 {
        sqlx::raw_sql("create table if not exists kept as select * from account_requests where created_at < now() - interval '38 days'")
            .execute(&mut owner)
            .await
            .unwrap();
        let emptied = tokio::join!(forget(&one), forget(&two));
        assert_eq!(emptied.0 + emptied.1, 1);
        sqlx::raw_sql("insert into account_requests select * from kept").execute(&mut owner).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    assert!(repeats.join_all().await.into_iter().sum::<u64>() >= CLIENTS);
    one.stop().await;
    two.stop().await;
}

/// As the worker does it: again, where a slot could not be locked in time.
async fn forget(app: &App) -> usize {
    loop {
        if let Ok(emptied) = app.forget_old_requests().await {
            return emptied;
        }
    }
}
