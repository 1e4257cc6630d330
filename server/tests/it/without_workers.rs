//! No worker runs and nobody writes, but time passes: what readers are told at each instant, by the server, by a sidecar
//! that hears of nothing but the clock, and at the edge, is what the worker writes when it is back.

use std::collections::BTreeMap;
use std::sync::Arc;

use quotastack_core::api::check::AnswerJson;
use quotastack_core::api::edge;
use quotastack_core::catalogue::{Catalogue, Clock};
use quotastack_core::entitlement::evaluate::{CheckRequest, evaluate};
use quotastack_core::ids::{EndUserId, FeatureKey};
use quotastack_core::state::AccountState;
use quotastack_core::sync::catalogue::encode;
use quotastack_core::sync::machine::{Config, Machine, Shown, Stored};
use quotastack_core::time::Timestamp;
use quotastack_core::wire::{Delta, Mode};
use quotastack_server::app::clock;
use quotastack_server::workers::due::DueWorker;
use serde_json::{Value, json};
use sqlx::Row;
use tokio_util::sync::CancellationToken;

use crate::due::{START, set_clock_and_die};
use crate::support::client::Client;
use crate::support::peer::{Incoming, Peer, hello};
use crate::support::server::TestServer;

/// Around everything that becomes due in [`stories`].
const INSTANTS: [&str; 22] = [
    "2100-01-01T05:59:59Z",
    "2100-01-01T06:00:00Z",
    "2100-01-07T23:59:59.999999Z",
    "2100-01-08T00:00:00Z",
    "2100-01-15T12:00:00Z",
    "2100-01-20T00:00:00Z",
    "2100-01-20T00:00:00.000001Z",
    "2100-01-30T23:59:59.999999Z",
    "2100-01-31T00:00:00Z",
    "2100-02-01T00:00:00Z",
    "2100-02-02T23:59:59.999999Z",
    "2100-02-03T00:00:00Z",
    "2100-02-09T23:59:59.999999Z",
    "2100-02-10T00:00:00Z",
    "2100-02-20T00:00:00Z",
    "2100-03-01T23:59:59.999999Z",
    "2100-03-02T00:00:00Z",
    "2100-03-05T00:00:00Z",
    "2100-03-12T00:00:00Z",
    "2100-04-01T00:00:00Z",
    "2100-04-04T00:00:00Z",
    "2100-06-15T03:00:00Z",
];
/// Whose intervals are shorter than a day: those that nobody wrote in time are skipped, and are not looked back on.
const HOURLY: &str = "hourly";
const NOBODY: &str = "nobody";
const FEATURES: [&str; 3] = ["f", "seats", "endless"];

