//! A mix of writes as customers send them, each with its key until it is acknowledged, and plain sums of what the
//! ledger must then hold.
//!
//! A caller's credit never runs out, so that its sums do not depend on what others do to the same account meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quotastack_core::ids::UsageId;
use quotastack_server::app::verify::{self, Progress};
use quotastack_server::app::{App, AppConfig};
use quotastack_server::store::tx::Store;
use quotastack_server::workers::due::DueWorker;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::client::{Answer, Client};
use super::wait::until;

/// After which a caller sends again what a server did not take.
const BACKOFF: Duration = Duration::from_millis(5);
/// Far beyond what any restart needs.
const RESTART_MAX: Duration = Duration::from_secs(60);
/// What the opening grant of a caller is: more than it ever uses.
const OPENING: i64 = 1_000_000;

/// Where the server is; nowhere while it is away.
#[derive(Clone)]
pub(crate) struct Door(watch::Receiver<Option<Client>>);

impl Door {
    pub(crate) fn new() -> (watch::Sender<Option<Client>>, Self) {
        let (place, door) = watch::channel(None);
        (place, Self(door))
    }

    /// To a server that stays.
    pub(crate) fn to(client: &Client) -> Self {
        let (place, door) = watch::channel(Some(client.clone()));
        // Where the place is forgotten the value stays.
        drop(place);
        Self(door)
    }

    /// Sends a write until it has its final answer.
    async fn send(&mut self, write: &Write) -> Answer {
        loop {
            let client = self.0.wait_for(Option::is_some).await.map(|client| client.clone());
            let client = client.unwrap_or_else(|_| self.0.borrow().clone()).expect("a door leads to a server");
            let headers = [("content-type", "application/json"), ("idempotency-key", write.key.as_str())];
            let body = write.body.to_string().into_bytes();
            match client.try_send(write.method.clone(), &write.path, &headers, Some(body)).await {
                Ok(answer) if is_open(&answer) => tokio::time::sleep(BACKOFF).await,
                Ok(answer) => return answer,
                Err(error) => {
                    let restarted = tokio::time::timeout(RESTART_MAX, self.0.changed()).await;
                    assert!(matches!(restarted, Ok(Ok(()))), "{}: the server is there: {error:?}", write.path);
                }
            }
        }
    }
}

/// Whether the answer, or a part of it, only says that nobody knows yet.
fn is_open(answer: &Answer) -> bool {
    let open = |value: &Value| matches!(value["code"].as_str(), Some("overloaded" | "outcome_unknown"));
    assert!(answer.status < 500 || (answer.status == 503 && open(&answer.json)), "{}", answer.text);
    open(&answer.json) || answer.json["results"].as_array().is_some_and(|results| results.iter().any(open))
}

/// A write as it is sent, however often.
#[derive(Debug, Clone)]
struct Write {
    method: Method,
    path: String,
    key: String,
    body: Value,
}

/// What an account must be, by plain sums over what was acknowledged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    balance: i64,
    reserved: i64,
    /// How many entries of each kind.
    entries: BTreeMap<String, i64>,
    usage: BTreeSet<Uuid>,
}

/// What a whole ledger must be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// By end user.
    pub(crate) accounts: BTreeMap<String, Books>,
    features: BTreeSet<String>,
}

/// Creates what the callers use; returns the variants that they subscribe to and change to.
pub(crate) async fn set_up(client: &Client) -> [String; 2] {
    let feature = json!({"feature_key": "f", "name": "F", "kind": "metered", "overage_policy": "block",
        "price": {"type": "per_unit", "cost": 1}});
    client.post("/v1/features", &feature).await.is(201);
    let plan = client.post("/v1/plans", &json!({"name": "Pro"})).await.is(201);
    let variants = format!("/v1/plans/{}/variants", text(&plan, "/id"));
    let variant = async |amount: i64| {
        let variant = json!({"name": "m", "grace_period_days": 0, "billing_period": {"count": 1, "unit": "month"},
            "grants": [{"amount": amount, "interval": "billing_period"}]});
        text(&client.post(&variants, &variant).await.is(201), "/id")
    };
    [variant(50).await, variant(100).await]
}

/// Someone who sends every kind of write, one after the other.
pub(crate) struct Caller {
    /// Begins its keys.
    name: String,
    user: String,
    variants: [String; 2],
    door: Door,
    random: u64,
    sent: u64,
    package: Option<String>,
    recent: Vec<(Write, Answer)>,
    ledger: Ledger,
}

