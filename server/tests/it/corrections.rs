//! What people do to balances: voids of usage and of blocks, adjustments, top-ups and refunds.
//!
//! The operations: void_usage, get_usage, void_block, adjust_credits, create_topup, list_topups, get_topup,
//! refund_topup, list_topup_packages.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::TestServer;

/// A server with a feature `f` at one credit per unit, under this policy.
async fn with_feature(policy: &str) -> TestServer {
    let server = TestServer::start().await;
    let price = json!({"type": "per_unit", "cost": 1});
    let feature = json!({"feature_key": "f", "name": "F", "kind": "metered", "price": price, "overage_policy": policy});
    server.sandbox.post("/v1/features", &feature).await.is(201);
    server
}

async fn grant(client: &Client, body: Value) -> Value {
    let mut body = body;
    body["end_user_id"] = json!("u");
    client.post("/v1/credits/grants", &body).await.is(201)
}

async fn usage(client: &Client, units: i64) -> Value {
    client.post("/v1/usage", &json!({"end_user_id": "u", "feature_key": "f", "units": units})).await.is(200)
}

/// Balance, reserved, debt.
async fn figures(client: &Client) -> [i64; 3] {
    let credits = client.get("/v1/end_users/u/credits").await.is(200);
    ["balance", "reserved", "debt"].map(|name| credits[name].as_i64().unwrap())
}

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

#[tokio::test]
async fn a_void_gives_everything_back_once_and_the_key_stays_used() {
    let server = with_feature("overdraft").await;
    let client = &server.sandbox;
    grant(client, json!({"amount": 10})).await;
    let event = json!({"end_user_id": "u", "feature_key": "f", "units": 25, "idempotency_key": "k"});
    let used = client.post("/v1/usage", &event).await.is(200);
    assert_eq!((used["cost"].as_i64(), used["owed"].as_i64()), (Some(25), Some(15)));
    let void = format!("/v1/usage/{}/void", id(&used));
    let voided = client.post(&void, &json!({"reason": "twice"})).await.is(200);
    assert_eq!((voided["returned"].as_i64(), voided["debt_undone"].as_i64()), (Some(10), Some(15)));
    assert_eq!(figures(client).await, [10, 0, 0]);

    let again = client.post(&void, &json!({"reason": "other words"})).await;
    assert!(again.is_replayed());
    let again = again.is(200);
    assert_eq!((&again["voided_at"], again["replayed"].as_bool()), (&voided["voided_at"], Some(true)));
    assert_eq!(figures(client).await, [10, 0, 0]);
    let read = client.get(&format!("/v1/usage/{}", id(&used))).await.is(200);
    assert_eq!((&read["void_reason"], &read["voided_at"]), (&json!("twice"), &voided["voided_at"]));
    assert!(client.post("/v1/usage", &event).await.is_replayed(), "the event's key is not free");

    // Credit of another's event cannot be asked for through one's own key space, nor across environments.
    server.live.post(&void, &json!({})).await.refused(404, "not_found");
    server.verified_entries(client, "u").await;
}

#[tokio::test]
async fn a_void_walks_back_what_settled_the_debt_the_newest_first() {
    let server = with_feature("overdraft").await;
    let client = &server.sandbox;
    let used = usage(client, 10).await;
    let first = grant(client, json!({"amount": 4})).await;
    let second = grant(client, json!({"amount": 3})).await;
    assert_eq!(figures(client).await, [-3, 0, 3]);
    let voided = client.post(&format!("/v1/usage/{}/void", id(&used)), &json!({})).await.is(200);
    assert_eq!((voided["returned"].as_i64(), voided["debt_undone"].as_i64()), (Some(7), Some(3)));
    let credits = client.get("/v1/end_users/u/credits?include=blocks").await.is(200);
    let left = |block: &Value| {
        let listed = credits["blocks"].as_array().unwrap();
        listed.iter().find(|one| one["id"] == block["block"]["id"]).unwrap()["remaining"].as_i64()
    };
    assert_eq!((left(&first), left(&second)), (Some(4), Some(3)));
    server.verified_entries(client, "u").await;
}

