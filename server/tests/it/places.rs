//! What is wrong with a request is told at its place, in words of the contract.

use serde_json::{Value, json};

use crate::support::server::TestServer;

#[track_caller]
fn told(problem: &Value, pointer: &str, detail: &str) {
    assert_eq!((&problem["errors"][0]["pointer"], &problem["errors"][0]["detail"]), (&json!(pointer), &json!(detail)));
    assert_eq!(problem["detail"], json!(detail));
}

#[tokio::test]
async fn what_a_body_says_wrongly_is_told_with_its_pointer() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    let plan = client.post("/v1/plans", &json!({"name": "Pro"})).await.is(201);
    let variants = format!("/v1/plans/{}/variants", plan["id"].as_str().unwrap());
    let variant = |field: &str, value: Value| {
        let mut body = json!({"name": "v", "billing_period": {"count": 1, "unit": "month"}});
        body[field] = value;
        body
    };
    let feature = |field: &str, value: Value| {
        let mut body = json!({"feature_key": "f", "name": "F", "kind": "metered"});
        body[field] = value;
        body
    };
    let grant = |field: &str, value: Value| variant("grants", json!([{"amount": 1, "interval": "once", field: value}]));
    let an_interval = "must be \"once\", \"billing_period\", or an object of count and unit, not a string";
    let units = "must be one of `hour`, `day`, `week`, `month`, `year`";
    let subscription = json!({"end_user_id": "u", "plan_variant_id": "var_1", "quantity": "1"});
    for (path, body, pointer, detail) in [
        (variants.as_str(), grant("interval", json!("weekly")), "/grants/0/interval", an_interval),
        (&variants, grant("interval", json!({"count": 1, "unit": "weekly"})), "/grants/0/interval/unit", units),
        (&variants, grant("interval", json!({"count": 1})), "/grants/0/interval/unit", "is required"),
        (&variants, variant("trial_days", json!(1.5)), "/trial_days", "must be an integer, not the number 1.5"),
        (&variants, variant("trial_days", Value::Null), "/trial_days", "must be an integer, not null"),
        (&variants, variant("billing_period", json!(["month"])), "/billing_period", "must be an object, not an array"),
        (&variants, variant("a/b~c", json!(1)), "/a~1b~0c", ""),
        ("/v1/subscriptions", subscription, "/quantity", "must be an integer, not a string"),
        ("/v1/subscriptions", json!({"end_user_id": "u"}), "/plan_variant_id", "is required"),
        ("/v1/features", json!([]), "", "must be an object, not an array"),
        ("/v1/features", feature("kind", json!("other")), "/kind", "must be one of `metered`, `boolean`, `config`"),
        (
            "/v1/features",
            feature("kind", json!(1)),
            "/kind",
            "must be one of `metered`, `boolean`, `config`, not the number 1",
        ),
        (
            "/v1/features",
            feature("default", json!({"enabled": "yes"})),
            "/default/enabled",
            "must be a boolean, not a string",
        ),
        (
            "/v1/usage/batch",
            json!({"events": [{"end_user_id": "u", "feature_key": "f"}]}),
            "/events/0/units",
            "is required",
        ),
    ] {
        let problem = client.post(path, &body).await.refused_at(pointer);
        if !detail.is_empty() {
            told(&problem, pointer, detail);
        }
        let text = problem.to_string();
        assert!(!text.contains("struct ") && !text.contains("at line"), "{text}");
    }
    let twice = client.post_raw("/v1/plans", r#"{"name":"a","name":"b"}"#).await.refused_at("/name");
    told(&twice, "/name", "give it once");
    let broken = client.post_raw("/v1/plans", r#"{"name":1,}"#).await.refused_at("");
    assert!(broken["detail"].as_str().unwrap().starts_with("the body is no JSON: "), "{broken}");
    client.post_raw("/v1/plans", "").await.refused_at("");
}

#[tokio::test]
async fn what_a_query_or_a_path_says_wrongly_is_told_with_its_name() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    for (path, pointer, detail) in [
        ("/v1/features?limit=x", "query:limit", "must be an integer"),
        ("/v1/features?limit=99999999999999999999", "query:limit", "the number is out of range"),
        ("/v1/features?limit=1&limit=2", "query:limit", "give it once"),
        ("/v1/features?surprise=1", "query:surprise", "is not known here; known are `limit` or `cursor`"),
        ("/v1/subscriptions", "query:end_user_id", "is required"),
        ("/v1/end_users/u/entitlements?explain=1", "query:explain", "must be true or false"),
        ("/v1/end_users/u/credits?include=all", "query:include", "must be `blocks`"),
        ("/v1/features/%ff", "path:feature_key", "must be percent-encoded UTF-8"),
        ("/v1/subscriptions/%ff", "path:subscription_id", "must be percent-encoded UTF-8"),
    ] {
        told(&client.get(path).await.refused_at(pointer), pointer, detail);
    }
    let late = client.get("/v1/usage?from=9999-12-31T00:00:00Z").await.refused_at("query:from");
    assert!(late["detail"].as_str().unwrap().ends_with("from 0001-01-01T00:00:00Z to 9999-12-25T00:00:00Z"), "{late}");
}

