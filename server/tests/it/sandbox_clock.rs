//! The sandbox's clock: where it can go, and that all which becomes due is written before the call returns.

use std::time::Duration;

use quotastack_core::ids::IdempotencyKey;
use quotastack_core::time::Timestamp;
use quotastack_server::app::catalogue::CatalogueChange;
use quotastack_server::app::clock;
use quotastack_server::app::error::AppError;
use quotastack_server::app::idempotency::RequestIdentity;
use quotastack_server::app::sandbox::ClockSetting;
use serde_json::{Value, json};

use crate::due::{START, all_expired_once, events, grant_to_all, minutes_after_start};
use crate::support::client::Client;
use crate::support::server::TestServer;
use crate::writer::create_feature;

const PATH: &str = "/v1/sandbox/clock";
const LATER: &str = "2101-01-01T00:00:00Z";

fn now_of(clock: &Value) -> Timestamp {
    clock["now"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn all_that_becomes_due_is_written_in_order_before_the_call_returns() {
    // More than a page in each lane.
    const USERS: u64 = 260;
    let server = TestServer::start().await;
    let client = &server.sandbox;
    create_feature(client).await;
    grant_to_all(client, USERS).await;
    // One account with several instants of several kinds.
    let hold = json!({"end_user_id": "u9", "feature_key": "f", "units": 4, "ttl_seconds": 120});
    client.post("/v1/reservations", &hold).await.is(201);
    let starts = minutes_after_start(5);
    let later = json!({"end_user_id": "u9", "amount": 7, "effective_at": starts, "expires_at": "2200-01-01T00:00:00Z"});
    client.post("/v1/credits/grants", &later).await.is(201);

    assert_eq!(client.post(PATH, &json!({ "now": LATER })).await.is(200), json!({"now": LATER, "running": false}));
    let mut owner = server.owner().await;
    let sql = "select kind, (extract(epoch from effective_at) * 1000000)::bigint as at from entries
               join accounts using (lane_id, account_id) where end_user_id = 'u9' order by entries.seq";
    let written: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(&mut owner).await.unwrap();
    let (hold_end, start, end) = (minutes_after_start(2), starts, minutes_after_start(10));
    let expected = [("hold_expired", hold_end), ("start", start), ("expire", end)];
    assert_eq!(written[3..], expected.map(|(kind, at)| (kind.to_owned(), at.as_micros())));
    let announced = events(&mut owner, "credits.expired").await;
    assert_eq!(announced.len() as u64, USERS);
    let sql = "select count(*) from due where next_due < '2101-01-01T00:00:00Z'::timestamptz";
    assert_eq!(sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut owner).await.unwrap(), 0);
    server.verified_entries(client, "u9").await;
}

#[tokio::test]
async fn a_call_that_was_cut_off_is_finished_by_its_repeat_before_that_is_answered() {
    const USERS: u64 = 260;
    let server = TestServer::start().await;
    let client = &server.sandbox;
    grant_to_all(client, USERS).await;
    let (app, principal) = server.app(client).await;
    let (id, mut owner) = (principal.environment_id, server.owner().await);
    // The first part of the call, and a page of the second: then the server is killed.
    let now = minutes_after_start(600);
    let body = json!({"advance_seconds": 600 * 60});
    let key = IdempotencyKey::new("k").unwrap();
    let identity = RequestIdentity::new(id, "set_sandbox_clock", None, &key, &body);
    let change = CatalogueChange::SetClock(ClockSetting::Advance(600 * 60));
    app.change_catalogue(&principal, &change, Some(identity)).await.unwrap();
    assert!(events(&mut owner, "credits.expired").await.is_empty());
    let cut = app.write_all_due(id, now, Duration::ZERO).await;
    assert!(matches!(cut, Err(AppError::CatchingUp { now: at }) if at == now), "{cut:?}");
    let written = events(&mut owner, "credits.expired").await.len() as u64;
    assert!(written > 1 && written < USERS, "{written}");

    let again = client.post_keyed(PATH, "k", &body).await;
    assert!(again.is_replayed());
    assert_eq!(again.is(200), json!({"now": now, "running": false}));
    all_expired_once(&server, client, USERS).await;
    app.stop().await;
}

#[tokio::test]
async fn a_call_that_cannot_finish_says_so_and_the_clock_is_set() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    grant_to_all(client, 4).await;
    // Somebody holds a table for longer than the call waits.
    let mut owner = server.owner().await;
    sqlx::raw_sql("begin; lock table entries in exclusive mode").execute(&mut owner).await.unwrap();
    let refused = client.post_keyed(PATH, "k", &json!({ "now": LATER })).await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    let problem = refused.refused(503, "catching_up");
    assert!(problem["detail"].as_str().unwrap().contains("same key"), "{problem}");
    assert_eq!(client.get(PATH).await.is(200), json!({"now": LATER, "running": false}));
    sqlx::raw_sql("rollback").execute(&mut owner).await.unwrap();
    let again = client.post_keyed(PATH, "k", &json!({ "now": LATER })).await;
    assert!(again.is_replayed());
    again.is(200);
    all_expired_once(&server, client, 4).await;
}