#[tokio::test]
async fn late_usage_is_paid_from_what_expired_since_and_a_void_of_it_expires_again() {
    let server = with_feature("block").await;
    let client = &server.sandbox;
    client.post("/v1/sandbox/clock", &json!({"now": "2100-01-01T00:00:00Z"})).await.is(200);
    let block = grant(client, json!({"amount": 10, "expires_at": "2100-01-02T00:00:00Z"})).await;
    client.post("/v1/sandbox/clock", &json!({"now": "2100-01-03T00:00:00Z"})).await.is(200);
    assert_eq!(figures(client).await, [0, 0, 0]);
    let event =
        |units: i64, at: &str| json!({"end_user_id": "u", "feature_key": "f", "units": units, "effective_at": at});
    let early = client.post("/v1/usage", &event(1, "2099-12-31T00:00:00Z")).await;
    early.refused(402, "insufficient_credits");
    let late = client.post("/v1/usage", &event(4, "2100-01-01T12:00:00Z")).await.is(200);
    assert_eq!(late["allocations"], json!([{"block_id": block["block"]["id"], "amount": 4}]));
    assert_eq!(figures(client).await, [0, 0, 0]);
    client.post("/v1/usage", &event(7, "2100-01-01T12:00:00Z")).await.refused(402, "insufficient_credits");
    client.post(&format!("/v1/usage/{}/void", id(&late)), &json!({})).await.is(200);
    assert_eq!(figures(client).await, [0, 0, 0]);
    let kinds: Vec<String> =
        server.verified_entries(client, "u").await.iter().map(|e| e.body.kind.name().into()).collect();
    assert_eq!(kinds, ["grant", "expire", "expire", "usage", "void", "expire"]);
}

#[tokio::test]
async fn adjustments_take_from_what_they_name_and_below_zero_only_if_asked() {
    let server = with_feature("block").await;
    let client = &server.sandbox;
    let scoped = grant(client, json!({"amount": 5, "feature_keys": ["f"]})).await;
    grant(client, json!({"amount": 10})).await;
    let adjust = |amount: i64| json!({"end_user_id": "u", "amount": amount, "reason": "support case 7"});
    let path = "/v1/credits/adjustments";
    client.post(path, &adjust(-11)).await.refused(402, "insufficient_credits");
    assert_eq!(figures(client).await, [15, 0, 0]);
    let taken = client.post(path, &adjust(-4)).await.is(201);
    assert_eq!((taken["taken"].as_i64(), taken["owed"].as_i64()), (Some(4), Some(0)));
    let mut of_block = adjust(-2);
    of_block["block_id"] = scoped["block"]["id"].clone();
    client.post(path, &of_block).await.is(201);
    let mut negative = adjust(-20);
    negative["allow_negative"] = json!(true);
    let owed = client.post(path, &negative).await.is(201);
    assert_eq!((owed["taken"].as_i64(), owed["owed"].as_i64()), (Some(6), Some(14)));
    assert_eq!(figures(client).await, [-11, 0, 14]);
    let raised = client.post(path, &adjust(20)).await.is(201);
    assert_eq!(raised["block"]["kind"], "adjustment");
    assert_eq!(figures(client).await, [9, 0, 0], "unscoped credit pays a debt without feature");

    client.post(path, &adjust(0)).await.refused(422, "validation_failed");
    let mut both = adjust(1);
    both["block_id"] = scoped["block"]["id"].clone();
    client.post(path, &both).await.refused(422, "validation_failed");
    let idle = [
        (1, json!({"allow_negative": true})),
        (-1, json!({"priority": 7})),
        (-1, json!({"expires_at": "2100-01-01T00:00:00Z"})),
        (-1, json!({"block_id": scoped["block"]["id"], "feature_key": "f"})),
    ];
    for (amount, more) in idle {
        let mut body = adjust(amount);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.post(path, &body).await.refused(422, "validation_failed");
    }
    client.post(path, &json!({"end_user_id": "u", "amount": 1, "reason": ""})).await.refused(422, "validation_failed");
    let ledger = client.get("/v1/end_users/u/ledger?kind=adjust").await.is(200);
    let entries = ledger["data"].as_array().unwrap();
    assert_eq!(entries.len(), 4);
    assert!(entries.iter().all(|entry| entry["reason"] == "support case 7"));
    server.verified_entries(client, "u").await;
}

