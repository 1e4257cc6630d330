//! Prices over HTTP: models, tiers by window, rules by property, versions, and who overrides whom.
//!
//! The operations: create_price, list_prices, set_override, get_override, list_overrides, remove_override.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::TestServer;

async fn with_price(price: Value) -> TestServer {
    let server = TestServer::start().await;
    let feature = json!({"feature_key": "f", "name": "F", "kind": "metered", "price": price});
    server.sandbox.post("/v1/features", &feature).await.is(201);
    server.sandbox.post("/v1/sandbox/clock", &json!({"now": "2100-01-15T00:00:00Z"})).await.is(200);
    server.sandbox.post("/v1/credits/grants", &json!({"end_user_id": "u", "amount": 100_000})).await.is(201);
    server
}

async fn cost(client: &Client, units: i64, more: Value) -> i64 {
    let mut event = json!({"end_user_id": "u", "feature_key": "f", "units": units});
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.post("/v1/usage", &event).await.is(200)["cost"].as_i64().unwrap()
}

#[tokio::test]
async fn tiers_count_in_their_window_and_what_was_not_used_goes_back() {
    let tiers = json!([{"up_to": 10, "cost": 5}, {"up_to": null, "cost": 1}]);
    let price = json!({"type": "tiered", "mode": "graduated", "window": "calendar_month", "tiers": tiers});
    let server = with_price(price.clone()).await;
    let client = &server.sandbox;
    assert_eq!(client.get("/v1/features/f").await.is(200)["price"]["tiers"], tiers);
    assert_eq!(cost(client, 8, json!({})).await, 40);
    assert_eq!(cost(client, 4, json!({})).await, 2 * 5 + 2);
    // A reservation takes its place with its estimate.
    let reserve = json!({"end_user_id": "u", "feature_key": "f", "units": 100});
    let reserved = client.post("/v1/reservations", &reserve).await.is(201);
    assert_eq!(reserved["amount"], 100);
    client
        .post(&format!("/v1/reservations/{}/commit", reserved["id"].as_str().unwrap()), &json!({"units": 1}))
        .await
        .is(200);
    let check = client.get("/v1/entitlements/check?end_user_id=u&feature_key=f&units=10").await.is(200);
    assert_eq!(check["estimated_cost"], 10);
    // A new month, a new window; late usage counts in its own.
    client.post("/v1/sandbox/clock", &json!({"now": "2100-02-01T00:00:00Z"})).await.is(200);
    assert_eq!(cost(client, 10, json!({})).await, 50);
    assert_eq!(cost(client, 3, json!({"effective_at": "2100-01-20T00:00:00Z"})).await, 3);
    assert_eq!(cost(client, 3, json!({})).await, 3);
    server.verified_entries(client, "u").await;
}

#[tokio::test]
async fn a_void_takes_its_units_out_of_the_tier() {
    let tiers = json!([{"up_to": 10, "cost": 5}, {"up_to": null, "cost": 1}]);
    let server = with_price(json!({"type": "tiered", "mode": "volume", "window": "lifetime", "tiers": tiers})).await;
    let client = &server.sandbox;
    let event = json!({"end_user_id": "u", "feature_key": "f", "units": 11});
    let used = client.post("/v1/usage", &event).await.is(200);
    assert_eq!(used["cost"], 11, "all units at the tier that the event reaches");
    assert_eq!(cost(client, 1, json!({})).await, 1);
    client.post(&format!("/v1/usage/{}/void", used["id"].as_str().unwrap()), &json!({})).await.is(200);
    assert_eq!(cost(client, 1, json!({})).await, 5);
    server.verified_entries(client, "u").await;
}

#[tokio::test]
async fn the_rule_with_the_most_matching_properties_wins_and_is_named() {
    let rule = |properties: Value, cost: i64| json!({"match": properties, "price": {"type": "per_unit", "cost": cost}});
    let dimensions = json!([
        rule(json!({"model": "large"}), 10),
        rule(json!({"model": "large", "region": "eu"}), 12),
        rule(json!({"region": "eu"}), 3)
    ]);
    let server = with_price(json!({"type": "flat", "cost": 7, "dimensions": dimensions})).await;
    let client = &server.sandbox;
    let with = |properties: Value| json!({ "properties": properties });
    assert_eq!(cost(client, 2, with(json!({}))).await, 7);
    assert_eq!(cost(client, 2, with(json!({"model": "small"}))).await, 7);
    assert_eq!(cost(client, 2, with(json!({"model": "large", "x": "y"}))).await, 20);
    assert_eq!(cost(client, 2, with(json!({"model": "large", "region": "eu"}))).await, 24);
    let event = json!({"end_user_id": "u", "feature_key": "f", "units": 1, "properties": {"region": "eu"}});
    let used = client.post("/v1/usage", &event).await.is(200);
    assert_eq!((used["cost"].as_i64(), &used["priced_by"]), (Some(3), &json!({"source": "feature", "rule": 2})));
}