impl Caller {
    /// `user` may be others' user too; `seed` decides amounts and turns.
    pub(crate) fn new(name: &str, user: &str, variants: &[String; 2], door: Door, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            user: user.to_owned(),
            variants: variants.clone(),
            door,
            random: seed,
            sent: 0,
            package: None,
            recent: Vec::new(),
            ledger: Ledger::default(),
        }
    }

    /// Every kind of write once, after the last ones were sent again.
    pub(crate) async fn episode(&mut self) {
        self.repeat().await;
        if self.package.is_none() {
            self.open().await;
        }
        self.credit().await;
        self.usage().await;
        self.reservation().await;
        self.corrections().await;
        self.refusals().await;
        self.subscription().await;
        self.catalogue().await;
    }

    /// Sends again what was acknowledged since the last time: the first answers, and nothing moves.
    pub(crate) async fn repeat(&mut self) {
        for (write, first) in std::mem::take(&mut self.recent) {
            let again = self.door.send(&write).await;
            assert_eq!(again.status, first.status, "{write:?}: {} then {}", first.text, again.text);
            if first.status >= 300 {
                assert_eq!(again.json["code"], first.json["code"], "{write:?}");
                continue;
            }
            let recorded = json!("recorded");
            let mut results = again.json["results"].as_array().into_iter().flatten();
            assert!(again.is_replayed() || again.json["results"].is_array(), "{write:?}: {}", again.text);
            assert!(results.all(|result| result["status"] != recorded), "{write:?}: {}", again.text);
            assert_eq!(unmarked(again.json), unmarked(first.json), "{write:?}");
        }
    }

    /// What it must have left in the ledger.
    pub(crate) fn into_ledger(self) -> Ledger {
        self.ledger
    }

    async fn open(&mut self) {
        let grant = json!({"end_user_id": self.user, "amount": OPENING, "priority": 200});
        self.post("/v1/credits/grants", grant).await.is(201);
        self.book(OPENING, &["grant"]);
        let package = json!({"name": self.name, "amount": 9, "price_paid": 1, "currency": "USD"});
        let made = self.post("/v1/topup_packages", package).await.is(201);
        self.package = Some(text(&made, "/id"));
    }

    async fn credit(&mut self) {
        let amount = self.draw(5);
        let grant = json!({"end_user_id": self.user, "amount": amount, "metadata": {"by": self.name}});
        self.post("/v1/credits/grants", grant).await.is(201);
        self.book(amount, &["grant"]);
        // Burnt last, so that all of it can be taken back.
        let reference = format!("{}-{}", self.name, self.sent);
        let topup = json!({"end_user_id": self.user, "amount": 9, "price_paid": 1, "currency": "USD",
            "payment_reference": reference, "priority": 255});
        let bought = self.post("/v1/topups", topup).await.is(201);
        self.book(9, &["grant"]);
        let refund = format!("/v1/topups/{}/refund", text(&bought, "/topup/id"));
        self.post(&refund, json!({"amount": 4})).await.is(200);
        self.book(-4, &["refund"]);
        self.post(&refund, json!({"reason": "the rest"})).await.is(200);
        self.book(-5, &["refund"]);
    }

    async fn usage(&mut self) {
        let units = 5 + self.draw(5);
        let event = |units: i64, user: &str| json!({"end_user_id": user, "feature_key": "f", "units": units});
        let used = self.post("/v1/usage", event(units, &self.user)).await.is(200);
        self.book_usage(units, &["usage"], &used, "/id");
        let undone = self.post(&format!("/v1/usage/{}/void", text(&used, "/id")), json!({})).await.is(200);
        assert_eq!(undone["returned"], units);
        self.book(units, &["void"]);
        let used = self.post("/v1/consume", event(units, &self.user)).await.is(200);
        self.book_usage(units, &["usage"], &used, "/id");
        // Somebody else is among them, perhaps of another lane.
        let other = format!("{}-other", self.name);
        let grant = json!({"end_user_id": other, "amount": 2});
        self.post("/v1/credits/grants", grant).await.is(201);
        self.book_for(&other, 2, &["grant"]);
        let events = [event(1, &self.user), event(2, &other), event(3, &self.user), event(99_999_999, &other)];
        let answer = self.post("/v1/usage/batch", json!({"events": events})).await.is(200);
        let results = answer["results"].as_array().unwrap();
        for (result, (user, units)) in results.iter().zip([(self.user.clone(), 1), (other, 2), (self.user.clone(), 3)])
        {
            assert!(matches!(result["status"].as_str(), Some("recorded" | "replayed")), "{result}");
            self.book_for(&user, -units, &["usage"]);
            self.books(&user).usage.insert(uuid(result, "/id"));
        }
        assert_eq!(results[3]["code"], "insufficient_credits");
    }

    async fn reservation(&mut self) {
        let order = json!({"end_user_id": self.user, "feature_key": "f", "units": 10, "ttl_seconds": 3_600});
        let made = self.post("/v1/reservations", order).await.is(201);
        self.book(0, &["hold"]);
        let path = format!("/v1/reservations/{}", text(&made, "/id"));
        self.post(&format!("{path}/extend"), json!({"ttl_seconds": 7_200})).await.is(200);
        self.book(0, &["extend"]);
        let commit = format!("{path}/commit");
        match self.draw(4) {
            1 => {
                let done = self.post(&commit, json!({"units": 7})).await.is(200);
                self.book_usage(7, &["commit", "release"], &done, "/usage/id");
            }
            2 => {
                let done = self.post(&commit, json!({"units": 4, "final": false})).await.is(200);
                self.book_usage(4, &["commit"], &done, "/usage/id");
                let done = self.post(&commit, json!({"units": 6})).await.is(200);
                self.book_usage(6, &["commit"], &done, "/usage/id");
            }
            3 => {
                self.post(&format!("{path}/release"), json!({})).await.is(200);
                self.book(0, &["release"]);
            }
            _ => self.books(&self.user.clone()).reserved += 10,
        }
    }

    async fn corrections(&mut self) {
        for (amount, reason) in [(3, "a courtesy"), (-2, "a mistake")] {
            let order = json!({"end_user_id": self.user, "amount": amount, "reason": reason});
            self.post("/v1/credits/adjustments", order).await.is(201);
            self.book(amount, &["adjust"]);
        }
        let grant = json!({"end_user_id": self.user, "amount": 8, "priority": 255});
        let granted = self.post("/v1/credits/grants", grant).await.is(201);
        self.book(8, &["grant"]);
        let void = format!("/v1/credits/blocks/{}/void", text(&granted, "/block/id"));
        self.post(&void, json!({"reason": "not meant"})).await.is(200);
        self.book(-8, &["withdraw"]);
    }

    async fn refusals(&mut self) {
        let dear = json!({"end_user_id": self.user, "feature_key": "f", "units": 999_999_999_999_i64});
        assert_eq!(self.post("/v1/usage", dear).await.refused(402, "insufficient_credits")["status"], 402);
        let unknown = json!({"end_user_id": self.user, "feature_key": "no-such", "units": 1});
        assert_eq!(self.post("/v1/usage", unknown).await.refused(409, "feature_unknown")["status"], 409);
    }

    /// For somebody new each time: one subscription lives through what can be asked of it, beside the other a hold runs
    /// out, which only the server's own worker sees.
    async fn subscription(&mut self) {
        let [first, second] = self.variants.clone();
        let user = format!("{}-new-{}", self.name, self.sent);
        let made = self.post("/v1/subscriptions", json!({"end_user_id": user, "plan_variant_id": first})).await.is(201);
        let own = format!("/v1/subscriptions/{}", text(&made, "/id"));
        let change = json!({"plan_variant_id": second, "credits": "keep_and_add"});
        self.post(&format!("{own}/change"), change).await.is(200);
        self.post(&format!("{own}/pause"), json!({})).await.is(200);
        self.post(&format!("{own}/cancel"), json!({"at": "now", "credits": "void"})).await.is(200);
        self.book_for(&user, 0, &["grant", "grant", "reschedule", "reschedule", "withdraw"]);

        let user = format!("{}-new-{}", self.name, self.sent);
        self.post("/v1/subscriptions", json!({"end_user_id": user, "plan_variant_id": first})).await.is(201);
        let hold = json!({"end_user_id": user, "feature_key": "f", "units": 5, "ttl_seconds": 1});
        self.post("/v1/reservations", hold).await.is(201);
        self.book_for(&user, 50, &["grant", "hold", "hold_expired"]);
    }

    async fn catalogue(&mut self) {
        let path = format!("/v1/topup_packages/{}", self.package.as_ref().unwrap());
        let price = self.draw(1_000);
        let package = json!({"name": self.name, "amount": 9, "price_paid": price, "currency": "USD"});
        assert_eq!(self.send(Method::PUT, &path, package).await.is(200)["price_paid"], price);
        // Not each time: every change has the whole catalogue read again.
        if self.draw(4) == 1 {
            let key = format!("{}-{}", self.name, self.sent);
            let feature = json!({"feature_key": key, "name": "G", "kind": "boolean"});
            self.post("/v1/features", feature).await.is(201);
            self.ledger.features.insert(key);
        }
    }

    async fn post(&mut self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, body).await
    }

    async fn send(&mut self, method: Method, path: &str, body: Value) -> Answer {
        self.sent += 1;
        let write = Write { method, path: path.to_owned(), key: format!("{}-{}", self.name, self.sent), body };
        let answer = self.door.send(&write).await;
        self.recent.push((write, answer.clone()));
        answer
    }

    /// 1 to `max`.
    fn draw(&mut self, max: u64) -> i64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((self.random >> 33) % max).unwrap() + 1
    }

    fn books(&mut self, user: &str) -> &mut Books {
        self.ledger.accounts.entry(user.to_owned()).or_default()
    }

    fn book(&mut self, amount: i64, kinds: &[&str]) {
        self.book_for(&self.user.clone(), amount, kinds);
    }

    fn book_usage(&mut self, units: i64, kinds: &[&str], answer: &Value, id: &str) {
        self.book(-units, kinds);
        self.books(&self.user.clone()).usage.insert(uuid(answer, id));
    }

    fn book_for(&mut self, user: &str, amount: i64, kinds: &[&str]) {
        let books = self.books(user);
        books.balance += amount;
        for kind in kinds {
            *books.entries.entry((*kind).to_owned()).or_default() += 1;
        }
    }
}