#[tokio::test]
async fn a_voided_block_gives_nothing_any_more_also_what_was_held() {
    let server = with_feature("block").await;
    let client = &server.sandbox;
    let block = grant(client, json!({"amount": 10})).await;
    let reserve = json!({"end_user_id": "u", "feature_key": "f", "units": 4});
    let reserved = client.post("/v1/reservations", &reserve).await.is(201);
    let void = format!("/v1/credits/blocks/{}/void", id(&block["block"]));
    let voided = client.post(&void, &json!({"reason": "by mistake"})).await.is(200);
    assert_eq!((voided["withdrawn"].as_i64(), voided["block"]["status"].as_str()), (Some(6), Some("voided")));
    assert_eq!(figures(client).await, [4, 4, 0]);
    let again = client.post(&void, &json!({"reason": "again"})).await.is(200);
    assert_eq!((again["withdrawn"].as_i64(), again["block"]["status"].as_str()), (Some(0), Some("voided")));
    client.post(&format!("/v1/reservations/{}/release", id(&reserved)), &json!({})).await.is(200);
    assert_eq!(figures(client).await, [0, 0, 0]);
    server.verified_entries(client, "u").await;
}

#[tokio::test]
async fn a_payment_is_booked_once_and_a_refund_claws_back_what_was_spent() {
    let server = with_feature("block").await;
    let client = &server.sandbox;
    let topup = |amount: i64| json!({"end_user_id": "u", "amount": amount, "price_paid": 500, "currency": "USD", "payment_reference": "pi_1"});
    let booked = client.post("/v1/topups", &topup(100)).await.is(201);
    let again = client.post("/v1/topups", &topup(100)).await;
    assert!(again.is_replayed());
    assert_eq!(again.is(201)["topup"], booked["topup"]);
    client.post("/v1/topups", &topup(101)).await.refused(409, "idempotency_conflict");
    for (field, other) in
        [("feature_keys", json!(["f"])), ("priority", json!(7)), ("expires_at", json!("2100-01-01T00:00:00Z"))]
    {
        let mut changed = topup(100);
        changed[field] = other;
        client.post("/v1/topups", &changed).await.refused(409, "idempotency_conflict");
    }
    let mut relabelled = topup(100);
    relabelled["metadata"] = json!({"note": "a second try"});
    let again = client.post("/v1/topups", &relabelled).await;
    assert!(again.is_replayed());
    assert_eq!(again.json["block"], booked["block"], "what is attached is what was attached then");
    assert_eq!(figures(client).await, [100, 0, 0]);

    let used = usage(client, 30).await;
    let refund = format!("/v1/topups/{}/refund", id(&booked["topup"]));
    client.post(&refund, &json!({"amount": 101})).await.refused(422, "validation_failed");
    let asked = json!({"claw_back_spent": true, "reason": "charged twice"});
    let refunded = client.post(&refund, &asked).await.is(200);
    assert_eq!((refunded["withdrawn"].as_i64(), refunded["owed"].as_i64()), (Some(70), Some(30)));
    let listed = client.get("/v1/end_users/u/ledger?kind=refund").await.is(200);
    assert_eq!(listed["data"][0]["reason"], "charged twice");
    assert_eq!(refunded["topup"]["status"], "refunded");
    assert_eq!(figures(client).await, [-30, 0, 30]);
    client.post(&refund, &json!({})).await.refused(422, "validation_failed");
    client.post(&format!("/v1/usage/{}/void", id(&used)), &json!({})).await.is(200);
    assert_eq!(figures(client).await, [0, 0, 0], "what comes back lowers the debt of its own block");
    let listed = client.get("/v1/topups?end_user_id=u").await.is(200);
    assert_eq!(listed["data"][0], client.get(&format!("/v1/topups/{}", id(&booked["topup"]))).await.is(200));
    server.verified_entries(client, "u").await;
}

