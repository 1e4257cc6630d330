//! Reservations over HTTP, beside the shared cases: gates, late commits, lists, and consume.
//!
//! The operations: create_reservation, commit_reservation, release_reservation, extend_reservation, get_reservation,
//! list_reservations, consume.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::TestServer;

async fn server() -> TestServer {
    let server = TestServer::start().await;
    let price = json!({"type": "per_unit", "cost": 1});
    let open = json!({"feature_key": "f", "name": "F", "kind": "metered", "price": price});
    server.sandbox.post("/v1/features", &open).await.is(201);
    let closed = json!({"feature_key": "closed", "name": "C", "kind": "metered", "price": price,
        "default": {"enabled": false}});
    server.sandbox.post("/v1/features", &closed).await.is(201);
    server.sandbox.post("/v1/features", &json!({"feature_key": "flag", "name": "B", "kind": "boolean"})).await.is(201);
    server.sandbox.post("/v1/features", &json!({"feature_key": "free", "name": "N", "kind": "metered"})).await.is(201);
    server.sandbox.post("/v1/credits/grants", &json!({"end_user_id": "u", "amount": 100})).await.is(201);
    server
}

fn ask(feature: &str, units: i64) -> Value {
    json!({"end_user_id": "u", "feature_key": feature, "units": units})
}

async fn balance(client: &Client) -> i64 {
    client.get("/v1/end_users/u/credits").await.is(200)["balance"].as_i64().unwrap()
}

#[tokio::test]
async fn who_may_not_use_a_feature_can_neither_consume_nor_reserve_it() {
    let server = server().await;
    let client = &server.sandbox;
    let before = client.get("/v1/end_users/u/ledger").await.is(200);
    for path in ["/v1/consume", "/v1/reservations"] {
        client.post(path, &ask("closed", 1)).await.refused(409, "no_subscription");
        client.post(path, &ask("ghost", 1)).await.refused(409, "feature_unknown");
        client.post(path, &ask("free", 1)).await.refused(409, "feature_unpriced");
        client.post(path, &ask("flag", 1)).await.refused(422, "validation_failed");
        client.post(path, &ask("f", 101)).await.refused(402, "insufficient_credits");
    }
    assert_eq!(client.get("/v1/end_users/u/ledger").await.is(200), before);
    // Usage records work that was done: the plan does not matter.
    client.post("/v1/usage", &ask("closed", 1)).await.is(200);
    let consumed = client.post("/v1/consume", &ask("f", 2)).await.is(200);
    assert_eq!((consumed["allowed"].as_bool(), consumed["source"].as_str()), (Some(true), Some("server")));
    assert_eq!(balance(client).await, 97);
}

