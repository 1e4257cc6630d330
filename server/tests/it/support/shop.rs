//! A shop under the sandbox clock: variants of one plan, and end users who subscribe, use, buy and read.

use quotastack_core::ledger::entry::Entry;
use serde_json::{Value, json};

use super::client::Client;
use super::server::TestServer;

/// A shop on 2100-01-01 with a plan and two metered features of one credit per unit: `f` blocks, `endless` overdraws.
pub(crate) struct Shop {
    pub(crate) server: TestServer,
    plan: String,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        let server = TestServer::start().await;
        server.sandbox.post("/v1/sandbox/clock", &json!({"now": "2100-01-01T00:00:00Z"})).await.is(200);
        for (key, policy) in [("f", "block"), ("endless", "overdraft")] {
            let price = json!({"type": "per_unit", "cost": 1, "per_units": 1});
            let feature =
                json!({"feature_key": key, "name": key, "kind": "metered", "price": price, "overage_policy": policy});
            server.sandbox.post("/v1/features", &feature).await.is(201);
        }
        let plan = server.sandbox.post("/v1/plans", &json!({"name": "Pro", "kind": "base"})).await.is(201);
        Self { plan: plan["id"].as_str().unwrap().to_owned(), server }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.server.sandbox
    }

    /// A variant of the shop's plan of 30 days that grants `amount` a period, with what `more` says.
    pub(crate) async fn variant(&self, amount: i64, more: Value) -> String {
        self.variant_of(&self.plan, amount, more).await
    }

    /// The same of an add-on plan of its own.
    pub(crate) async fn addon(&self, amount: i64, more: Value) -> String {
        let plan = self.client().post("/v1/plans", &json!({"name": "More", "kind": "addon"})).await.is(201);
        self.variant_of(plan["id"].as_str().unwrap(), amount, more).await
    }

    async fn variant_of(&self, plan: &str, amount: i64, more: Value) -> String {
        let grant = json!({"amount": amount, "interval": "billing_period"});
        let mut body = json!({"name": "v", "billing_period": {"count": 30, "unit": "day"}, "grants": [grant]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let variant = self.client().post(&format!("/v1/plans/{plan}/variants"), &body).await.is(201);
        for (name, value) in
            more.as_object().unwrap().iter().filter(|(name, _)| !["grants", "entitlements"].contains(&name.as_str()))
        {
            assert_eq!(variant[name], *value, "{name}");
        }
        variant["id"].as_str().unwrap().to_owned()
    }

    /// One of its end users.
    pub(crate) const fn customer(&self, name: &'static str) -> Customer<'_> {
        Customer { shop: self, name }
    }

    pub(crate) async fn subscribe(&self, variant: &str) -> Value {
        self.customer("u").subscribe(variant).await
    }

    pub(crate) async fn ask(&self, subscription: &Value, what: &str, body: Value) -> Value {
        let path = format!("/v1/subscriptions/{}/{what}", subscription["id"].as_str().unwrap());
        self.client().post(&path, &body).await.is(200)
    }

    pub(crate) async fn refused(&self, subscription: &Value, what: &str, body: Value, code: &str) {
        let path = format!("/v1/subscriptions/{}/{what}", subscription["id"].as_str().unwrap());
        self.client().post(&path, &body).await.refused(409, code);
    }

    pub(crate) async fn status(&self, subscription: &Value) -> String {
        let path = format!("/v1/subscriptions/{}", subscription["id"].as_str().unwrap());
        self.client().get(&path).await.is(200)["status"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn clock(&self, now: &str) {
        self.client().post("/v1/sandbox/clock", &json!({ "now": now })).await.is(200);
    }

    pub(crate) async fn spend(&self, units: i64, key: &str) {
        self.customer("u").spend("f", units, key).await;
    }

    pub(crate) async fn balance(&self) -> i64 {
        self.customer("u").balance().await
    }

    pub(crate) async fn close(self) {
        self.server.verified_entries(&self.server.sandbox, "u").await;
    }
}

/// An end user of a shop.
pub(crate) struct Customer<'a> {
    shop: &'a Shop,
    pub(crate) name: &'static str,
}

impl Customer<'_> {
    pub(crate) async fn subscribe(&self, variant: &str) -> Value {
        let order = json!({"end_user_id": self.name, "plan_variant_id": variant});
        self.shop.client().post("/v1/subscriptions", &order).await.is(201)
    }

    pub(crate) async fn spend(&self, feature: &str, units: i64, key: &str) -> Value {
        let event = json!({"end_user_id": self.name, "feature_key": feature, "units": units, "idempotency_key": key});
        self.shop.client().post("/v1/usage", &event).await.is(200)
    }

    pub(crate) async fn spend_at(&self, units: i64, key: &str, at: &str) -> Value {
        let event = json!({"end_user_id": self.name, "feature_key": "f", "units": units, "idempotency_key": key, "effective_at": at});
        self.shop.client().post("/v1/usage", &event).await.is(200)
    }

    /// Buys credit that burns after what plans give.
    pub(crate) async fn buy(&self, amount: i64, payment: &str) {
        let pack = json!({"end_user_id": self.name, "payment_reference": payment, "amount": amount, "price_paid": 500,
            "currency": "USD", "priority": 200});
        self.shop.client().post("/v1/topups", &pack).await.is(201);
    }

    pub(crate) async fn balance(&self) -> i64 {
        let path = format!("/v1/end_users/{}/credits", self.name);
        self.shop.client().get(&path).await.is(200)["balance"].as_i64().unwrap()
    }

    /// What remains in the end user's live blocks of this kind.
    pub(crate) async fn remaining(&self, kind: &str) -> i64 {
        let path = format!("/v1/end_users/{}/credits?include=blocks", self.name);
        let credits = self.shop.client().get(&path).await.is(200);
        let blocks = credits["blocks"].as_array().unwrap().iter().filter(|block| block["kind"] == kind);
        blocks.map(|block| block["remaining"].as_i64().unwrap()).sum()
    }

    /// The end user's entries, after they were checked.
    pub(crate) async fn entries(&self) -> Vec<Entry> {
        self.shop.server.verified_entries(self.shop.client(), self.name).await
    }
}
