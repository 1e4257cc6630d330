//! Keys: which are refused, and that each opens one environment of one tenant and nothing else.

use quotastack_core::ids::KeyId;
use quotastack_core::time::Timestamp;
use quotastack_server::app::auth::Scope;
use quotastack_server::store::keys::Environment;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::TestServer;
use crate::support::wait::until;

const CHECK: &str = "/v1/entitlements/check?end_user_id=u&feature_key=f";

#[tokio::test]
async fn no_key_and_what_is_no_key_are_refused() {
    let server = TestServer::start().await;
    let good = server.live.key().unwrap();
    let unknown = good.replacen("qs_live_", "qs_sandbox_", 1);
    let (long, cut) = ("k".repeat(10_000), &good[..good.len() - 1]);
    for bad in ["", "qs_live_", "secret", &unknown, &long, cut, &format!("{good}x"), "qs_live_\u{fc}", "' or 1=1 --"] {
        let answer = server.client_of(Some(bad)).get(CHECK).await;
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        answer.refused(401, "unauthenticated");
    }
    let nobody = server.client_of(None);
    nobody.get(CHECK).await.refused(401, "unauthenticated");
    // A body is not looked at before the key.
    nobody.post_raw("/v1/usage", "{").await.refused(401, "unauthenticated");
    let basic = format!("Basic {good}");
    nobody.send(Method::GET, CHECK, &[("authorization", &basic)], None).await.refused(401, "unauthenticated");
    nobody.send(Method::GET, CHECK, &[("x-api-key", good)], None).await.is(200);
    let lower = format!("bearer  {good}");
    nobody.send(Method::GET, CHECK, &[("authorization", &lower)], None).await.is(200);
}

#[tokio::test]
async fn a_key_ends_at_its_end() {
    let server = TestServer::start().await;
    let past: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
    let future: Timestamp = "2999-01-01T00:00:00Z".parse().unwrap();
    let ended = server.mint(Environment::Live, &[Scope::Full], Some(past)).await;
    server.client_of(Some(ended.secret.expose_secret())).get(CHECK).await.refused(401, "unauthenticated");
    let lasting = server.mint(Environment::Live, &[Scope::Full], Some(future)).await;
    server.client_of(Some(lasting.secret.expose_secret())).get(CHECK).await.is(200);
}

#[tokio::test]
async fn a_revoked_key_is_soon_refused_and_others_are_not() {
    let server = TestServer::start().await;
    let key = server.mint(Environment::Live, &[Scope::Full], None).await;
    let client = server.client_of(Some(key.secret.expose_secret()));
    client.get(CHECK).await.is(200);
    server.operator.revoke_key(key.key_id).await.unwrap();
    let refused = until("the revoked key is refused", async || {
        let answer = client.get(CHECK).await;
        (answer.status != 200).then_some(answer)
    });
    refused.await.refused(401, "unauthenticated");
    server.live.get(CHECK).await.is(200);

    server.operator.revoke_key(key.key_id).await.unwrap_err();
    let unknown: KeyId = KeyId::from_uuid(uuid::Uuid::nil());
    server.operator.revoke_key(unknown).await.unwrap_err();
}

/// Everything that a key can be asked to show, of the things named here.
async fn all_that_is_seen(client: &Client, named: &[&str]) -> Vec<Value> {
    let mut seen = Vec::new();
    for path in named {
        let answer = client.get(path).await;
        seen.push(if answer.status == 404 { answer.refused(404, "not_found")["code"].clone() } else { answer.is(200) });
    }
    seen
}

#[tokio::test]
async fn another_environment_and_another_tenant_see_nothing_and_change_nothing() {
    let server = TestServer::start().await;
    let feature = json!({"feature_key": "f", "name": "F", "kind": "metered", "price": {"type": "per_unit", "cost": 1}});
    server.live.post("/v1/features", &feature).await.is(201);
    let plan = server.live.post("/v1/plans", &json!({"name": "Pro"})).await.is(201);
    let plan = plan["id"].as_str().unwrap();
    let variant = json!({"name": "m", "grace_period_days": 0, "billing_period": {"count": 1, "unit": "month"},
        "grants": [{"amount": 50, "interval": "billing_period"}], "entitlements": [{"feature_key": "f"}]});
    let variants = format!("/v1/plans/{plan}/variants");
    let variant = server.live.post(&variants, &variant).await.is(201);
    let variant = variant["id"].as_str().unwrap();
    let order = json!({"end_user_id": "u", "plan_variant_id": variant});
    let subscription = server.live.post("/v1/subscriptions", &order).await.is(201);
    let subscription = subscription["id"].as_str().unwrap();
    let named = [
        "/v1/features",
        "/v1/features/f",
        "/v1/plans",
        &format!("/v1/plans/{plan}"),
        &variants,
        &format!("/v1/variants/{variant}"),
        "/v1/subscriptions?end_user_id=u",
        &format!("/v1/subscriptions/{subscription}"),
        "/v1/end_users/u/credits?include=blocks",
        "/v1/end_users/u/ledger",
    ];
    let own = all_that_is_seen(&server.live, &named).await;
    let other_tenant = server.operator.create_tenant("another").await.unwrap().tenant_id;
    for environment in [Environment::Live, Environment::Sandbox] {
        let key = server.operator.create_key(other_tenant, environment, "k", &[Scope::Full], None).await.unwrap();
        let stranger = server.client_of(Some(key.secret.expose_secret()));
        refuse_a_stranger(&stranger, &named, plan, variant).await;
    }
    refuse_a_stranger(&server.sandbox, &named, plan, variant).await;
    assert_eq!(own, all_that_is_seen(&server.live, &named).await);

    // The same names, and they stay apart.
    server.sandbox.post("/v1/features", &feature).await.is(201);
    server.sandbox.post("/v1/credits/grants", &json!({"end_user_id": "u", "amount": 7})).await.is(201);
    assert_eq!(own, all_that_is_seen(&server.live, &named).await);
}

async fn refuse_a_stranger(stranger: &Client, named: &[&str], plan: &str, variant: &str) {
    let empty = json!({"data": [], "next_cursor": null});
    let nothing = json!({"end_user_id": "u", "balance": 0, "reserved": 0, "available": 0, "debt": 0,
        "lifetime_granted": 0, "lifetime_consumed": 0, "seq": 0, "version": 0, "blocks": []});
    let missing = json!("not_found");
    let expected = [&empty, &missing, &empty, &missing, &missing, &missing, &empty, &missing, &nothing, &empty];
    assert_eq!(all_that_is_seen(stranger, named).await.iter().collect::<Vec<_>>(), expected);

    let order = json!({"end_user_id": "u", "plan_variant_id": variant});
    stranger.post("/v1/subscriptions", &order).await.refused(404, "not_found");
    let usage = json!({"end_user_id": "u", "feature_key": "f", "units": 1});
    stranger.post("/v1/usage", &usage).await.refused(409, "feature_unknown");
    let variant = json!({"name": "m", "grace_period_days": 0, "billing_period": {"count": 1, "unit": "month"}});
    stranger.post(&format!("/v1/plans/{plan}/variants"), &variant).await.refused(404, "not_found");
    let grant = json!({"end_user_id": "u", "amount": 1, "feature_keys": ["f"]});
    stranger.post("/v1/credits/grants", &grant).await.refused(422, "validation_failed");
    let check = stranger.get(CHECK).await.is(200);
    assert_eq!((&check["allowed"], &check["reason"]), (&json!(false), &json!("feature_unknown")));
}