#[tokio::test]
async fn consuming_again_with_the_same_key_answers_the_first_time() {
    let server = server().await;
    let client = &server.sandbox;
    let first = client.post_keyed("/v1/consume", "k", &ask("f", 5)).await.is(200);
    let again = client.post_keyed("/v1/consume", "k", &ask("f", 5)).await;
    assert!(again.is_replayed());
    assert_eq!(again.is(200)["id"], first["id"]);
    // One identity per end user, whatever the operation.
    assert!(client.post_keyed("/v1/usage", "k", &ask("f", 5)).await.is_replayed());
    client.post_keyed("/v1/consume", "k", &ask("f", 6)).await.refused(409, "idempotency_conflict");
    assert_eq!(balance(client).await, 95);
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_moves_nothing() {
    let server = server().await;
    let client = &server.sandbox;
    let mut event = ask("f", 5);
    event["dry_run"] = json!(true);
    let before = client.get("/v1/end_users/u/ledger").await.is(200);
    let dry = client.post("/v1/usage", &event).await.is(200);
    assert_eq!((dry["cost"].as_i64(), dry["balance"].as_i64(), &dry["id"]), (Some(5), Some(95), &Value::Null));
    assert_eq!(dry["priced_by"], json!({"source": "feature", "rule": null}));
    event["units"] = json!(101);
    client.post("/v1/usage", &event).await.refused(402, "insufficient_credits");
    let batch = json!({"events": [event]});
    client.post("/v1/usage/batch", &batch).await.refused(422, "validation_failed");
    assert_eq!(client.get("/v1/end_users/u/ledger").await.is(200), before);
}

#[tokio::test]
async fn a_commit_after_the_end_is_refused_or_charged_as_ordinary_usage() {
    let server = server().await;
    let client = &server.sandbox;
    client.post("/v1/sandbox/clock", &json!({"now": "2100-01-01T00:00:00Z"})).await.is(200);
    let mut reserve = ask("f", 10);
    reserve["ttl_seconds"] = json!(60);
    let reserved = client.post("/v1/reservations", &reserve).await.is(201);
    client.post("/v1/sandbox/clock", &json!({"advance_seconds": 60})).await.is(200);
    let path = format!("/v1/reservations/{}", reserved["id"].as_str().unwrap());
    let read = client.get(&path).await.is(200);
    assert_eq!((read["status"].as_str(), read["held"].as_i64()), (Some("expired"), Some(0)));
    assert_eq!(read["closed_at"], read["expires_at"]);
    let commit = format!("{path}/commit");
    client.post(&commit, &json!({"units": 3})).await.refused(409, "reservation_expired");
    let late = json!({"units": 3, "late": "debit", "final": false});
    let charged = client.post_keyed(&commit, "late", &late).await.is(200);
    assert_eq!((charged["usage"]["cost"].as_i64(), balance(client).await), (Some(3), 97));
    assert!(client.post_keyed(&commit, "late", &late).await.is_replayed());
    assert_eq!(balance(client).await, 97);
    // Work that goes on and is committed in parts has more than one.
    client.post_keyed(&commit, "later", &json!({"units": 3, "late": "debit"})).await.is(200);
    assert_eq!(balance(client).await, 94);
    // The final one is the last: without a key, a repeat is not charged again.
    client.post(&commit, &json!({"units": 3, "late": "debit"})).await.refused(409, "reservation_committed");
    assert_eq!(balance(client).await, 94);
    let usage = client.get(&format!("/v1/usage/{}", charged["usage"]["id"].as_str().unwrap())).await.is(200);
    assert_eq!(usage["reservation_id"], reserved["id"]);
    server.verified_entries(client, "u").await;
}

#[tokio::test]
async fn a_void_of_a_commit_returns_to_the_blocks_and_not_to_the_hold() {
    let server = server().await;
    let client = &server.sandbox;
    let reserved = client.post("/v1/reservations", &ask("f", 10)).await.is(201);
    let commit = format!("/v1/reservations/{}/commit", reserved["id"].as_str().unwrap());
    let partial = client.post(&commit, &json!({"units": 4, "final": false})).await.is(200);
    assert_eq!((partial["reservation"]["held"].as_i64(), balance(client).await), (Some(6), 96));
    let void = format!("/v1/usage/{}/void", partial["usage"]["id"].as_str().unwrap());
    client.post(&void, &json!({})).await.is(200);
    let credits = client.get("/v1/end_users/u/credits").await.is(200);
    assert_eq!((credits["balance"].as_i64(), credits["reserved"].as_i64()), (Some(100), Some(6)));
    server.verified_entries(client, "u").await;
}

#[tokio::test]
async fn reservations_are_listed_newest_first_each_once() {
    let server = server().await;
    let client = &server.sandbox;
    let mut made = Vec::new();
    for units in 1..=5 {
        let reserved = client.post("/v1/reservations", &ask("f", units)).await.is(201);
        made.insert(0, reserved["id"].clone());
    }
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/reservations?end_user_id=u&limit=2{cursor}")).await.is(200);
        listed.extend(page["data"].as_array().unwrap().iter().map(|one| one["id"].clone()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    listed.sort_by_key(|id| made.iter().position(|one| one == id));
    assert_eq!(listed, made);
    assert_eq!(client.get("/v1/reservations?end_user_id=nobody").await.is(200)["data"], json!([]));
    for ttl in [0, -1, 86_401, i64::MAX] {
        let mut reserve = ask("f", 1);
        reserve["ttl_seconds"] = json!(ttl);
        client.post("/v1/reservations", &reserve).await.refused(422, "validation_failed");
    }
}
