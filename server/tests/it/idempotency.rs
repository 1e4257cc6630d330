//! The same request again is the same change: one effect, one answer.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::server::TestServer;

const SENDINGS: usize = 16;

async fn with_feature(server: &TestServer) -> Value {
    let feature = json!({"feature_key": "f", "name": "F", "kind": "metered", "price": {"type": "per_unit", "cost": 1}});
    server.live.post_keyed("/v1/features", "k", &feature).await.is(201)
}

async fn with_variant(client: &Client) -> String {
    let plan = client.post("/v1/plans", &json!({"name": "Pro"})).await.is(201);
    let variants = format!("/v1/plans/{}/variants", plan["id"].as_str().unwrap());
    let variant = json!({"name": "m", "grace_period_days": 0, "billing_period": {"count": 1, "unit": "month"},
        "grants": [{"amount": 50, "interval": "billing_period"}]});
    client.post_keyed(&variants, "k", &variant).await.is(201)["id"].as_str().unwrap().to_owned()
}

fn grant(amount: i64) -> Value {
    json!({"end_user_id": "u", "amount": amount})
}

async fn credits(client: &Client) -> Value {
    client.get("/v1/end_users/u/credits").await.is(200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_identical_requests_at_once_are_one_change_with_one_answer() {
    one_change_with_one_answer(TestServer::start().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_identical_requests_are_one_change_where_the_database_is_serializable() {
    one_change_with_one_answer(TestServer::start_serializable().await).await;
}

async fn one_change_with_one_answer(server: TestServer) {
    with_feature(&server).await;
    let variant = with_variant(&server.live).await;
    server.live.post("/v1/credits/grants", &grant(100)).await.is(201);
    let other = json!({"feature_key": "g", "name": "G", "kind": "boolean"});
    let requests = [
        ("/v1/credits/grants", grant(5)),
        ("/v1/subscriptions", json!({"end_user_id": "u", "plan_variant_id": variant})),
        ("/v1/features", other),
        ("/v1/plans", json!({"name": "Max"})),
        ("/v1/usage", json!({"end_user_id": "u", "feature_key": "f", "units": 3})),
        ("/v1/reservations", json!({"end_user_id": "u", "feature_key": "f", "units": 3})),
        ("/v1/credits/adjustments", json!({"end_user_id": "u", "amount": -2, "reason": "a correction"})),
        (
            "/v1/topups",
            json!({"end_user_id": "u", "amount": 9, "price_paid": 1, "currency": "USD",
            "payment_reference": "pi_1"}),
        ),
        ("/v1/topup_packages", json!({"name": "P", "amount": 9, "price_paid": 1, "currency": "USD"})),
        ("/v1/features/f/prices", json!({"price": {"type": "flat", "cost": 2}})),
    ];
    let mut answers = std::collections::BTreeMap::new();
    for (path, body) in requests {
        answers.insert(path, identical(&server.live, path, &body).await);
    }
    let id = |path: &str, pointer: &str| answers[path].pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let reservation = format!("/v1/reservations/{}", id("/v1/reservations", "/id"));
    let topup = format!("/v1/topups/{}/refund", id("/v1/topups", "/topup/id"));
    let usage = format!("/v1/usage/{}/void", id("/v1/usage", "/id"));
    let block = format!("/v1/credits/blocks/{}/void", id("/v1/credits/grants", "/block/id"));
    for (path, body) in [
        (format!("{reservation}/extend"), json!({"ttl_seconds": 600})),
        (format!("{reservation}/commit"), json!({"units": 1})),
        (topup, json!({"amount": 4})),
        (usage, json!({"reason": "twice"})),
        (block, json!({"reason": "a mistake"})),
    ] {
        identical(&server.live, &path, &body).await;
    }
    let (grants, usage, committed, refunded) = (100 + 5 + 50 + 9, 3, 1, 4);
    let after_void = grants - usage - 2 - committed - refunded + usage;
    let voided_block = credits(&server.live).await["balance"].as_i64().unwrap();
    assert!(voided_block < after_void, "the block that was voided is gone");
    let entries = server.verified_entries(&server.live, "u").await;
    let count = |kind: &str| entries.iter().filter(|entry| entry.body.kind.name() == kind).count();
    let kinds = ["grant", "usage", "hold", "adjust", "extend", "commit", "release", "refund", "void", "withdraw"];
    assert_eq!(kinds.map(count), [4, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    let plans = server.live.get("/v1/plans").await.is(200);
    assert_eq!(plans["data"].as_array().unwrap().len(), 2);
}

/// Sends the same request many times at once: one change, one answer, which it returns.
async fn identical(client: &Client, path: &str, body: &Value) -> Value {
    let sent = (0..SENDINGS).map(|_| {
        let (client, path, body) = (client.clone(), path.to_owned(), body.clone());
        tokio::spawn(async move { client.post_keyed(&path, "same", &body).await })
    });
    let mut answers: Vec<Answer> = Vec::new();
    for answer in sent.collect::<Vec<_>>() {
        answers.push(answer.await.unwrap());
    }
    assert!(answers.iter().all(|answer| answer.status < 300), "{path}: {answers:?}");
    assert_eq!(answers.iter().filter(|answer| !answer.is_replayed()).count(), 1, "{path}");
    for answer in &mut answers {
        let receipt = answer.json.as_object_mut().unwrap();
        receipt.remove("replayed");
        receipt.get_mut("usage").map(|usage| usage.as_object_mut().unwrap().remove("replayed"));
    }
    assert!(answers.iter().all(|answer| answer.json == answers[0].json), "{path}: {answers:?}");
    answers.swap_remove(0).json
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused() {
    let server = TestServer::start().await;
    with_feature(&server).await;
    let live = &server.live;
    live.post_keyed("/v1/credits/grants", "k", &grant(5)).await.is(201);
    live.post_keyed("/v1/credits/grants", "k", &grant(6)).await.refused(422, "idempotency_key_reused");
    let explicit = json!({"end_user_id": "u", "amount": 5, "priority": 100});
    live.post_keyed("/v1/credits/grants", "k", &explicit).await.refused(422, "idempotency_key_reused");
    let plain = json!({"feature_key": "f", "name": "F", "kind": "metered"});
    live.post_keyed("/v1/features", "k", &plain).await.refused(422, "idempotency_key_reused");
    assert_eq!(credits(live).await["balance"], 5);
}

#[tokio::test]
async fn bodies_that_differ_only_in_the_type_of_a_value_are_different() {
    let server = TestServer::start().await;
    let values = ["true", "1", "-1", "\"\\u0001\"", "1.0", "[]", "{}", "0", "false", "[0]", "[[]]"];
    for (row, first) in values.iter().enumerate() {
        for (column, second) in values.iter().enumerate() {
            let name = format!("c{row}x{column}");
            let headers = [("content-type", "application/json"), ("idempotency-key", name.as_str())];
            let send = async |value: &str| {
                let default = format!(r#"{{"enabled":true,"value":{value}}}"#);
                let body = format!(r#"{{"feature_key":"{name}","name":"C","kind":"config","default":{default}}}"#);
                server.live.send(Method::POST, "/v1/features", &headers, Some(body.into_bytes())).await
            };
            send(first).await.is(201);
            let again = send(second).await;
            if row == column {
                assert!(again.is_replayed());
            } else {
                again.refused(422, "idempotency_key_reused");
            }
        }
    }
}

#[tokio::test]
async fn white_space_and_the_order_of_fields_make_no_other_body() {
    let server = TestServer::start().await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "k")];
    let bodies = [
        r#"{"end_user_id":"u","amount":5,"metadata":{"a":"1","b":"2"}}"#,
        " {\"amount\" : 5,\n \"metadata\":{\"b\":\"2\",\"a\":\"1\"}, \"end_user_id\":\"\\u0075\"}\n",
    ];
    for (body, is_repeat) in bodies.into_iter().zip([false, true]) {
        let body = Some(body.as_bytes().to_vec());
        let answer = server.live.send(Method::POST, "/v1/credits/grants", &headers, body).await;
        assert_eq!(answer.is_replayed(), is_repeat);
        answer.is(201);
    }
    assert_eq!(credits(&server.live).await["balance"], 5);
}

#[tokio::test]
async fn a_key_belongs_to_its_end_user_operation_and_environment() {
    let server = TestServer::start().await;
    // The same key as the one that `with_feature` and `with_variant` send.
    with_feature(&server).await;
    let variant = with_variant(&server.live).await;
    let order = json!({"end_user_id": "u", "plan_variant_id": variant});
    for (client, path, body) in [
        (&server.live, "/v1/credits/grants", grant(1)),
        (&server.live, "/v1/credits/grants", json!({"end_user_id": "v", "amount": 1})),
        (&server.sandbox, "/v1/credits/grants", grant(1)),
        (&server.live, "/v1/subscriptions", order),
        (&server.live, "/v1/plans", json!({"name": "P"})),
        (&server.sandbox, "/v1/plans", json!({"name": "P"})),
        (&server.sandbox, "/v1/sandbox/clock", json!({"advance_seconds": 1})),
    ] {
        let answer = client.post_keyed(path, "k", &body).await;
        assert!(answer.status < 300 && !answer.is_replayed(), "{path}: {}", answer.text);
        let again = client.post_keyed(path, "k", &body).await;
        assert!(again.status == answer.status && again.is_replayed() && again.json == answer.json, "{path}");
    }
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let server = TestServer::start().await;
    with_feature(&server).await;
    let live = &server.live;
    let usage = json!({"end_user_id": "u", "feature_key": "f", "units": 7});
    live.post_keyed("/v1/usage", "k", &usage).await.refused(402, "insufficient_credits");
    let ended = json!({"end_user_id": "u", "amount": 5, "expires_at": "2020-01-01T00:00:00Z"});
    live.post_keyed("/v1/credits/grants", "k", &ended).await.refused(422, "validation_failed");
    live.post_keyed("/v1/credits/grants", "k", &grant(10)).await.is(201);
    assert!(!live.post_keyed("/v1/usage", "k", &usage).await.is_replayed());
    let taken = json!({"feature_key": "f", "name": "F", "kind": "boolean"});
    live.post_keyed("/v1/features", "k2", &taken).await.refused(409, "already_exists");
    let free = json!({"feature_key": "g", "name": "G", "kind": "boolean"});
    live.post_keyed("/v1/features", "k2", &free).await.is(201);
    assert_eq!(credits(live).await["balance"], 3);
}

#[tokio::test]
async fn header_and_body_name_the_same_event_of_usage() {
    let server = TestServer::start().await;
    with_feature(&server).await;
    let live = &server.live;
    live.post("/v1/credits/grants", &grant(100)).await.is(201);
    let bare = json!({"end_user_id": "u", "feature_key": "f", "units": 1});
    let named = json!({"end_user_id": "u", "feature_key": "f", "units": 1, "idempotency_key": "k"});
    let first = live.post_keyed("/v1/usage", "k", &bare).await.is(200);
    for again in [live.post("/v1/usage", &named).await, live.post_keyed("/v1/usage", "k", &named).await] {
        assert!(again.is_replayed());
        assert_eq!((&again.json["id"], &again.json["replayed"]), (&first["id"], &json!(true)));
        assert_eq!(again.json["allocations"], first["allocations"]);
    }
    live.post_keyed("/v1/usage", "other", &named).await.refused(422, "idempotency_key_reused");
    let more = json!({"end_user_id": "u", "feature_key": "f", "units": 2, "idempotency_key": "k"});
    live.post("/v1/usage", &more).await.refused(409, "idempotency_conflict");
    for bad in ["", "k\u{e9}", "k\tk", &"k".repeat(256)] {
        live.post_keyed("/v1/usage", bad, &bare).await.refused(422, "validation_failed");
        live.post_keyed("/v1/plans", bad, &json!({"name": "P"})).await.refused(422, "validation_failed");
    }
    // Without a key, each request is an event of its own.
    live.post("/v1/usage", &bare).await.is(200);
    live.post("/v1/usage", &bare).await.is(200);
    assert_eq!(credits(live).await["balance"], 97);
}

#[tokio::test]
async fn the_header_of_a_batch_names_its_events_by_their_place() {
    let server = TestServer::start().await;
    with_feature(&server).await;
    let live = &server.live;
    for user in ["u", "v", "w"] {
        live.post("/v1/credits/grants", &json!({"end_user_id": user, "amount": 10})).await.is(201);
    }
    let event = |user, units| json!({"end_user_id": user, "feature_key": "f", "units": units});
    let mut named = event("w", 1);
    named["idempotency_key"] = json!("mine");
    let events = json!({"events": [event("u", 1), event("v", 2), event("u", 99), named, event("u", 4)]});
    let statuses = |answer: &Value| -> Vec<String> {
        let results = answer["results"].as_array().unwrap().iter();
        results.map(|result| result["status"].as_str().unwrap().to_owned()).collect()
    };
    let first = live.post_keyed("/v1/usage/batch", "b", &events).await.is(200);
    assert_eq!(statuses(&first), ["recorded", "recorded", "refused", "recorded", "recorded"]);
    assert_eq!(first["results"][2]["code"], "insufficient_credits");
    let again = live.post_keyed("/v1/usage/batch", "b", &events).await.is(200);
    assert_eq!(statuses(&again), ["replayed", "replayed", "refused", "replayed", "replayed"]);
    assert_eq!(first["results"][4]["id"], again["results"][4]["id"]);
    // Each by itself, under the name that it got.
    for (user, units, key, place) in [("u", 1, "b/0", 0), ("v", 2, "b/1", 1), ("w", 1, "mine", 3), ("u", 4, "b/4", 4)] {
        let mut one = event(user, units);
        one["idempotency_key"] = json!(key);
        let answer = live.post("/v1/usage", &one).await.is(200);
        assert_eq!((&answer["id"], &answer["replayed"]), (&first["results"][place]["id"], &json!(true)));
    }
    assert_eq!(credits(live).await["balance"], 5);
}