#[tokio::test]
async fn a_held_part_of_a_refunded_top_up_is_owed_until_it_comes_back() {
    let server = with_feature("block").await;
    let client = &server.sandbox;
    for (reference, closes, expected) in [("pi_r", "release", [0, 0, 0]), ("pi_c", "commit", [-20, 0, 20])] {
        let topup = json!({"end_user_id": "u", "amount": 50, "price_paid": 1, "currency": "EUR",
            "payment_reference": reference});
        let booked = client.post("/v1/topups", &topup).await.is(201);
        let reserve = json!({"end_user_id": "u", "feature_key": "f", "units": 20});
        let reserved = client.post("/v1/reservations", &reserve).await.is(201);
        let refund = format!("/v1/topups/{}/refund", id(&booked["topup"]));
        let refunded = client.post(&refund, &json!({"claw_back_spent": true})).await.is(200);
        assert_eq!((refunded["withdrawn"].as_i64(), refunded["owed"].as_i64()), (Some(30), Some(20)));
        let body = if closes == "commit" { json!({"units": 20}) } else { json!({}) };
        client.post(&format!("/v1/reservations/{}/{closes}", id(&reserved)), &body).await.is(200);
        assert_eq!(figures(client).await, expected, "{closes}");
    }
    server.verified_entries(client, "u").await;
}

#[tokio::test]
async fn a_package_says_what_is_bought_until_it_is_archived() {
    let server = with_feature("block").await;
    let client = &server.sandbox;
    client.post("/v1/sandbox/clock", &json!({"now": "2100-01-31T00:00:00Z"})).await.is(200);
    let package = json!({"name": "100", "amount": 100, "price_paid": 900, "currency": "USD",
        "expires_after": {"count": 1, "unit": "month"}});
    let package = client.post("/v1/topup_packages", &package).await.is(201);
    let order =
        |reference: &str| json!({"end_user_id": "u", "package_id": package["id"], "payment_reference": reference});
    let booked = client.post("/v1/topups", &order("a")).await.is(201);
    assert_eq!((booked["topup"]["amount"].as_i64(), booked["topup"]["price_paid"].as_i64()), (Some(100), Some(900)));
    assert_eq!(booked["block"]["expires_at"], "2100-02-28T00:00:00Z");
    let mut twice = order("b");
    twice["amount"] = json!(5);
    client.post("/v1/topups", &twice).await.refused(422, "validation_failed");
    let path = format!("/v1/topup_packages/{}", id(&package));
    client.send(reqwest::Method::DELETE, &path, &[], None).await.is(200);
    assert_eq!(client.get("/v1/topup_packages").await.is(200)["data"], json!([]));
    assert!(client.post("/v1/topups", &order("a")).await.is_replayed(), "that payment was booked");
    client.post("/v1/topups", &order("c")).await.refused(422, "validation_failed");
}

#[tokio::test]
async fn a_cap_trims_what_is_granted_before_debt_is_settled() {
    let server = with_feature("overdraft").await;
    let client = &server.sandbox;
    let capped = |amount: i64| json!({"amount": amount, "cap_group": "daily", "accumulation_cap": 10});
    assert_eq!(grant(client, capped(8)).await["trimmed"], 0);
    let trimmed = grant(client, capped(8)).await;
    assert_eq!((trimmed["trimmed"].as_i64(), trimmed["block"]["original"].as_i64()), (Some(6), Some(2)));
    let nothing = grant(client, capped(8)).await;
    assert_eq!((nothing["trimmed"].as_i64(), &nothing["block"]), (Some(8), &Value::Null));
    usage(client, 25).await;
    assert_eq!(figures(client).await, [-15, 0, 15]);
    assert_eq!(grant(client, capped(30)).await["trimmed"], 20);
    assert_eq!(figures(client).await, [-5, 0, 5]);
    server.verified_entries(client, "u").await;
}
