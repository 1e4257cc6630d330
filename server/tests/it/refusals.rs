//! Requests that are not valid: a clear answer, and nothing changed.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::contract::Contract;
use crate::support::server::TestServer;

/// A server with one of everything, and what there is of it.
struct Stage {
    server: TestServer,
    plan: String,
    before: (BTreeMap<String, i64>, Vec<Value>),
}

impl Stage {
    async fn set() -> Self {
        let server = TestServer::start().await;
        let feature =
            json!({"feature_key": "f", "name": "F", "kind": "metered", "price": {"type": "per_unit", "cost": 1}});
        server.sandbox.post("/v1/features", &feature).await.is(201);
        let plan = server.sandbox.post("/v1/plans", &json!({"name": "Pro"})).await.is(201);
        server.sandbox.post("/v1/credits/grants", &json!({"end_user_id": "u", "amount": 100})).await.is(201);
        let usage = json!({"end_user_id": "u", "feature_key": "f", "units": 1, "idempotency_key": "first"});
        server.sandbox.post("/v1/usage", &usage).await.is(200);
        let before = (server.row_counts().await, account(&server.sandbox).await);
        Self { plan: plan["id"].as_str().unwrap().to_owned(), server, before }
    }

    fn client(&self) -> &Client {
        &self.server.sandbox
    }

    async fn nothing_changed(&self) {
        assert_eq!(self.before, (self.server.row_counts().await, account(self.client()).await));
    }

    /// A body that each writing operation accepts.
    fn valid_bodies(&self) -> Vec<(String, Value)> {
        let variant = json!({"name": "v", "grace_period_days": 0, "billing_period": {"count": 1, "unit": "month"},
            "grants": [{"amount": 1, "interval": "once"}], "entitlements": [{"feature_key": "f"}]});
        vec![
            ("/v1/usage".into(), json!({"end_user_id": "u", "feature_key": "f", "units": 1})),
            ("/v1/usage/batch".into(), json!({"events": [{"end_user_id": "u", "feature_key": "f", "units": 1}]})),
            ("/v1/credits/grants".into(), json!({"end_user_id": "u", "amount": 1})),
            ("/v1/features".into(), json!({"feature_key": "g", "name": "G", "kind": "config"})),
            ("/v1/plans".into(), json!({"name": "P"})),
            (format!("/v1/plans/{}/variants", self.plan), variant),
            (
                "/v1/subscriptions".into(),
                json!({"end_user_id": "u", "plan_variant_id": "var_01hzy3v7d2f8rs9k4m5n6p7q8r"}),
            ),
            ("/v1/sandbox/clock".into(), json!({"advance_seconds": 1})),
            ("/v1/entitlements/check".into(), json!({"checks": [{"end_user_id": "u", "feature_key": "f"}]})),
        ]
    }
}

async fn account(client: &Client) -> Vec<Value> {
    let credits = client.get("/v1/end_users/u/credits?include=blocks").await.is(200);
    vec![credits, client.get("/v1/end_users/u/ledger").await.is(200)]
}

fn with(body: &Value, pointer: &str, value: Value) -> Value {
    let mut body = body.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[name] = value;
    body
}

#[tokio::test]
async fn what_is_no_json_of_the_operation_is_refused() {
    let stage = Stage::set().await;
    let client = stage.client();
    for (path, body) in stage.valid_bodies() {
        let text = body.to_string();
        let unknown = with(&body, "/surprise", json!(1)).to_string();
        let first = body.as_object().unwrap().keys().next().unwrap();
        let twice = format!("{{{}:{},{}", json!(first), body[first], &text[1..]);
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let bodies =
            ["", "{", "[]", "null", "1", "\"x\"", "nonsense", "{}{}", &text[..text.len() - 1], &unknown, &twice];
        for bad in bodies.into_iter().chain([deep.as_str()]) {
            // For the clock, which needs no field, these are the same: neither of its two.
            client.post_raw(&path, bad).await.refused(422, "validation_failed");
        }
        client.post_raw(&path, b"\xff\xfe{}".to_vec()).await.refused(422, "validation_failed");
        client.post_raw(&path, vec![0]).await.refused(422, "validation_failed");
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let answer = client.send(Method::POST, &path, &form, Some(text.clone().into_bytes())).await;
        answer.refused(415, "unsupported_media_type");
        client.send(Method::DELETE, &path, &[], None).await.refused(405, "method_not_allowed");
    }
    stage.nothing_changed().await;
}

#[tokio::test]
async fn a_body_over_one_mebibyte_is_refused() {
    let stage = Stage::set().await;
    for (path, _) in stage.valid_bodies() {
        let large = format!("{{\"end_user_id\":\"{}\"}}", "x".repeat(2 << 20));
        stage.client().post_raw(&path, large).await.refused(413, "payload_too_large");
    }
    stage.nothing_changed().await;
}

