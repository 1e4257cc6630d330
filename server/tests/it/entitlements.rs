//! What an end user may do, in all and why: list_entitlements, and checks with `explain`.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::TestServer;

/// A shop with a metered, a boolean and a config feature, and one that no plan names.
struct Shop {
    server: TestServer,
    base: String,
    addon: String,
}

impl Shop {
    async fn open() -> Self {
        let server = TestServer::start().await;
        let client = &server.sandbox;
        client.post("/v1/sandbox/clock", &json!({"now": "2100-01-01T00:00:00Z"})).await.is(200);
        let price = json!({"type": "per_unit", "cost": 3, "per_units": 1});
        for feature in [
            json!({"feature_key": "calls", "name": "Calls", "kind": "metered", "price": price}),
            json!({"feature_key": "export", "name": "Export", "kind": "boolean"}),
            json!({"feature_key": "seats", "name": "Seats", "kind": "config"}),
            json!({"feature_key": "theme", "name": "Theme", "kind": "config", "default": {"enabled": true, "value": "dark"}}),
        ] {
            client.post("/v1/features", &feature).await.is(201);
        }
        let plan = async |kind: &str| {
            let plan = client.post("/v1/plans", &json!({"name": kind, "kind": kind})).await.is(201);
            plan["id"].as_str().unwrap().to_owned()
        };
        let (base, addon) = (plan("base").await, plan("addon").await);
        Self { base, addon, server }
    }

    fn client(&self) -> &Client {
        &self.server.sandbox
    }

    /// A variant of the base with these entitlements and what `more` says.
    async fn variant(&self, entitlements: Value, more: Value) -> String {
        self.variant_of(&self.base, entitlements, more).await
    }

    /// A variant of 30 days.
    async fn variant_of(&self, plan: &str, entitlements: Value, more: Value) -> String {
        let mut body =
            json!({"name": "v", "billing_period": {"count": 30, "unit": "day"}, "entitlements": entitlements});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let variant = self.client().post(&format!("/v1/plans/{plan}/variants"), &body).await.is(201);
        variant["id"].as_str().unwrap().to_owned()
    }

    async fn subscribe(&self, variant: &str) -> Value {
        let order = json!({"end_user_id": "u", "plan_variant_id": variant});
        self.client().post("/v1/subscriptions", &order).await.is(201)
    }

    async fn override_of(&self, feature: &str, terms: Value) {
        let path = format!("/v1/end_users/u/overrides/{feature}");
        self.client().put(&path, &terms).await.is(200);
    }

    async fn grant(&self, amount: i64, more: Value) -> Value {
        let mut body = json!({"end_user_id": "u", "amount": amount});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.client().post("/v1/credits/grants", &body).await.is(201)["block"].clone()
    }

    async fn clock(&self, now: &str) {
        self.client().post("/v1/sandbox/clock", &json!({ "now": now })).await.is(200);
    }

    /// The whole list, each with its explanation, held against the check of the same feature.
    async fn list(&self, end_user_id: &str) -> Vec<Value> {
        let path = format!("/v1/end_users/{end_user_id}/entitlements?explain=true&limit=100");
        let list = self.client().get(&path).await.is(200);
        let answers = list["data"].as_array().unwrap();
        for answer in answers {
            let feature = answer["feature_key"].as_str().unwrap();
            let check = format!("/v1/entitlements/check?end_user_id={end_user_id}&feature_key={feature}");
            let explained = self.client().get(&format!("{check}&explain=true")).await.is(200);
            assert_eq!(timeless(&explained), timeless(answer), "the check with its explanation is the same");
            let mut plain = answer.clone();
            plain.as_object_mut().unwrap().remove("explain").unwrap();
            assert_eq!(timeless(&self.client().get(&check).await.is(200)), timeless(&plain));
        }
        answers.clone()
    }

    async fn explained(&self, feature: &str) -> (Value, Value) {
        let answer = self.list("u").await.into_iter().find(|answer| answer["feature_key"] == feature).unwrap();
        (answer.clone(), answer["explain"].clone())
    }
}

fn timeless(answer: &Value) -> Value {
    let mut answer = answer.clone();
    answer["staleness_ms"] = json!(0);
    answer
}