#[tokio::test]
async fn a_new_price_holds_from_its_instant_on_and_nothing_is_repriced() {
    let server = with_price(json!({"type": "per_unit", "cost": 1})).await;
    let client = &server.sandbox;
    let path = "/v1/features/f/prices";
    let version = |cost: i64, from: Value| json!({"price": {"type": "per_unit", "cost": cost}, "effective_from": from});
    client.post(path, &version(9, json!("2100-01-14T00:00:00Z"))).await.refused(422, "validation_failed");
    client.post(path, &version(3, json!("2100-02-01T00:00:00Z"))).await.is(201);
    client.post(path, &version(4, json!("2100-02-01T00:00:00Z"))).await.refused(409, "already_exists");
    client.post(path, &version(2, Value::Null)).await.is(201);
    assert_eq!(cost(client, 10, json!({})).await, 20);
    assert_eq!(cost(client, 10, json!({"effective_at": "2100-01-14T00:00:00Z"})).await, 10);
    client.post("/v1/sandbox/clock", &json!({"now": "2100-02-01T00:00:00Z"})).await.is(200);
    assert_eq!(cost(client, 10, json!({})).await, 30);
    let listed = client.get(path).await.is(200);
    let from: Vec<&Value> = listed["data"].as_array().unwrap().iter().map(|one| &one["effective_from"]).collect();
    assert_eq!(from, [&Value::Null, &json!("2100-01-15T00:00:00Z"), &json!("2100-02-01T00:00:00Z")]);
    client.post("/v1/features/ghost/prices", &version(1, Value::Null)).await.refused(404, "not_found");
}

#[tokio::test]
async fn an_end_users_own_price_wins_over_the_plans_and_that_over_the_features() {
    let server = with_price(json!({"type": "per_unit", "cost": 1})).await;
    let client = &server.sandbox;
    let plan = client.post("/v1/plans", &json!({"name": "Pro"})).await.is(201);
    let variant = json!({"name": "m", "grace_period_days": 0, "billing_period": {"count": 1, "unit": "month"},
        "entitlements": [{"feature_key": "f", "price": {"type": "per_unit", "cost": 2}, "overage_policy": "overdraft"}]});
    let variants = format!("/v1/plans/{}/variants", plan["id"].as_str().unwrap());
    let variant = client.post(&variants, &variant).await.is(201);
    assert_eq!(cost(client, 10, json!({})).await, 10);
    let subscribe = json!({"end_user_id": "u", "plan_variant_id": variant["id"]});
    client.post("/v1/subscriptions", &subscribe).await.is(201);
    assert_eq!(cost(client, 10, json!({})).await, 20);
    let path = "/v1/end_users/u/overrides/f";
    client.get(path).await.refused(404, "not_found");
    let own = json!({"price": {"type": "package", "cost": 5, "size": 3}, "expires_at": "2100-01-16T00:00:00Z"});
    let body = Some(own.to_string().into_bytes());
    let set = client.send(Method::PUT, path, &[("content-type", "application/json")], body).await.is(200);
    assert_eq!(set["price"], own["price"]);
    assert_eq!(cost(client, 10, json!({})).await, 20);
    let check = client.get("/v1/entitlements/check?end_user_id=u&feature_key=f&units=3").await.is(200);
    assert_eq!((check["estimated_cost"].as_i64(), check["overage_policy"].as_str()), (Some(5), Some("overdraft")));
    assert_eq!(client.get("/v1/end_users/u/overrides").await.is(200)["data"], json!([set]));
    client.post("/v1/sandbox/clock", &json!({"now": "2100-01-16T00:00:00Z"})).await.is(200);
    assert_eq!(cost(client, 10, json!({})).await, 20, "the plan's again");
    client.send(Method::DELETE, path, &[], None).await.is(200);
    client.send(Method::DELETE, path, &[], None).await.refused(404, "not_found");
}

#[tokio::test]
async fn a_price_that_is_none_is_refused_where_it_is_wrong() {
    let server = TestServer::start().await;
    let tiered = |tiers: Value| json!({"type": "tiered", "mode": "volume", "tiers": tiers});
    let cases = [
        (json!({"type": "per_unit"}), "/price/cost"),
        (json!({"type": "per_unit", "cost": 1, "per_units": 0}), "/price/per_units"),
        (json!({"type": "per_unit", "cost": -1}), "/price/cost"),
        (json!({"type": "flat", "cost": 1, "size": 2}), "/price/size"),
        (json!({"type": "package", "cost": 1, "size": 0}), "/price/size"),
        (tiered(json!([])), "/price/tiers"),
        (tiered(json!([{"up_to": 5, "cost": 1}])), "/price/tiers/0/up_to"),
        (tiered(json!([{"up_to": null, "cost": 1}, {"up_to": null, "cost": 1}])), "/price/tiers/0/up_to"),
        (tiered(json!([{"up_to": 5, "cost": 1}, {"up_to": 5, "cost": 1}, {"cost": 1}])), "/price/tiers/1/up_to"),
        (
            json!({"type": "flat", "cost": 1, "dimensions": [{"match": {}, "price": {"type": "flat", "cost": 1}}]}),
            "/price/dimensions/0/match",
        ),
    ];
    for (price, pointer) in cases {
        let feature = json!({"feature_key": "f", "name": "F", "kind": "metered", "price": price});
        let problem = server.sandbox.post("/v1/features", &feature).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
}