#[tokio::test]
async fn numbers_out_of_range_or_of_another_type_are_refused() {
    let stage = Stage::set().await;
    let numbers = [
        ("/v1/usage", "/units", 0),
        ("/v1/usage/batch", "/events/0/units", 0),
        ("/v1/credits/grants", "/amount", 1),
        ("/v1/credits/grants", "/price_paid", 0),
        ("/v1/credits/grants", "/priority", 0),
        ("/v1/features", "/overdraft_limit", 0),
        ("/v1/sandbox/clock", "/advance_seconds", 0),
        ("/v1/subscriptions", "/quantity", 1),
        ("variants", "/billing_period/count", 1),
        ("variants", "/grants/0/amount", 1),
        ("variants", "/grants/0/priority", 0),
        ("variants", "/trial_days", 0),
        ("/v1/entitlements/check", "/checks/0/units", 0),
    ];
    for (path, pointer, least) in numbers {
        let bodies = stage.valid_bodies();
        let (path, body) = bodies.iter().find(|(known, _)| known.ends_with(path)).unwrap();
        let below = (least - 1).to_string();
        let bad = [
            &below,
            "-1",
            "-9223372036854775808",
            "9223372036854775807",
            "9007199254740992",
            "18446744073709551616",
            "1e400",
            "-1e400",
            "1.5",
            "1.0",
            "1e2",
            "NaN",
            "Infinity",
            "\"1\"",
            "true",
            "[1]",
            "{}",
            "0x10",
        ];
        for number in bad {
            let marked = with(body, pointer, json!("MARK")).to_string();
            let answer = stage.client().post_raw(path, marked.replace("\"MARK\"", number)).await;
            assert_eq!(answer.status, 422, "{path} {pointer} {number}: {}", answer.text);
            let code = answer.json["code"].as_str().unwrap();
            assert!(["validation_failed", "amount_out_of_range"].contains(&code), "{code}");
        }
    }
    stage.nothing_changed().await;
}

#[tokio::test]
async fn texts_that_are_no_names_are_refused() {
    let stage = Stage::set().await;
    let long = "x".repeat(10_000);
    let texts = [
        ("/v1/usage", "/end_user_id"),
        ("/v1/usage", "/feature_key"),
        ("/v1/usage", "/idempotency_key"),
        ("/v1/usage", "/effective_at"),
        ("/v1/usage", "/on_insufficient"),
        ("/v1/usage/batch", "/events/0/end_user_id"),
        ("/v1/usage/batch", "/events/0/idempotency_key"),
        ("/v1/credits/grants", "/end_user_id"),
        ("/v1/credits/grants", "/kind"),
        ("/v1/credits/grants", "/currency"),
        ("/v1/credits/grants", "/effective_at"),
        ("/v1/credits/grants", "/expires_at"),
        ("/v1/features", "/feature_key"),
        ("/v1/features", "/name"),
        ("/v1/features", "/kind"),
        ("/v1/features", "/overage_policy"),
        ("/v1/features", "/offline"),
        ("/v1/plans", "/name"),
        ("variants", "/name"),
        ("variants", "/billing_period/unit"),
        ("variants", "/billing_mode"),
        ("variants", "/entitlements/0/feature_key"),
        ("/v1/subscriptions", "/end_user_id"),
        ("/v1/subscriptions", "/plan_variant_id"),
        ("/v1/subscriptions", "/start_at"),
        ("/v1/sandbox/clock", "/now"),
        ("/v1/entitlements/check", "/checks/0/end_user_id"),
        ("/v1/entitlements/check", "/checks/0/feature_key"),
    ];
    for (path, pointer) in texts {
        let bodies = stage.valid_bodies();
        let (path, body) = bodies.iter().find(|(known, _)| known.ends_with(path)).unwrap();
        for text in ["", long.as_str(), "a\u{0}b", "\u{0}", "a\nb", "\u{85}", "\u{7f}"] {
            let answer = stage.client().post(path, &with(body, pointer, json!(text))).await;
            assert_eq!(answer.status, 422, "{path} {pointer} {text:?}: {}", answer.text);
            answer.refused(422, "validation_failed");
        }
        for wrong in [json!(1), json!(true), json!(["x"]), json!({"x": "y"})] {
            stage.client().post(path, &with(body, pointer, wrong)).await.refused(422, "validation_failed");
        }
        // Half of a character.
        let half = with(body, pointer, json!("MARK")).to_string().replace("MARK", "\\ud800");
        stage.client().post_raw(path, half).await.refused(422, "validation_failed");
    }
    stage.nothing_changed().await;
}

