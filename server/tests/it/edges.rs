//! The ends of every range, over HTTP: amounts up to 2^53 - 1, time up to the year 9999.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::TestServer;

const MOST: i64 = 9_007_199_254_740_991;
/// What ends later than any clock can show.
const END_OF_TIME: &str = "9999-12-25T00:00:00Z";
const LAST_INSTANT: &str = "9999-12-24T23:59:59.999999Z";

async fn create_feature(client: &Client, key: &str, policy: &str, cost: i64) {
    let feature = json!({"feature_key": key, "name": key, "kind": "metered", "overage_policy": policy,
        "price": {"type": "per_unit", "cost": cost}});
    client.post("/v1/features", &feature).await.is(201);
}

async fn create_variant(client: &Client, amount: i64, count: i64, unit: &str) -> Value {
    let plan = client.post("/v1/plans", &json!({"name": "Pro"})).await.is(201);
    let of_plan = format!("/v1/plans/{}/variants", plan["id"].as_str().unwrap());
    let variant = json!({"name": "v", "grace_period_days": 0, "billing_period": {"count": count, "unit": unit},
        "grants": [{"amount": amount, "interval": "billing_period"}]});
    client.post(&of_plan, &variant).await.is(201)["id"].clone()
}

fn grant(amount: i64) -> Value {
    json!({"end_user_id": "u", "amount": amount})
}

fn usage(feature: &str, units: i64) -> Value {
    json!({"end_user_id": "u", "feature_key": feature, "units": units})
}

#[tokio::test]
async fn a_balance_goes_up_to_the_most_that_every_reader_can_hold_and_no_further() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    create_feature(client, "f", "block", 1).await;
    client.post("/v1/credits/grants", &grant(MOST)).await.is(201);
    client.post("/v1/credits/grants", &grant(1)).await.refused(422, "amount_out_of_range");
    let variant = create_variant(client, MOST, 1, "month").await;
    let order = json!({"end_user_id": "u", "plan_variant_id": variant});
    client.post("/v1/subscriptions", &order).await.refused(422, "amount_out_of_range");
    let many = json!({"end_user_id": "v", "plan_variant_id": variant, "quantity": 1_000_000});
    client.post("/v1/subscriptions", &many).await.refused(422, "amount_out_of_range");
    let receipt = client.post("/v1/usage", &usage("f", MOST)).await.is(200);
    assert_eq!((&receipt["cost"], &receipt["balance"]), (&json!(MOST), &json!(0)));
    client.post("/v1/usage", &usage("f", 1)).await.refused(402, "insufficient_credits");
    server.verified_entries(client, "u").await;
    assert_eq!(client.get("/v1/end_users/v/credits").await.is(200)["version"], 0);
}

#[tokio::test]
async fn a_debt_goes_down_to_the_least_and_no_further() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    create_feature(client, "f", "overdraft", 1).await;
    create_feature(client, "dear", "overdraft", MOST).await;
    client.post("/v1/usage", &usage("f", MOST)).await.is(200);
    client.post("/v1/usage", &usage("f", 1)).await.refused(422, "amount_out_of_range");
    client.post("/v1/usage", &usage("dear", MOST)).await.refused(422, "amount_out_of_range");
    let account = client.get("/v1/end_users/u/credits").await.is(200);
    assert_eq!((&account["balance"], &account["debt"]), (&json!(-MOST), &json!(MOST)));
    let check = format!("/v1/entitlements/check?end_user_id=u&feature_key=dear&units={MOST}");
    client.get(&check).await.is(200);
    server.verified_entries(client, "u").await;
}

#[tokio::test]
async fn at_the_end_of_time_there_are_answers() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    create_feature(client, "f", "overdraft", 1).await;
    let variant = create_variant(client, 10, 1_000, "year").await;
    client.post("/v1/sandbox/clock", &json!({"now": "9999-01-01T00:00:00Z"})).await.is(200);
    let order = json!({"end_user_id": "u", "plan_variant_id": variant});
    let subscription = client.post("/v1/subscriptions", &order).await.is(201);
    assert_eq!(subscription["current_period"]["end"], END_OF_TIME);
    for bad in [
        json!({"now": "9999-12-31T00:00:00Z"}),
        json!({"now": END_OF_TIME}),
        json!({"advance_seconds": 3_155_760_000_i64}),
        json!({"now": "9998-12-31T23:59:59Z"}),
    ] {
        client.post("/v1/sandbox/clock", &bad).await.refused(422, "validation_failed");
    }
    let clock = client.post("/v1/sandbox/clock", &json!({"now": LAST_INSTANT})).await.is(200);
    assert_eq!(clock, json!({"now": LAST_INSTANT, "running": false}));
    for (path, body) in [
        ("/v1/usage", usage("f", 1)),
        ("/v1/credits/grants", grant(1)),
        ("/v1/subscriptions", json!({"end_user_id": "v", "plan_variant_id": variant})),
        ("/v1/plans", json!({"name": "P"})),
    ] {
        let answer = client.post(path, &body).await;
        assert!(answer.status < 300, "{path}: {}", answer.text);
    }
    for path in ["credits?include=blocks", "ledger"] {
        client.get(&format!("/v1/end_users/u/{path}")).await.is(200);
    }
    client.get("/v1/subscriptions?end_user_id=u").await.is(200);
    client.get("/v1/entitlements/check?end_user_id=u&feature_key=f").await.is(200);
    server.verified_entries(client, "u").await;
    server.verified_entries(client, "v").await;
}

#[tokio::test]
async fn grants_and_usage_stand_at_odd_times_or_are_refused() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    create_feature(client, "f", "block", 1).await;
    client.post("/v1/sandbox/clock", &json!({"now": "2100-01-01T00:00:00Z"})).await.is(200);
    for (effective, expires, is_valid) in [
        ("0001-01-01T00:00:00Z", "2100-01-01T00:00:00.000001Z", true),
        ("0001-01-01T00:00:00Z", "2100-01-01T00:00:00Z", false),
        ("2100-01-02T00:00:00Z", "2100-01-02T00:00:00Z", false),
        ("2100-01-02T00:00:00+01:00", "2100-01-02T00:00:00Z", true),
        ("2100-01-02T00:00:00Z", "9999-12-25T00:00:00Z", true),
        ("2100-01-02T00:00:00Z", "9999-12-25T00:00:00.000001Z", false),
        ("2100-01-02T00:00:00", "2200-01-02T00:00:00Z", false),
        ("2100-02-30T00:00:00Z", "2200-01-02T00:00:00Z", false),
    ] {
        let body = json!({"end_user_id": "u", "amount": 1, "effective_at": effective, "expires_at": expires});
        let answer = client.post("/v1/credits/grants", &body).await;
        assert_eq!(answer.status, if is_valid { 201 } else { 422 }, "{effective} {expires}: {}", answer.text);
    }
    client.post("/v1/credits/grants", &grant(100)).await.is(201);
    for (at, is_valid) in [
        ("2099-11-27T00:00:00Z", true),
        ("2099-11-26T23:59:59.999999Z", false),
        ("2100-01-01T00:05:00Z", true),
        ("2100-01-01T00:05:00.000001Z", false),
        ("0001-01-01T00:00:00Z", false),
    ] {
        let mut body = usage("f", 1);
        body["effective_at"] = json!(at);
        let answer = client.post("/v1/usage", &body).await;
        assert_eq!(answer.status, if is_valid { 200 } else { 422 }, "{at}: {}", answer.text);
    }
    server.verified_entries(client, "u").await;
}