#[tokio::test]
async fn it_follows_real_time_stands_and_runs_on_from_where_it_stood() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    let clock = client.get(PATH).await.is(200);
    assert_eq!(clock["running"], true);
    // It runs already: nothing changes.
    let before = clock::now();
    let clock = client.post(PATH, &json!({"follow": true})).await.is(200);
    assert_eq!(clock["running"], true);
    assert!(now_of(&clock) >= before && now_of(&clock) <= clock::now());

    client.post(PATH, &json!({ "now": START })).await.is(200);
    for _ in 0..2 {
        assert_eq!(client.get(PATH).await.is(200), json!({"now": START, "running": false}));
        // Its own present is allowed.
        client.post(PATH, &json!({ "now": START })).await.is(200);
    }
    let ends = minutes_after_start(1);
    client.post("/v1/credits/grants", &json!({"end_user_id": "u", "amount": 5, "expires_at": ends})).await.is(201);
    let started = clock::now();
    let follow = client.post_keyed(PATH, "k", &json!({"follow": true})).await.is(200);
    assert_eq!(follow, json!({"now": START, "running": true}));
    let again = client.post_keyed(PATH, "k", &json!({"follow": true})).await;
    assert!(again.is_replayed() && again.json == follow);
    let seen = client.get(PATH).await.is(200);
    let ran = now_of(&seen).micros_since(now_of(&follow));
    assert!(ran >= 0 && ran <= clock::now().micros_since(started), "{seen}");
    assert_eq!(seen["running"], true);
    // A running one goes forward from where it is, and stands there.
    let past = client.post(PATH, &json!({ "now": START })).await.refused(422, "validation_failed");
    assert!(past["errors"][0]["detail"].as_str().unwrap().contains("only goes forward"), "{past}");
    let stood = client.post(PATH, &json!({"advance_seconds": 60})).await.is(200);
    assert!(now_of(&stood) >= ends && stood["running"] == false);
    assert_eq!(client.get(PATH).await.is(200), stood);
    assert_eq!(events(&mut server.owner().await, "credits.expired").await.len(), 1);
}

#[tokio::test]
async fn a_setting_says_one_thing() {
    let server = TestServer::start().await;
    for (body, pointer) in [
        (json!({}), ""),
        (json!({"follow": false}), "/follow"),
        (json!({"follow": true, "advance_seconds": 1}), ""),
        (json!({"now": START, "follow": true}), ""),
        (json!({"now": START, "advance_seconds": 1}), ""),
    ] {
        let problem = server.sandbox.post(PATH, &body).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
    let live: &Client = &server.live;
    live.post(PATH, &json!({"follow": true})).await.refused(409, "sandbox_only");
    // It would run into the end of time.
    server.sandbox.post(PATH, &json!({"now": "9950-01-01T00:00:00Z"})).await.is(200);
    let problem = server.sandbox.post(PATH, &json!({"follow": true})).await.refused(422, "validation_failed");
    assert_eq!(problem["errors"][0]["pointer"], "/follow");
}