#[tokio::test]
async fn pairs_and_lists_have_limits() {
    let stage = Stage::set().await;
    let client = stage.client();
    let (usage, grant) = ("/v1/usage", "/v1/credits/grants");
    for (path, field) in [(usage, "/properties"), (grant, "/metadata")] {
        let bodies = stage.valid_bodies();
        let (_, body) = bodies.iter().find(|(known, _)| known == path).unwrap();
        let many: BTreeMap<String, &str> = (0..51).map(|index| (index.to_string(), "v")).collect();
        for bad in [
            json!(many),
            json!({"": "v"}),
            json!({"k".repeat(65): "v"}),
            json!({"k": "v".repeat(513)}),
            json!({"k": "\u{0}"}),
            json!({"\u{0}": "v"}),
            json!({"k": 1}),
            json!({"k": null}),
            json!([]),
            json!("k"),
        ] {
            client.post(path, &with(body, field, bad)).await.refused(422, "validation_failed");
        }
    }
    let event = json!({"end_user_id": "u", "feature_key": "f", "units": 1});
    for events in [json!([]), json!(vec![&event; 1_001]), json!({}), json!(null), json!([event, 1])] {
        client.post("/v1/usage/batch", &json!({ "events": events })).await.refused(422, "validation_failed");
    }
    let one_bad = json!({"events": [event, with(&event, "/units", json!(-1))]});
    let problem = client.post("/v1/usage/batch", &one_bad).await.refused(422, "validation_failed");
    assert_eq!(problem["errors"][0]["pointer"], "/events/1/units");
    let check = json!({"end_user_id": "u", "feature_key": "f"});
    for checks in [json!([]), json!(vec![&check; 101])] {
        client.post("/v1/entitlements/check", &json!({ "checks": checks })).await.refused(422, "validation_failed");
    }
    let keys = |count: usize| vec!["f"; count];
    let body = json!({"end_user_id": "u", "amount": 1, "feature_keys": keys(51)});
    client.post(grant, &body).await.refused(422, "validation_failed");
    stage.nothing_changed().await;
}