/// A life of each kind: end users who are left alone from now on.
async fn stories(client: &Client) -> Vec<&'static str> {
    client.post("/v1/sandbox/clock", &json!({ "now": START })).await.is(200);
    let price = json!({"type": "per_unit", "cost": 1});
    let off = json!({"enabled": false});
    for feature in [
        json!({"feature_key": "f", "name": "f", "kind": "metered", "price": price, "default": off}),
        json!({"feature_key": "endless", "name": "e", "kind": "metered", "price": price, "overage_policy": "overdraft"}),
        json!({"feature_key": "seats", "name": "s", "kind": "config"}),
    ] {
        client.post("/v1/features", &feature).await.is(201);
    }
    let plan = async |kind: &str| {
        let plan = client.post("/v1/plans", &json!({"name": kind, "kind": kind})).await.is(201);
        format!("/v1/plans/{}/variants", plan["id"].as_str().unwrap())
    };
    let (base, addon) = (plan("base").await, plan("addon").await);
    let gives = json!([{"feature_key": "f"}, {"feature_key": "seats", "value": 5}]);
    let variant = async |variants: &str, more: Value| -> String {
        let grants = json!([{"amount": 1_000, "interval": "billing_period"}]);
        let mut body = json!({"name": "v", "billing_period": {"count": 30, "unit": "day"}, "grants": grants,
            "entitlements": gives});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.post(variants, &body).await.is(201)["id"].as_str().unwrap().to_owned()
    };
    let subscribe = async |user: &str, variant: &str| -> String {
        let order = json!({"end_user_id": user, "plan_variant_id": variant});
        let own = client.post("/v1/subscriptions", &order).await.is(201);
        format!("/v1/subscriptions/{}", own["id"].as_str().unwrap())
    };
    let ask = async |own: &str, what: &str, body: Value| client.post(&format!("{own}/{what}"), &body).await.is(200);
    let spend = async |user: &str, feature: &str, units: i64| {
        let usage = json!({"end_user_id": user, "feature_key": feature, "units": units});
        client.post("/v1/usage", &usage).await.is(200);
    };
    let free = json!({"fallback": true, "grants": [{"amount": 50, "interval": "billing_period"}],
        "entitlements": [{"feature_key": "f"}]});
    variant(&base, free).await;
    let rolling = json!([{"amount": 1_000, "interval": "billing_period", "rollover_percent": 50, "rollover_cap": 300}]);

    // Not renewed: grace, and then the fallback.
    let prepaid = variant(&base, json!({"grants": rolling})).await;
    subscribe("unpaid", &prepaid).await;
    spend("unpaid", "f", 998).await;
    // Nobody may use what is not paid for, and all blocks come to one end.
    let beyond = json!({"amount": 10, "interval": "billing_period", "expires_after": {"count": 33, "unit": "day"}});
    let both = json!([beyond, {"amount": 20, "interval": "billing_period"}]);
    let strict = variant(&base, json!({"allow_usage_while_overdue": false, "grants": both})).await;
    subscribe("overdue", &strict).await;
    // Renewed once, and what is left rolls over. The whole period is one in which it can be renewed.
    let early = variant(&base, json!({"renewal_due_days": 30, "grants": rolling})).await;
    let own = subscribe("renewed", &early).await;
    spend("renewed", "f", 700).await;
    ask(&own, "renew", json!({})).await;
    // Trials that convert and that do not.
    let trial = json!([{"amount": 70, "interval": "billing_period", "on": "trial"},
        {"amount": 500, "interval": "billing_period"}]);
    let body = json!({"trial_days": 7, "trial_end": "convert", "grants": trial, "billing_mode": "postpaid"});
    subscribe("converts", &variant(&base, body).await).await;
    spend("converts", "endless", 200).await;
    let body = json!({"trial_days": 7, "trial_end": "expire", "grants": trial});
    subscribe("tries", &variant(&base, body).await).await;
    // Paused, with credit beside it that goes on expiring, and an add-on that sleeps with it.
    let own = subscribe("paused", &prepaid).await;
    let more = json!({"price": {"amount": 0, "currency": "USD"}, "billing_period": {"count": 1, "unit": "week"},
        "grants": [{"amount": 30, "interval": "billing_period", "rollover_percent": 100}]});
    subscribe("paused", &variant(&addon, more).await).await;
    let promo = json!({"end_user_id": "paused", "amount": 20, "expires_at": "2100-01-20T00:00:00Z"});
    client.post("/v1/credits/grants", &promo).await.is(201);
    ask(&own, "pause", json!({"at": "now", "resume_at": "2100-02-10T00:00:00Z"})).await;
    // Every week and every day for ever; and every six hours.
    let often = json!([{"amount": 7, "interval": {"count": 1, "unit": "week"}, "rollover_percent": 100},
        {"amount": 3, "interval": {"count": 1, "unit": "day"}}]);
    subscribe("often", &variant(&base, json!({"billing_mode": "postpaid", "grants": often})).await).await;
    let hourly = json!([{"amount": 2, "interval": {"count": 6, "unit": "hour"}}]);
    subscribe(HOURLY, &variant(&base, json!({"billing_mode": "postpaid", "grants": hourly})).await).await;
    // A contract that ends, a change that waits, a cancellation that waits.
    let body = json!({"contract": {"periods": 2, "auto_renew": false}, "billing_mode": "postpaid"});
    subscribe("bound", &variant(&base, body).await).await;
    let postpaid = variant(&base, json!({"billing_mode": "postpaid"})).await;
    let own = subscribe("changes", &postpaid).await;
    ask(&own, "change", json!({"plan_variant_id": postpaid, "quantity": 3, "at": "period_end"})).await;
    let own = subscribe("leaves", &postpaid).await;
    ask(&own, "cancel", json!({"at": "period_end"})).await;
    // A hold that ends with nobody near, and one that outlives its block.
    let hold = json!({"end_user_id": "renewed", "feature_key": "f", "units": 40, "ttl_seconds": 3_600});
    client.post("/v1/reservations", &hold).await.is(201);
    let lives = ["unpaid", "overdue", "renewed", "converts", "tries", "paused", "often", "bound", "changes", "leaves"];
    lives.into_iter().chain([HOURLY, NOBODY]).collect()
}

