//! A sandbox across period ends, trials, grace, a pause and rollover: wherever its clock is set to, a real sidecar answers
//! checks as the real server does.

use serde_json::{Value, json};

use crate::support::{Client, Server, eventually};

const FEATURES: [&str; 3] = ["f", "seats", "endless"];
const USERS: [&str; 6] = ["unpaid", "renewed", "converts", "tries", "paused", "nobody"];

/// Sets the clock; all that became due is written with it.
fn set_clock(server: &Client, now: &str) {
    server.post("/v1/sandbox/clock", &json!({ "now": now })).ok();
}

/// The answer to a check, less how fresh it is; and where its time is.
fn check(client: &Client, user: &str, feature: &str, units: i64) -> (Value, String) {
    let path = format!("/v1/entitlements/check?end_user_id={user}&feature_key={feature}&units={units}");
    let mut answer = client.get(&path).ok();
    let as_of = answer["as_of"].as_str().unwrap().to_owned();
    for field in ["source", "as_of", "staleness_ms"] {
        assert!(answer.as_object_mut().unwrap().remove(field).is_some(), "{field}");
    }
    (answer, as_of)
}

/// Waits until the sidecar has heard of this instant and of all that was written, then compares.
fn same(server: &Client, sidecar: &Client, now: &str) -> Vec<Value> {
    let mut answers = Vec::new();
    for user in USERS {
        for (feature, units) in FEATURES.iter().flat_map(|feature| [(feature, 1), (feature, 600)]) {
            let (expected, at) = check(server, user, feature, units);
            assert_eq!(at, now);
            eventually("the sidecar has heard", || {
                let (answer, at) = check(sidecar, user, feature, units);
                at == now && answer["version"] == expected["version"]
            });
            assert_eq!(check(sidecar, user, feature, units), (expected.clone(), at), "{user} at {now}");
            answers.push(expected);
        }
    }
    answers
}

fn reasons(answers: &[Value]) -> std::collections::BTreeSet<&str> {
    answers.iter().map(|answer| answer["reason"].as_str().unwrap()).collect()
}

/// Makes the catalogue; the paths of plans' variants, and what subscribes.
struct Shop<'a> {
    client: &'a Client,
    variants: String,
}

impl<'a> Shop<'a> {
    fn open(client: &'a Client) -> Self {
        set_clock(client, "2100-01-01T00:00:00Z");
        let price = json!({"type": "per_unit", "cost": 1});
        let off = json!({"enabled": false});
        for feature in [
            json!({"feature_key": "f", "name": "f", "kind": "metered", "price": price, "default": off}),
            json!({"feature_key": "endless", "name": "e", "kind": "metered", "price": price, "overage_policy": "overdraft",
                "overdraft_limit": 650}),
            json!({"feature_key": "seats", "name": "s", "kind": "config"}),
        ] {
            client.post("/v1/features", &feature).ok();
        }
        let plan = client.post("/v1/plans", &json!({"name": "Pro"})).ok();
        Self { client, variants: format!("/v1/plans/{}/variants", plan["id"].as_str().unwrap()) }
    }

    /// A subscription of the user to a variant of 1,000 in 30 days, with what `more` says; its path.
    fn subscribe(&self, user: &str, more: Value) -> String {
        let gives = json!([{"feature_key": "f"}, {"feature_key": "seats", "value": 5}]);
        let grants = json!([{"amount": 1_000, "interval": "billing_period", "rollover_percent": 50}]);
        let mut body = json!({"name": "v", "billing_period": {"count": 30, "unit": "day"}, "grants": grants,
            "entitlements": gives});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let variant = self.client.post(&self.variants, &body).ok();
        let order = json!({"end_user_id": user, "plan_variant_id": variant["id"]});
        let own = self.client.post("/v1/subscriptions", &order).ok();
        format!("/v1/subscriptions/{}", own["id"].as_str().unwrap())
    }

    fn ask(&self, own: &str, what: &str, body: &Value) {
        self.client.post(&format!("{own}/{what}"), body).ok();
    }

    fn spend(&self, user: &str, feature: &str, units: i64) {
        self.client.post("/v1/usage", &json!({"end_user_id": user, "feature_key": feature, "units": units})).ok();
    }
}

#[test]
fn wherever_the_clock_is_set_to_server_and_sidecar_answer_alike() {
    let server = Server::start();
    let client = server.client_of("sandbox");
    let shop = Shop::open(&client);
    let strict = json!({"allow_usage_while_overdue": false});
    shop.subscribe("unpaid", strict);
    let renewed = shop.subscribe("renewed", json!({"renewal_due_days": 30}));
    let trial = json!([{"amount": 70, "interval": "billing_period", "on": "trial"},
        {"amount": 700, "interval": "billing_period"}]);
    let converts = json!({"trial_days": 7, "trial_end": "convert", "grants": trial, "billing_mode": "postpaid"});
    shop.subscribe("converts", converts);
    shop.subscribe("tries", json!({"trial_days": 7, "trial_end": "expire", "grants": trial}));
    let paused = shop.subscribe("paused", json!({}));

    let mut told = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let sidecar = server.sidecar_with_key(folder.path(), server.key("sandbox")).arg("--replicate", "all").start();
    let replica = sidecar.client();
    let mut at = |now: &str| {
        set_clock(&client, now);
        let answers = same(&client, &replica, now);
        told.extend(answers.clone());
        answers
    };
    at("2100-01-01T00:00:00Z");
    shop.spend("renewed", "f", 300);
    shop.spend("converts", "endless", 300);
    shop.ask(&renewed, "renew", &json!({}));
    at("2100-01-07T23:59:59.999999Z");
    let converted = at("2100-01-08T00:00:00Z");
    assert!(reasons(&converted).contains("no_subscription"), "a trial is over");
    shop.ask(&paused, "pause", &json!({"resume_at": "2100-02-05T00:00:00Z"}));
    assert!(reasons(&at("2100-01-11T00:00:00Z")).contains("subscription_paused"));
    at("2100-01-30T23:59:59.999999Z");
    let ended = at("2100-01-31T00:00:00Z");
    assert!(reasons(&ended).contains("subscription_past_due"));
    let of_renewed = |answer: &&Value| answer["balance"] == 1_350;
    assert!(ended.iter().any(|answer| of_renewed(&answer)), "350 of 700 have rolled over beside 1,000 that are new");
    at("2100-02-02T23:59:59.999999Z");
    assert!(!reasons(&at("2100-02-03T00:00:00Z")).contains("subscription_past_due"), "the grace is over");
    assert!(!reasons(&at("2100-02-05T00:00:00Z")).contains("subscription_paused"), "it goes on by itself");
    at("2100-03-02T00:00:00Z");
    at("2100-06-01T12:00:00Z");
    // A running clock is another one than a standing one.
    client.post("/v1/sandbox/clock", &json!({"follow": true})).ok();
    let version = |client: &Client| check(client, "renewed", "f", 1).0;
    eventually("the sidecar has heard that the clock runs", || version(&client) == version(&replica));
    assert!(reasons(&told).len() >= 5, "{:?}", reasons(&told));
}