#[tokio::test]
async fn values_of_features_are_json_that_every_reader_can_hold() {
    let stage = Stage::set().await;
    let nested = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let long = format!("\"{}\"", "x".repeat(20_000));
    let bad =
        [nested.as_str(), &long, "1e400", "\"\\u0000\"", "{\"\\u0000\":1}", "\"\\ud800\"", "[1,{\"a\":\"\\udc00\"}]"];
    for value in bad {
        let feature =
            format!(r#"{{"feature_key":"c","name":"C","kind":"config","default":{{"enabled":true,"value":{value}}}}}"#);
        for key in [None, Some("k")] {
            let headers: Vec<_> = [("content-type", "application/json")]
                .into_iter()
                .chain(key.map(|key| ("idempotency-key", key)))
                .collect();
            let body = Some(feature.clone().into_bytes());
            let answer = stage.client().send(Method::POST, "/v1/features", &headers, body).await;
            answer.refused(422, "validation_failed");
        }
    }
    stage.nothing_changed().await;
}

#[tokio::test]
async fn queries_and_paths_that_are_not_valid_are_refused() {
    let stage = Stage::set().await;
    let client = stage.client();
    let lists = [
        "/v1/features?",
        "/v1/plans?",
        &format!("/v1/plans/{}/variants?", stage.plan),
        "/v1/subscriptions?end_user_id=u&",
    ];
    for list in lists {
        // The last ones: NUL, `a` NUL `b`, and bytes that are no UTF-8, as cursors.
        for bad in [
            "limit=0",
            "limit=101",
            "limit=-1",
            "limit=x",
            "limit=",
            "limit=1.5",
            "limit=99999999999999999999",
            "limit=1&limit=2",
            "cursor=",
            "cursor=x",
            "cursor=%00",
            "cursor=!!!",
            "surprise=1",
            "cursor=AA",
            "cursor=YQBi",
            "cursor=__79",
        ] {
            let answer = client.get(&format!("{list}{bad}")).await;
            assert_eq!(answer.status, 422, "{list}{bad}: {}", answer.text);
            answer.refused(422, "validation_failed");
        }
        client.get(&format!("{list}limit=1")).await.is(200);
        client.get(&format!("{list}limit=100")).await.is(200);
    }
    let long = "x".repeat(257);
    client.get("/v1/end_users/%ff/credits").await.refused(422, "validation_failed");
    for user in ["", "%00", "a%0Ab", "%C2%85", "%ff", long.as_str()] {
        for path in ["credits", "ledger"] {
            client.get(&format!("/v1/end_users/{user}/{path}")).await.refused(422, "validation_failed");
        }
        let check = format!("/v1/entitlements/check?feature_key=f&end_user_id={user}");
        client.get(&check).await.refused(422, "validation_failed");
        client.get(&format!("/v1/subscriptions?end_user_id={user}")).await.refused(422, "validation_failed");
    }
    for bad in ["after_seq=-1", "after_seq=x", "after_seq=9223372036854775807", "limit=0", "limit=101", "cursor=1"] {
        assert_eq!(client.get(&format!("/v1/end_users/u/ledger?{bad}")).await.status, 422, "{bad}");
    }
    let twice = [("content-type", "application/json"), ("idempotency-key", "a"), ("idempotency-key", "b")];
    let plan = Some(br#"{"name":"twice"}"#.to_vec());
    client.send(Method::POST, "/v1/plans", &twice, plan).await.refused(422, "validation_failed");
    client.get("/v1/end_users/u/credits?include=all").await.refused(422, "validation_failed");
    for id in ["x", "%00", "plan_", "plan_01hzy3v7d2f8rs9k4m5n6p7q8r", "var_01hzy3v7d2f8rs9k4m5n6p7q8r", "' or 1=1"] {
        for noun in
            ["features", "plans", "variants", "subscriptions", "usage", "reservations", "topups", "topup_packages"]
        {
            client.get(&format!("/v1/{noun}/{id}")).await.refused(404, "not_found");
        }
    }
    for path in ["/", "/v1", "/v1/", "/v2/usage", "/v1/usage/", "/v1/features/f/price", "/%00"] {
        client.get(path).await.refused(404, "not_found");
    }
    stage.nothing_changed().await;
}

#[tokio::test]
async fn unicode_of_every_kind_comes_back_as_it_was_sent() {
    let stage = Stage::set().await;
    let client = stage.client();
    for user in [
        "Zoë",
        "👩‍🚀",
        "e\u{301}",
        "\u{e9}",
        "\u{202e}abc",
        "\u{feff}x",
        "a/b?c#d",
        "%41",
        "' or 1=1 --",
        "\u{10ffff}",
        "ﷺ",
    ] {
        let grant = json!({"end_user_id": user, "amount": 5, "metadata": {user: user}});
        client.post("/v1/credits/grants", &grant).await.is(201);
        let path: String = user.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let credits = client.get(&format!("/v1/end_users/{path}/credits")).await.is(200);
        assert_eq!((credits["end_user_id"].as_str(), credits["balance"].as_i64()), (Some(user), Some(5)));
        let name = json!({ "name": user });
        assert_eq!(client.post("/v1/plans", &name).await.is(201)["name"].as_str(), Some(user));
    }
}

#[tokio::test]
async fn every_method_of_every_path_is_answered() {
    let stage = Stage::set().await;
    let client = stage.client();
    for operation in &Contract::get().operations {
        let path = operation.example_path(|_| None);
        for method in ["PUT", "PATCH", "DELETE", "GET", "POST", "OPTIONS", "NONSENSE"] {
            if Contract::get().find(method, &path).is_none() {
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                let answer: Answer = client.send(method, &path, &[], None).await;
                answer.refused(405, "method_not_allowed");
            }
        }
    }
    stage.nothing_changed().await;
}

/// An array read as an object would void names, and with them the refusal of unknown ones.
#[tokio::test]
async fn what_is_an_object_is_sent_as_one_and_each_name_once() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    let price = r#"{"type":"per_unit","cost":1}"#;
    let feature =
        format!(r#"{{"feature_key":"f","name":"f","kind":"metered","overage_policy":"overdraft","price":{price}}}"#);
    client.post_raw("/v1/features", feature).await.is(201);
    let before = server.row_counts().await;
    for (path, body) in [
        ("/v1/usage", r#"["u","f",1,"k",null,null,{},false]"#),
        ("/v1/consume", r#"["u","f",1,"k",null,null,{},false]"#),
        ("/v1/usage/batch", r#"[[{"end_user_id":"u","feature_key":"f","units":1}]]"#),
        ("/v1/usage/batch", r#"{"events":[["u","f",1,"k",null,null,{},false]]}"#),
        ("/v1/usage", r#"{"end_user_id":"u","feature_key":"f","units":1,"properties":{"a":"1","a":"2"}}"#),
        ("/v1/credits/grants", r#"{"end_user_id":"u","amount":1,"metadata":{"a":"1","a":"1"}}"#),
        ("/v1/reservations", r#"{"end_user_id":"u","feature_key":"f","units":1,"properties":{"a":"1","a":"2"}}"#),
        ("/v1/plans", r#"["Pro",null]"#),
        ("/v1/sandbox/clock", "[]"),
        ("/v1/features", r#"{"feature_key":"g","name":"g","kind":"boolean","default":[true,null]}"#),
    ] {
        client.post_raw(path, body).await.refused(422, "validation_failed");
    }
    assert_eq!(server.row_counts().await, before);
}
