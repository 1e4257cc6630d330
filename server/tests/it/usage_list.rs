//! Lists of usage and of the ledger: everything once, the latest first, also while more is recorded.
//!
//! The operations: list_usage, list_ledger_entries.

use std::collections::{BTreeMap, BTreeSet};

use quotastack_core::time::Timestamp;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::TestServer;
use crate::support::usage::{Dice, Known, create_features, history_step, known_usage};

/// Far more than what lies between the first and the last event of a batch of these tests.
const BATCH_MICROS_MAX: i64 = 1_000_000;

/// Every event of a list, page by page; `meanwhile` runs after each page.
async fn walk(client: &Client, query: &str, limit: usize, mut meanwhile: impl AsyncFnMut()) -> Vec<Value> {
    let (mut events, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/usage?limit={limit}&{query}{cursor}")).await.is(200);
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= limit);
        events.extend(data.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return events,
        }
        meanwhile().await;
    }
}

fn text<'a>(event: &'a Value, name: &str) -> &'a str {
    event[name].as_str().unwrap()
}

fn ids(events: &[Value]) -> BTreeSet<String> {
    let ids: BTreeSet<String> = events.iter().map(|event| text(event, "id").to_owned()).collect();
    assert_eq!(ids.len(), events.len(), "an event came twice");
    ids
}

#[tokio::test]
async fn a_list_has_every_event_once_while_more_are_recorded() {
    let server = TestServer::start().await;
    let client = &server.live;
    create_features(client).await;
    let (app, principal) = server.app(client).await;
    assert!(app.environment(principal.environment_id).await.unwrap().handle.lanes.len() > 1, "one lane merges nothing");
    let mut dice = Dice::new(7);
    for _ in 0..60 {
        history_step(client, &mut dice).await;
    }
    for query in ["", "end_user_id=u1", "feature_key=f", "end_user_id=u2&feature_key=f"] {
        let before = known_usage(&server, principal.environment_id).await;
        let events = walk(client, query, 3, async || history_step(client, &mut dice).await).await;
        let asked: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let fits = |event: &&Known| {
            asked.get("end_user_id").is_none_or(|id| *id == event.end_user_id)
                && asked.get("feature_key").is_none_or(|key| *key == event.feature_key)
        };
        let expected: BTreeSet<String> = before.iter().filter(fits).map(|event| event.id.clone()).collect();
        // What was recorded meanwhile comes before the first page.
        assert_eq!(ids(&events), expected, "{query}");
        assert!(expected.len() > 3, "{query}");
        let mut last_seq = BTreeMap::new();
        for event in &events {
            let seq = event["seq"].as_u64().unwrap();
            let before = last_seq.insert(text(event, "end_user_id").to_owned(), seq);
            assert!(before.is_none_or(|before| before > seq), "{query}: {event}");
        }
    }
    let known = known_usage(&server, principal.environment_id).await;
    let events = walk(client, "", 100, async || ()).await;
    let recorded: Vec<Timestamp> = events.iter().map(|event| text(event, "recorded_at").parse().unwrap()).collect();
    // Within one batch the events of an end user stand together; that is all that may be out of order.
    let in_order = |a: &Timestamp, b: &Timestamp| a.micros_since(*b) > -BATCH_MICROS_MAX;
    assert!(recorded.is_sorted_by(in_order), "{recorded:?}");
    for event in &events {
        let known = known.iter().find(|known| known.id == text(event, "id")).unwrap();
        assert_eq!((event["units"].as_i64(), event["cost"].as_i64()), (Some(known.units), Some(known.cost)), "{event}");
        assert_eq!(!event["voided_at"].is_null(), known.voided, "{event}");
        assert_eq!(*event, client.get(&format!("/v1/usage/{}", known.id)).await.is(200));
    }
    assert!(events.iter().any(|event| !event["voided_at"].is_null()));
}