/// Source, on or off, value, whether it decides, whether it gives the value; of each step.
fn steps(explain: &Value) -> Vec<(&str, Value, Value, bool, bool)> {
    let chain = explain["chain"].as_array().unwrap().iter();
    let rows = chain.map(|step| {
        let flag = |name: &str| step[name].as_bool().unwrap();
        let (enabled, value) = (step["enabled"].clone(), step["value"].clone());
        (step["source"].as_str().unwrap(), enabled, value, flag("decides_access"), flag("gives_value"))
    });
    rows.collect()
}

fn reasons(answers: &[Value]) -> Vec<(&str, &str)> {
    answers.iter().map(|answer| (answer["feature_key"].as_str().unwrap(), answer["reason"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn an_end_user_nobody_has_seen_gets_every_feature_with_its_default() {
    let shop = Shop::open().await;
    let answers = shop.list("nobody").await;
    let expected = [
        ("calls", "insufficient_credits"),
        ("export", "no_subscription"),
        ("seats", "no_subscription"),
        ("theme", "ok"),
    ];
    assert_eq!(reasons(&answers), expected);
    assert!(answers.iter().all(|answer| answer["version"] == 0 && answer["units"] == 1));
    assert_eq!(answers[3]["value"], "dark");
    assert_eq!(steps(&answers[3]["explain"]), [("feature", json!(true), json!("dark"), true, true)]);
    assert_eq!(steps(&answers[1]["explain"]), [("feature", json!(false), Value::Null, true, false)]);
    let price = json!({"price": {"type": "per_unit", "cost": 3, "per_units": 1}, "source": "feature",
        "subscription_id": null, "effective_from": null});
    assert_eq!(answers[0]["explain"]["price"], price);
}

#[tokio::test]
async fn pages_hold_every_feature_once_and_say_why_only_where_asked() {
    let shop = Shop::open().await;
    let client = shop.client();
    let (mut keys, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/end_users/u/entitlements?limit=3{cursor}")).await.is(200);
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= 3 && data.iter().all(|answer| answer.get("explain").is_none()));
        keys.extend(data.iter().map(|answer| answer["feature_key"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(keys, ["calls", "export", "seats", "theme"]);
    let plain = client.get("/v1/entitlements/check?end_user_id=u&feature_key=calls&explain=false").await.is(200);
    assert!(plain.get("explain").is_none());
    let unknown = client.get("/v1/entitlements/check?end_user_id=u&feature_key=ghost&explain=true").await.is(200);
    assert_eq!((&unknown["reason"], &unknown["explain"]["chain"]), (&json!("feature_unknown"), &json!([])));
    for query in ["limit=0", "limit=101", "cursor=x", "explain=maybe", "explian=true"] {
        client.get(&format!("/v1/end_users/u/entitlements?{query}")).await.refused(422, "validation_failed");
    }
    client
        .get("/v1/entitlements/check?end_user_id=u&feature_key=calls&explain=maybe")
        .await
        .refused(422, "validation_failed");
    client.get("/v1/end_users/%00/entitlements").await.refused(422, "validation_failed");
}

#[tokio::test]
async fn a_plan_gives_and_an_override_wins_until_it_is_over() {
    let shop = Shop::open().await;
    let entitlements = json!([{"feature_key": "export"}, {"feature_key": "seats", "value": 5}]);
    let variant = shop.variant(entitlements, json!({})).await;
    let own = shop.subscribe(&variant).await;

    let (export, explain) = shop.explained("export").await;
    assert_eq!((&export["allowed"], &export["subscription_status"]), (&json!(true), &json!("active")));
    let given = json!({"source": "variant", "subscription_id": own["id"], "plan_kind": "base",
        "plan_variant_id": variant, "variant_version": 1, "status": "active", "withheld": null, "enabled": true,
        "value": null, "merge": null, "expires_at": null, "decides_access": true, "gives_value": false});
    let default = json!({"source": "feature", "subscription_id": null, "plan_kind": null, "plan_variant_id": null,
        "variant_version": null, "status": null, "withheld": null, "enabled": false, "value": null, "merge": null,
        "expires_at": null, "decides_access": false, "gives_value": false});
    let expected = json!({"chain": [given, default], "price": null, "overage_policy": null, "overdraft_limit": null,
        "blocks": [], "more_blocks": false});
    assert_eq!(explain, expected);

    shop.override_of("seats", json!({"value": 9, "expires_at": "2100-01-03T00:00:00Z"})).await;
    let (seats, explain) = shop.explained("seats").await;
    assert_eq!(seats["value"], 9);
    let plan_gives = |gives_value| ("variant", json!(true), json!(5), true, gives_value);
    let off = || ("feature", json!(false), Value::Null, false, false);
    let own_value = ("end_user", Value::Null, json!(9), false, true);
    assert_eq!(steps(&explain), [own_value, plan_gives(false), off()]);
    assert_eq!(explain["chain"][0]["expires_at"], "2100-01-03T00:00:00Z");

    // An edit is of no account to who is subscribed.
    let edit = json!({"name": "v", "billing_period": {"count": 30, "unit": "day"}, "entitlements": []});
    let edited = shop.client().put(&format!("/v1/variants/{variant}"), &edit).await.is(200);
    assert_eq!(edited["version"], 2);
    assert_eq!(shop.explained("export").await.1["chain"][0]["variant_version"], 1);

    shop.override_of("export", json!({"enabled": false})).await;
    let (export, explain) = shop.explained("export").await;
    assert_eq!(export["reason"], "feature_not_in_plan");
    let expected = [
        ("end_user", json!(false), Value::Null, true, false),
        ("variant", json!(true), Value::Null, false, false),
        off(),
    ];
    assert_eq!(steps(&explain), expected);

    // Nothing else is due then.
    shop.clock("2100-01-03T00:00:00Z").await;
    let (seats, explain) = shop.explained("seats").await;
    assert_eq!((&seats["value"], steps(&explain)), (&json!(5), vec![plan_gives(true), off()]));
}

#[tokio::test]
async fn add_ons_join_the_bases_value_as_they_say_and_sleep_with_it() {
    let shop = Shop::open().await;
    let seats = |value: i64, merge: Value| json!([{"feature_key": "seats", "value": value, "merge": merge}]);
    let own = shop.subscribe(&shop.variant(seats(5, Value::Null), json!({})).await).await;
    let mut ids = vec![own["id"].clone()];
    for (day, value, merge) in [(2, 3, json!("sum")), (3, 6, json!("max")), (4, 99, Value::Null)] {
        shop.clock(&format!("2100-01-0{day}T00:00:00Z")).await;
        let variant = shop.variant_of(&shop.addon, seats(value, merge), json!({})).await;
        ids.insert(1, shop.subscribe(&variant).await["id"].clone());
    }
    let (answer, explain) = shop.explained("seats").await;
    assert_eq!(answer["value"], 8, "5 and 3 are more than 6");
    let step = |value: i64, decides, gives| ("variant", json!(true), json!(value), decides, gives);
    let off = || ("feature", json!(false), Value::Null, false, false);
    let expected = [step(5, true, true), step(99, false, false), step(6, false, true), step(3, false, true), off()];
    assert_eq!(steps(&explain), expected);
    let chain = explain["chain"].as_array().unwrap();
    let of = |name: &str| chain[..4].iter().map(|step| step[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("subscription_id"), ids);
    assert_eq!(of("plan_kind"), ["base", "addon", "addon", "addon"]);
    assert_eq!(of("merge"), [Value::Null, Value::Null, json!("max"), json!("sum")]);

    let path = format!("/v1/subscriptions/{}/pause", own["id"].as_str().unwrap());
    shop.client().post(&path, &json!({})).await.is(200);
    let (answer, explain) = shop.explained("seats").await;
    assert_eq!((&answer["reason"], &answer["value"]), (&json!("subscription_paused"), &Value::Null));
    let chain = explain["chain"].as_array().unwrap();
    assert!(chain[..4].iter().all(|step| step["withheld"] == "paused" && step["gives_value"] == false));
}

#[tokio::test]
async fn what_is_paused_or_past_due_is_withheld_and_says_so() {
    let shop = Shop::open().await;
    let strict = json!({"allow_usage_while_overdue": false});
    let entitlements = json!([{"feature_key": "export"}, {"feature_key": "seats", "enabled": false}]);
    let own = shop.subscribe(&shop.variant(entitlements, strict).await).await;
    let path = format!("/v1/subscriptions/{}", own["id"].as_str().unwrap());
    shop.client().post(&format!("{path}/pause"), &json!({})).await.is(200);
    let (export, explain) = shop.explained("export").await;
    assert_eq!((&export["reason"], &export["allowed"]), (&json!("subscription_paused"), &json!(false)));
    let by = &explain["chain"][0];
    let expected = (&json!("paused"), &json!("paused"), &json!(true));
    assert_eq!((&by["withheld"], &by["status"], &by["decides_access"]), expected);
    let expected = [
        ("calls", "insufficient_credits"),
        ("export", "subscription_paused"),
        ("seats", "feature_not_in_plan"),
        ("theme", "ok"),
    ];
    assert_eq!(reasons(&shop.list("u").await), expected);

    shop.client().post(&format!("{path}/resume"), &json!({})).await.is(200);
    shop.clock("2100-01-31T00:00:00Z").await;
    let (export, explain) = shop.explained("export").await;
    assert_eq!(
        (&export["reason"], &explain["chain"][0]["withheld"]),
        (&json!("subscription_past_due"), &json!("past_due"))
    );
    shop.client().post(&format!("{path}/renew"), &json!({})).await.is(200);
    let (export, explain) = shop.explained("export").await;
    assert_eq!((&export["reason"], &explain["chain"][0]["withheld"]), (&json!("ok"), &Value::Null));
}

#[tokio::test]
async fn a_price_and_its_policy_say_whose_they_are_and_blocks_stand_in_burn_order() {
    let shop = Shop::open().await;
    let flat = |cost: i64| json!({"type": "flat", "cost": cost});
    let sold = json!({"feature_key": "calls", "price": flat(7), "overage_policy": "overdraft", "overdraft_limit": 50});
    let grants = json!([{"amount": 100, "interval": "billing_period"}]);

    // A later price of the feature's own says since when.
    shop.client()
        .post("/v1/features/calls/prices", &json!({"price": flat(4), "effective_from": "2100-01-02T00:00:00Z"}))
        .await
        .is(201);
    shop.clock("2100-01-02T00:00:00Z").await;
    let (_, explain) = shop.explained("calls").await;
    let price = &explain["price"];
    assert_eq!((&price["price"], &price["effective_from"]), (&flat(4), &json!("2100-01-02T00:00:00Z")));
    assert_eq!(explain["overage_policy"], json!({"value": "block", "source": "feature", "subscription_id": null}));
    assert_eq!(explain["overdraft_limit"], json!({"value": null, "source": "feature", "subscription_id": null}));

    let own = shop.subscribe(&shop.variant(json!([sold]), json!({"grants": grants})).await).await;
    let last = shop.grant(40, json!({"priority": 200})).await;
    let first = shop.grant(10, json!({"priority": 1, "feature_keys": ["calls"]})).await;
    shop.grant(1_000, json!({"feature_keys": ["export"]})).await;
    shop.grant(1_000, json!({"effective_at": "2100-02-01T00:00:00Z"})).await;
    let hold = json!({"end_user_id": "u", "feature_key": "calls", "units": 1});
    shop.client().post("/v1/reservations", &hold).await.is(201);

    let (calls, explain) = shop.explained("calls").await;
    let from_plan = |value: Value| json!({"value": value, "source": "variant", "subscription_id": own["id"]});
    assert_eq!(calls["estimated_cost"], 7);
    let price = json!({"price": flat(7), "source": "variant", "subscription_id": own["id"], "effective_from": null});
    assert_eq!(explain["price"], price);
    assert_eq!(explain["overage_policy"], from_plan(json!("overdraft")));
    assert_eq!(explain["overdraft_limit"], from_plan(json!(50)));
    let blocks = explain["blocks"].as_array().unwrap();
    let rows: Vec<Value> = blocks
        .iter()
        .map(|block| json!([block["kind"], block["priority"], block["available"], block["expires_at"]]))
        .collect();
    let expected = [
        json!(["promo", 1, 3, null]),
        json!(["plan", 100, 100, "2100-02-01T00:00:00Z"]),
        json!(["promo", 200, 40, null]),
    ];
    assert_eq!(rows, expected);
    assert_eq!((&blocks[0]["id"], &blocks[2]["id"]), (&first["id"], &last["id"]));
    assert_eq!((&calls["available"], &explain["more_blocks"]), (&json!(143), &json!(false)));

    shop.override_of("calls", json!({"price": flat(1), "overdraft_limit": 0})).await;
    let (calls, explain) = shop.explained("calls").await;
    assert_eq!(calls["estimated_cost"], 1);
    let price = json!({"price": flat(1), "source": "end_user", "subscription_id": null, "effective_from": null});
    assert_eq!(explain["price"], price);
    assert_eq!(explain["overage_policy"], from_plan(json!("overdraft")), "the override leaves it as it is");
    assert_eq!(explain["overdraft_limit"], json!({"value": 0, "source": "end_user", "subscription_id": null}));
    assert_eq!(steps(&explain)[0], ("end_user", Value::Null, Value::Null, false, false));
}