impl Ledger {
    /// Both together.
    #[must_use]
    pub(crate) fn and(mut self, other: Self) -> Self {
        for (user, books) in other.accounts {
            let sum = self.accounts.entry(user).or_default();
            sum.balance += books.balance;
            sum.reserved += books.reserved;
            for (kind, count) in books.entries {
                *sum.entries.entry(kind).or_default() += count;
            }
            let before = sum.usage.len();
            let added = books.usage.len();
            sum.usage.extend(books.usage);
            assert_eq!(sum.usage.len(), before + added, "two callers were told the same id");
        }
        self.features.extend(other.features);
        self
    }

    /// Waits until what time has done is written, then holds it against the database: exactly this is there, and `ledger verify` finds nothing.
    pub(crate) async fn must_be_all_of(mut self, url: &str) {
        let mut owner = PgConnection::connect(url).await.unwrap();
        let app = App::start(&AppConfig { database_url: url.to_owned(), connections_max: 2 }).unwrap();
        let mut worker = DueWorker::new(Arc::clone(&app), CancellationToken::new());
        until("holds have run out", async || {
            // The servers' own workers have done it, unless what failed there rests for a while.
            worker.round().await.unwrap();
            let open = "select count(*) from reservations join accounts using (lane_id, account_id)
                where status = 'active' and end_user_id like '%-new-%'";
            (sqlx::query_scalar::<_, i64>(open).fetch_one(&mut owner).await.unwrap() == 0).then_some(())
        })
        .await;
        app.stop().await;
        let mut found = Self::default();
        let accounts = "select end_user_id, balance, reserved, debt from accounts";
        for row in sqlx::query(accounts).fetch_all(&mut owner).await.unwrap() {
            assert_eq!(row.get::<i64, _>("debt"), 0);
            let books = Books { balance: row.get("balance"), reserved: row.get("reserved"), ..Books::default() };
            found.accounts.insert(row.get("end_user_id"), books);
        }
        let entries =
            "select end_user_id, kind, count(*) as count from entries join accounts using (lane_id, account_id)
            group by end_user_id, kind";
        for row in sqlx::query(entries).fetch_all(&mut owner).await.unwrap() {
            let books = found.accounts.get_mut(row.get::<&str, _>("end_user_id")).unwrap();
            books.entries.insert(row.get("kind"), row.get("count"));
        }
        let usage = "select end_user_id, usage_id from usage_events join accounts using (lane_id, account_id)";
        for row in sqlx::query(usage).fetch_all(&mut owner).await.unwrap() {
            let books = found.accounts.get_mut(row.get::<&str, _>("end_user_id")).unwrap();
            assert!(books.usage.insert(row.get("usage_id")), "an event is there twice");
        }
        let features = "select feature_key from features";
        found.features = sqlx::query_scalar(features).fetch_all(&mut owner).await.unwrap().into_iter().collect();
        self.features.insert("f".to_owned());
        for (user, books) in &self.accounts {
            assert_eq!(found.accounts.get(user), Some(books), "{user}");
        }
        assert_eq!(found, self);
        let store = Store::connect(url, 4).unwrap();
        let progress = Arc::new(Progress::default());
        let findings = verify::verify(&store, 4, &progress).await.unwrap();
        assert!(findings.is_empty(), "{findings:?}");
        store.close().await;
    }
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer}: {value}")).to_owned()
}

fn uuid(value: &Value, pointer: &str) -> Uuid {
    text(value, pointer).parse::<UsageId>().unwrap().uuid()
}

/// An answer without the marks of a repeat.
fn unmarked(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.remove("replayed");
            if fields.get("status") == Some(&json!("replayed")) {
                fields.insert("status".to_owned(), json!("recorded"));
            }
            for field in fields.values_mut() {
                *field = unmarked(field.take());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = unmarked(item.take());
            }
        }
        _ => {}
    }
    value
}