/// A sidecar's end of the link.
struct Sidecar {
    _peer: Peer,
    deltas: Incoming,
    machine: Machine,
    catalogue: Option<Arc<Catalogue>>,
    /// States that came.
    heard: usize,
}

fn nothing(_: &EndUserId) -> Option<Arc<AccountState>> {
    None
}

impl Sidecar {
    async fn link(server: &TestServer) -> Self {
        let key = server.sandbox.key().unwrap();
        let peer = Peer::link(server.quic(), &server.ca_file(), hello(key, Mode::All, None)).await;
        let config = Config { mode: Mode::All, outbox_bytes_max: 1 << 20, answered_kept_max: 10 };
        let mut machine = Machine::open(config, Stored::default(), &nothing, clock::now());
        machine.link_up(&peer.welcome).unwrap();
        let deltas = peer.deltas().await;
        let mut sidecar = Self { _peer: peer, deltas, machine, catalogue: None, heard: 0 };
        while sidecar.machine.as_of().is_none() || sidecar.catalogue.is_none() {
            sidecar.hear().await;
        }
        sidecar
    }

    async fn hear(&mut self) {
        let delta: Delta = self.deltas.next().await.expect("the stream of deltas goes on");
        if let Delta::States(states) = &delta {
            self.heard += states.len();
        }
        self.machine.delta(delta, &nothing).unwrap();
        for shown in self.machine.take_shown() {
            if let Shown::Catalogue(catalogue) = shown {
                self.catalogue = Some(catalogue);
            }
        }
    }

    /// Waits until the clock stands there.
    async fn hears_of(&mut self, now: Timestamp) -> Arc<Catalogue> {
        while self.catalogue.as_ref().is_none_or(|catalogue| catalogue.clock != Clock::Standing(now)) {
            self.hear().await;
        }
        self.catalogue.clone().expect("it was just looked at")
    }