#[tokio::test]
async fn a_range_is_of_when_usage_counts_and_half_open() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    create_features(client).await;
    client.post("/v1/sandbox/clock", &json!({"now": "2100-03-01T00:00:00Z"})).await.is(200);
    for (key, user, effective_at) in [
        ("a", "u", "2100-02-10T00:00:00Z"),
        ("b", "u", "2100-02-28T23:59:59.999999Z"),
        ("c", "v", "2100-03-01T00:00:00Z"),
        ("d", "u", "2100-02-01T00:00:00Z"),
    ] {
        let event = json!({"end_user_id": user, "feature_key": "f", "units": 1, "idempotency_key": key,
            "effective_at": effective_at});
        client.post("/v1/usage", &event).await.is(200);
    }
    let order = json!({"end_user_id": "u", "feature_key": "f", "units": 4});
    let reservation = client.post("/v1/reservations", &order).await.is(201);
    let id = text(&reservation, "id");
    client.post(&format!("/v1/reservations/{id}/commit"), &json!({"units": 2})).await.is(200);
    let keys = async |query: &str| {
        let page = client.get(&format!("/v1/usage?{query}")).await.is(200);
        let keys = page["data"].as_array().unwrap().iter().map(|event| text(event, "idempotency_key").to_owned());
        let keys: BTreeSet<String> = keys.filter(|key| key.len() == 1).collect();
        keys.into_iter().collect::<String>()
    };
    let february = "from=2100-02-01T00:00:00Z&to=2100-03-01T00:00:00Z";
    for user in ["", "&end_user_id=u"] {
        assert_eq!(keys(&format!("{february}{user}")).await, "abd");
        assert_eq!(keys(&format!("from=2100-02-01T00:00:00.000001Z{user}&to=2100-02-28T23:59:59.999999Z")).await, "a");
    }
    assert_eq!(keys("from=2100-03-01T00:00:00Z").await, "c");
    assert_eq!(keys("from=2100-03-01T00:00:00.000001Z").await, "");
    assert_eq!(keys("to=2100-02-10T00:00:00Z").await, "d");
    for user in ["", "&end_user_id=u"] {
        let page = client.get(&format!("/v1/usage?reservation_id={id}{user}")).await.is(200);
        let [event] = page["data"].as_array().unwrap().as_slice() else { panic!("{page}") };
        assert_eq!((text(event, "reservation_id"), event["units"].as_i64()), (id, Some(2)));
    }
}