#[tokio::test]
async fn null_is_said_only_where_the_contract_knows_it() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    client.post("/v1/plans", &json!({"name": "P", "kind": null})).await.refused_at("/kind");
    for field in ["overage_policy", "enforcement", "offline", "default"] {
        let body = json!({"feature_key": "f", "name": "F", "kind": "metered", field: null});
        client.post("/v1/features", &body).await.refused_at(&format!("/{field}"));
    }
    let body = json!({"feature_key": "f", "name": "F", "kind": "metered", "overdraft_limit": null, "price": null});
    client.post("/v1/features", &body).await.is(201);
    for field in ["overage_policy", "enforcement", "offline", "default"] {
        client.put("/v1/features/f", &json!({"name": "F", field: null})).await.refused_at(&format!("/{field}"));
    }
}

#[tokio::test]
async fn a_setting_without_effect_is_refused() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    client.post("/v1/sandbox/clock", &json!({"now": "2100-01-01T00:00:00Z"})).await.is(200);
    client.post("/v1/plans", &json!({"name": " \u{a0}\u{3000}"})).await.refused_at("/name");
    let flag =
        |field: &str, value: Value| json!({"feature_key": "sso", "name": "SSO", "kind": "boolean", field: value});
    client.post("/v1/features", &flag("overage_policy", json!("overdraft"))).await.refused_at("/overage_policy");
    client.post("/v1/features", &flag("overdraft_limit", json!(5))).await.refused_at("/overdraft_limit");
    client.post("/v1/features", &flag("overage_policy", json!("block"))).await.is(201);
    let rules = json!({"name": "SSO", "overdraft_limit": 5});
    client.put("/v1/features/sso", &rules).await.refused_at("/overdraft_limit");
    let plan = client.post("/v1/plans", &json!({"name": "Pro"})).await.is(201);
    let variant = json!({"name": "v", "billing_period": {"count": 1, "unit": "month"},
        "entitlements": [{"feature_key": "sso", "overage_policy": "cap"}]});
    let variants = format!("/v1/plans/{}/variants", plan["id"].as_str().unwrap());
    client.post(&variants, &variant).await.refused_at("/entitlements/0/overage_policy");
    let path = "/v1/end_users/u/overrides/sso";
    client.put(path, &json!({"enabled": true, "overdraft_limit": 1})).await.refused_at("/overdraft_limit");
    for amount in [-5, 0] {
        let grant = json!({"end_user_id": "u", "amount": amount});
        told(&client.post("/v1/credits/grants", &grant).await.refused_at("/amount"), "/amount", "must be 1 or more");
    }
}

#[tokio::test]
async fn an_override_that_has_expired_is_refused_and_a_repeat_of_one_is_answered() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    client.post("/v1/sandbox/clock", &json!({"now": "2100-01-01T00:00:00Z"})).await.is(200);
    client.post("/v1/features", &json!({"feature_key": "sso", "name": "SSO", "kind": "boolean"})).await.is(201);
    let path = "/v1/end_users/u/overrides/sso";
    for past in ["2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"] {
        client.put(path, &json!({"enabled": true, "expires_at": past})).await.refused_at("/expires_at");
    }
    let keyed = async |body: &Value| {
        let headers = [("content-type", "application/json"), ("idempotency-key", "k")];
        client.send(reqwest::Method::PUT, path, &headers, Some(body.to_string().into_bytes())).await
    };
    let body = json!({"enabled": true, "expires_at": "2100-02-01T00:00:00Z"});
    let first = keyed(&body).await.is(200);
    client.post("/v1/sandbox/clock", &json!({"now": "2100-03-01T00:00:00Z"})).await.is(200);
    let again = keyed(&body).await;
    assert!(again.is_replayed());
    assert_eq!(again.is(200), first);
    client.put(path, &body).await.refused_at("/expires_at");
}