    /// What a check answers here, from the replica and from its bytes: the same.
    fn check(&self, catalogue: &Catalogue, end_user_id: &str, feature: &str) -> Value {
        let state = self.machine.view(&EndUserId::new(end_user_id).unwrap(), &nothing).unwrap();
        let feature_key = FeatureKey::new(feature).unwrap();
        let (properties, now) = (BTreeMap::new(), clock::now());
        let request = CheckRequest { feature_key: &feature_key, units: 3.try_into().unwrap(), properties: &properties };
        let decision = evaluate(&state, catalogue, request, catalogue.clock.at(now));
        let answer = AnswerJson::undated(&feature_key, &decision).to_json();
        let edge = edge::answer(&state.encode(), &encode(catalogue), feature, 3, &now.to_string()).unwrap();
        assert_eq!(String::from_utf8_lossy(&edge), String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    }
}

fn without(mut answer: Value, fields: &[&str]) -> Value {
    for field in fields {
        answer.as_object_mut().unwrap().remove(*field);
    }
    answer
}

/// What an end user's readers are told.
#[derive(Debug, PartialEq)]
struct Told {
    checks: Vec<Value>,
    /// Figures and blocks; of those that are over or used up it depends on whether it is written that they are.
    credits: Value,
    blocks: Vec<Value>,
    /// Id and state of the subscriptions that are not over.
    subscriptions: Vec<(String, String)>,
}

const FRESHNESS: [&str; 3] = ["source", "as_of", "staleness_ms"];

async fn credits(client: &Client, user: &str, at: &str) -> (Value, Vec<Value>) {
    let found = client.get(&format!("/v1/end_users/{user}/credits?include=blocks{at}")).await.is(200);
    let figures = ["balance", "reserved", "available", "debt"].map(|name| (name, found[name].clone()));
    let blocks = found["blocks"].as_array().unwrap();
    let live = blocks.iter().filter(|block| block["remaining"] != 0).cloned();
    (Value::from_iter(figures), live.map(|block| without(block, &["original"])).collect())
}

async fn told(client: &Client, user: &str) -> Told {
    let mut checks = Vec::new();
    for feature in FEATURES {
        let path = format!("/v1/entitlements/check?end_user_id={user}&feature_key={feature}&units=3");
        checks.push(without(client.get(&path).await.is(200), &FRESHNESS));
    }
    let (credits, blocks) = credits(client, user, "").await;
    let listed = client.get(&format!("/v1/subscriptions?end_user_id={user}")).await.is(200);
    let text = |own: &Value, field: &str| own[field].as_str().unwrap().to_owned();
    let subscriptions = listed["data"].as_array().unwrap().iter().map(|own| (text(own, "id"), text(own, "status")));
    let mut subscriptions: Vec<_> =
        subscriptions.filter(|(_, status)| !["canceled", "expired"].contains(&status.as_str())).collect();
    subscriptions.sort();
    Told { checks, credits, blocks, subscriptions }
}

/// The states of an end user's live subscriptions at an instant, as the events tell.
async fn announced(server: &TestServer, user: &str, at: &str) -> Vec<(String, String)> {
    let sql = "select data->'subscription'->>'id' as id, data->'subscription'->>'status' as status from events
               join accounts using (lane_id, account_id)
               where end_user_id = $1 and type like 'subscription.%' and data ? 'subscription'
                 and occurred_at <= $2::text::timestamptz
               order by feed_seq, place";
    let rows = sqlx::query(sql).bind(user).bind(at).fetch_all(&mut server.owner().await).await.unwrap();
    let mut states: BTreeMap<String, String> = rows.iter().map(|row| (row.get("id"), row.get("status"))).collect();
    states.retain(|_, status| !["canceled", "expired"].contains(&status.as_str()));
    states.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_readers_are_told_while_no_worker_runs_is_what_the_worker_writes_when_it_is_back() {
    let server = TestServer::start().await;
    let client = &server.sandbox;
    let users = stories(client).await;
    let (app, principal) = server.app(client).await;
    let mut owner = server.owner().await;
    let mut sidecar = Sidecar::link(&server).await;
    let (rows, heard) = (server.row_counts().await, sidecar.heard);

    let mut seen: Vec<(&str, &str, Told)> = Vec::new();
    for now in INSTANTS {
        set_clock_and_die(&mut owner, principal.environment_id, now).await;
        let catalogue = sidecar.hears_of(now.parse().unwrap()).await;
        for user in &users {
            let told = told(client, user).await;
            for (feature, answer) in FEATURES.iter().zip(&told.checks) {
                assert_eq!(sidecar.check(&catalogue, user, feature), *answer, "{user} at {now}: {feature}");
            }
            seen.push((now, user, told));
        }
    }
    assert_eq!(server.row_counts().await, rows, "reading writes nothing");
    assert_eq!(sidecar.heard, heard, "the sidecar heard of nothing but the clock");
    let reasons: std::collections::BTreeSet<&str> =
        seen.iter().flat_map(|(.., told)| &told.checks).map(|check| check["reason"].as_str().unwrap()).collect();
    for reason in ["ok", "insufficient_credits", "no_subscription", "subscription_paused", "subscription_past_due"] {
        assert!(reasons.contains(reason), "{reason} in {reasons:?}");
    }

    let mut worker = DueWorker::new(Arc::clone(&app), CancellationToken::new());
    while !worker.round().await.unwrap() {}
    let versioned = |mut told: Told| {
        told.checks.iter_mut().for_each(|check| *check = without(check.take(), &["version"]));
        told
    };
    let last = *INSTANTS.last().unwrap();
    for (now, user, was) in seen {
        let what = format!("{user} at {now}");
        if now == last {
            assert_eq!(versioned(told(client, user).await), versioned(was), "{what}");
        } else if ![HOURLY, NOBODY].contains(&user) {
            let then = credits(client, user, &format!("&as_of={now}")).await;
            assert_eq!(then, (was.credits, was.blocks), "{what}");
            assert_eq!(announced(&server, user, now).await, was.subscriptions, "{what}");
        }
    }
    for user in users {
        let entries = server.verified_entries(client, user).await;
        let late = entries.iter().filter(|entry| entry.recorded_at == last.parse().unwrap());
        assert!(late.clone().all(|entry| entry.body.effective_at <= entry.recorded_at));
        assert!(user == NOBODY || late.count() > 0, "{user}: the worker had something to write");
    }
    app.stop().await;
}