#[tokio::test]
async fn what_cannot_be_listed_is_refused_with_what_to_do() {
    let server = TestServer::start().await;
    let client = &server.live;
    create_features(client).await;
    for _ in 0..3 {
        client.post("/v1/usage", &json!({"end_user_id": "u", "feature_key": "f", "units": 1})).await.is(200);
    }
    let of_all = client.get("/v1/usage?limit=1").await.is(200);
    for (query, pointer) in [
        ("limit=0", "query:limit"),
        ("limit=101", "query:limit"),
        ("limit=many", "query:limit"),
        ("end_user_id=", "query:end_user_id"),
        ("feature_key=%20", "query:feature_key"),
        ("reservation_id=use_1", "query:reservation_id"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z", "query:to"),
        ("from=2026-01-02", "query:from"),
        ("user=u", "query:user"),
        ("cursor=x", "query:cursor"),
        // Of another list.
        (&format!("end_user_id=u&cursor={}", text(&of_all, "next_cursor")), "query:cursor"),
        // One place, and there are more lanes.
        ("cursor=MS4x", "query:cursor"),
    ] {
        let problem = client.get(&format!("/v1/usage?{query}")).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{query}: {problem}");
    }
    for path in ["/v1/usage?end_user_id=nobody", "/v1/usage?feature_key=nothing"] {
        assert_eq!(client.get(path).await.is(200), json!({"data": [], "next_cursor": null}));
    }
}

#[tokio::test]
async fn the_ledger_is_listed_by_kind_cause_and_time_of_recording() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    create_features(client).await;
    let plan = client.post("/v1/plans", &json!({"name": "Pro"})).await.is(201);
    let variant = json!({"name": "m", "grace_period_days": 0, "billing_period": {"count": 1, "unit": "month"},
        "grants": [{"amount": 10, "interval": "billing_period"}]});
    let variant = client.post(&format!("/v1/plans/{}/variants", text(&plan, "id")), &variant).await.is(201);
    let order = json!({"end_user_id": "u", "plan_variant_id": variant["id"]});
    client.post("/v1/sandbox/clock", &json!({"now": "2100-01-01T00:00:00Z"})).await.is(200);
    let subscription = client.post("/v1/subscriptions", &order).await.is(201);
    let mut usage = Vec::new();
    for day in 2..=6 {
        client.post("/v1/sandbox/clock", &json!({"now": format!("2100-01-0{day}T00:00:00Z")})).await.is(200);
        for feature in ["f", "h"] {
            let event = json!({"end_user_id": "u", "feature_key": feature, "units": 1});
            usage.push(client.post("/v1/usage", &event).await.is(200));
        }
    }
    let topup = json!({"end_user_id": "u", "amount": 5, "price_paid": 1, "currency": "USD", "payment_reference": "pi"});
    let topup = client.post("/v1/topups", &topup).await.is(201);
    client.post(&format!("/v1/usage/{}/void", text(&usage[0], "id")), &json!({})).await.is(200);

    let all = client.get("/v1/end_users/u/ledger?limit=100").await.is(200);
    let all = all["data"].as_array().unwrap();
    let walk = async |query: &str| {
        let (mut entries, mut after) = (Vec::new(), String::new());
        loop {
            let page = client.get(&format!("/v1/end_users/u/ledger?limit=2&{query}{after}")).await.is(200);
            entries.extend(page["data"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => after = format!("&after_seq={next}"),
                None => return entries,
            }
        }
    };
    let listed = async |query: &str, fits: &dyn Fn(&Value) -> bool| {
        let expected: Vec<Value> = all.iter().filter(|entry| fits(entry)).cloned().collect();
        assert!(!expected.is_empty() && expected.len() < all.len(), "{query}");
        assert_eq!(walk(query).await, expected, "{query}");
    };
    let caused_by = |id: &str, entry: &Value| entry["cause"]["id"] == id;
    let subscription_id = text(&subscription, "id");
    listed(&format!("subscription_id={subscription_id}"), &|entry| caused_by(subscription_id, entry)).await;
    let topup_id = text(&topup["topup"], "id");
    listed(&format!("topup_id={topup_id}"), &|entry| caused_by(topup_id, entry)).await;
    let usage_id = text(&usage[0], "id");
    listed(&format!("usage_id={usage_id}"), &|entry| entry["usage_id"] == usage_id).await;
    listed("kind=usage,debt", &|entry| ["usage", "debt"].contains(&text(entry, "kind"))).await;
    listed("kind=usage&feature_key=h", &|entry| entry["kind"] == "usage" && entry["feature_key"] == "h").await;
    for (from, to) in [("02", "04"), ("01", "02"), ("06", "07"), ("03", "31")] {
        let (from, to) = (format!("2100-01-{from}T00:00:00Z"), format!("2100-01-{to}T00:00:00Z"));
        let fits = |entry: &Value| {
            let at = text(entry, "recorded_at");
            from.as_str() <= at && at < to.as_str()
        };
        listed(&format!("from={from}&to={to}"), &fits).await;
        listed(&format!("from={from}&to={to}&kind=usage,grant"), &|entry| {
            fits(entry) && ["usage", "grant"].contains(&text(entry, "kind"))
        })
        .await;
    }
    assert_eq!(walk("from=2100-01-07T00:00:00Z").await, Vec::<Value>::new());
    for (query, pointer) in [
        ("from=2100-01-07T00:00:00Z&to=2100-01-07T00:00:00Z", "query:to"),
        ("topup_id=use_1", "query:topup_id"),
        (&format!("topup_id={topup_id}&subscription_id={subscription_id}"), "query"),
    ] {
        let problem = client.get(&format!("/v1/end_users/u/ledger?{query}")).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{query}: {problem}");
    }
}
