//! Lists: page by page, everything once and in the order that the contract says.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::TestServer;

/// More than a page, and no multiple of it.
const THINGS: usize = 5;
const PAGE: usize = 2;

/// The list's items in order, read page by page; `parameter` takes the cursor.
async fn walk(client: &Client, path: &str, parameter: &str) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), None);
    loop {
        let next = cursor.map_or(String::new(), |cursor: String| format!("&{parameter}={cursor}"));
        let page = client.get(&format!("{path}limit={PAGE}{next}")).await.is(200);
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= PAGE);
        items.extend(data.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => {
                assert_eq!(data.len(), PAGE, "there is more, and the page is not full");
                cursor = Some(next.to_owned());
            }
            None => break,
        }
    }
    let whole = client.get(&format!("{path}limit=100")).await.is(200);
    assert_eq!((&whole["data"], &whole["next_cursor"]), (&json!(items), &Value::Null));
    items
}

#[tokio::test]
async fn features_plans_and_variants_come_in_order_each_once() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    let (mut plans, mut variants) = (Vec::new(), Vec::new());
    for index in 0..THINGS {
        // The last letter first.
        let key = format!("f{}", THINGS - index);
        let feature =
            json!({"feature_key": key, "name": key, "kind": "config", "default": {"enabled": true, "value": [index]}});
        client.post("/v1/features", &feature).await.is(201);
        plans.push(client.post("/v1/plans", &json!({"name": index.to_string()})).await.is(201));
    }
    let of_plan = format!("/v1/plans/{}/variants", plans[0]["id"].as_str().unwrap());
    for index in 0..THINGS {
        let variant = json!({"name": index.to_string(), "billing_period": {"count": 1, "unit": "month"},
            "grants": [{"amount": index + 1, "interval": "once", "priority": index, "feature_keys": ["f2", "f1", "f2"]}],
            "entitlements": [{"feature_key": "f1", "value": {"deep": [1, null]}}, {"feature_key": "f2", "enabled": false}]});
        variants.push(client.post(&of_plan, &variant).await.is(201));
    }
    let features = walk(client, "/v1/features?", "cursor").await;
    let keys: Vec<&str> = features.iter().map(|feature| feature["feature_key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["f1", "f2", "f3", "f4", "f5"]);
    assert_eq!(features[0]["default"], json!({"enabled": true, "value": [4]}));
    assert_eq!(walk(client, "/v1/plans?", "cursor").await, plans);
    assert_eq!(walk(client, &format!("{of_plan}?"), "cursor").await, variants);
    assert_eq!(variants[0]["grants"][0]["feature_keys"], json!(["f1", "f2"]));
    assert_eq!(
        variants[0]["entitlements"][0],
        json!({"feature_key": "f1", "enabled": true, "value": {"deep": [1, null]}, "price": null, "overage_policy": null,
            "overdraft_limit": null, "merge": null})
    );
    for (path, things) in [("plans", &plans), ("variants", &variants)] {
        for thing in things {
            let path = format!("/v1/{path}/{}", thing["id"].as_str().unwrap());
            assert_eq!(client.get(&path).await.is(200), *thing);
        }
    }
}

#[tokio::test]
async fn subscriptions_and_entries_come_in_order_each_once() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    let plan = client.post("/v1/plans", &json!({"name": "Pro"})).await.is(201);
    let of_plan = format!("/v1/plans/{}/variants", plan["id"].as_str().unwrap());
    let variant = json!({"name": "m", "grace_period_days": 0, "billing_period": {"count": 1, "unit": "month"},
        "grants": [{"amount": 10, "interval": "billing_period"}]});
    let variant = client.post(&of_plan, &variant).await.is(201);
    let order = json!({"end_user_id": "u", "plan_variant_id": variant["id"]});
    let mut ids = Vec::new();
    for month in 1..=THINGS {
        client.post("/v1/sandbox/clock", &json!({"now": format!("2100-0{month}-01T00:00:00Z")})).await.is(200);
        let subscription = client.post("/v1/subscriptions", &order).await.is(201);
        client.post("/v1/subscriptions", &order).await.refused(409, "invalid_transition");
        assert_eq!(subscription["current_period"]["end"], format!("2100-0{}-01T00:00:00Z", month + 1));
        ids.insert(0, subscription["id"].clone());
    }
    let subscriptions = walk(client, "/v1/subscriptions?end_user_id=u&", "cursor").await;
    assert_eq!(subscriptions.iter().map(|one| one["id"].clone()).collect::<Vec<_>>(), ids);
    let states: Vec<&str> = subscriptions.iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(states, ["active", "expired", "expired", "expired", "expired"]);
    for subscription in &subscriptions {
        let path = format!("/v1/subscriptions/{}", subscription["id"].as_str().unwrap());
        assert_eq!(client.get(&path).await.is(200), *subscription);
    }

    let entries = walk(client, "/v1/end_users/u/ledger?", "after_seq").await;
    let seen: Vec<(u64, &str, i64)> = entries
        .iter()
        .map(|entry| {
            let balance = entry["balance_after"].as_i64().unwrap();
            (entry["seq"].as_u64().unwrap(), entry["kind"].as_str().unwrap(), balance)
        })
        .collect();
    let expected =
        (0..THINGS as u64 - 1).flat_map(|month| [(2 * month + 1, "grant", 10), (2 * month + 2, "expire", 0)]);
    assert_eq!(seen, expected.chain([(2 * THINGS as u64 - 1, "grant", 10)]).collect::<Vec<_>>());
}
