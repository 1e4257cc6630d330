//! The shared cases of docs/cases over HTTP, in the sandbox, whose clock each case sets: once as written, once with
//! every write sent twice.

use std::collections::BTreeMap;

use quotastack_core::time::{MICROS_PER_SECOND, Timestamp};
use quotastack_server::app::auth::Scope;
use quotastack_server::store::keys::Environment;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::case_file::{self, Case, Expect, Step};
use crate::support::client::{Answer, Client};
use crate::support::server::TestServer;

/// When each case starts: a future in which nothing has happened yet.
const START: &str = "2100-01-01T00:00:00Z";
const WHO: &str = "user_1";

#[tokio::test]
async fn every_case_holds_as_written() {
    run_all(1).await;
}

#[tokio::test]
async fn every_case_holds_with_every_write_sent_twice() {
    run_all(2).await;
}

async fn run_all(sendings: u32) {
    let server = TestServer::start().await;
    for case in &case_file::ledger() {
        // A tenant of its own: features and the clock belong to the environment.
        let tenant = server.operator.create_tenant(&case.id).await.unwrap().tenant_id;
        let key = server.operator.create_key(tenant, Environment::Sandbox, "case", &[Scope::Full], None).await.unwrap();
        let client = server.client_of(Some(key.secret.expose_secret()));
        let mut run = Run { client, blocks: BTreeMap::new(), usage: BTreeMap::new(), holds: BTreeMap::new() };
        run.create_features(case).await;
        for (index, step) in case.steps.iter().enumerate() {
            let place = format!("{} step {} ({})", case.id, index + 1, case.about);
            run.step(index, step, sendings, &place).await;
        }
        server.verified_entries(&run.client, WHO).await;
    }
}

struct Run {
    client: Client,
    /// The blocks by the names that the case gives them.
    blocks: BTreeMap<String, String>,
    /// The usage events by their keys, and the reservations by their names.
    usage: BTreeMap<String, String>,
    holds: BTreeMap<String, String>,
}

/// A body without what the case does not say.
fn without_nulls(mut body: Value) -> Value {
    body.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    body
}

impl Run {
    async fn create_features(&self, case: &Case) {
        let implied = BTreeMap::from([("f".to_owned(), case_file::FeatureSpec::default())]);
        let features = if case.features.is_empty() { &implied } else { &case.features };
        for (key, spec) in features {
            let body = without_nulls(json!({
                "feature_key": key,
                "name": key,
                "kind": "metered",
                "price": { "type": "per_unit", "cost": spec.cost.unwrap_or(1), "per_units": spec.per_units.unwrap_or(1) },
                "overage_policy": spec.overage_policy,
                "overdraft_limit": spec.overdraft_limit,
            }));
            self.client.post("/v1/features", &body).await.is(201);
        }
    }

    async fn step(&mut self, index: usize, step: &Step, sendings: u32, place: &str) {
        self.client.post("/v1/sandbox/clock", &json!({ "now": at(step.at) })).await.is(200);
        if let Some(answer) = self.send(index, step).await {
            for _ in 1..sendings {
                self.send_again(index, step, &answer, place).await;
            }
            self.check_outcome(step, &answer, place);
        } else {
            assert!(step.expect.ok.is_none() && step.expect.error.is_none(), "{place}: nothing was sent");
        }
        self.check_account(&step.expect, place).await;
    }

    async fn send(&self, index: usize, step: &Step) -> Option<Answer> {
        if let Some(given) = &step.grant {
            let body = without_nulls(json!({
                "end_user_id": WHO,
                "amount": given.amount,
                "priority": given.priority,
                "effective_at": given.effective.map(at),
                "expires_at": given.expires.map(at),
                "price_paid": given.paid.then_some(500),
                "currency": given.paid.then_some("USD"),
                "feature_keys": given.features,
            }));
            return Some(self.client.post_keyed("/v1/credits/grants", &format!("step-{index}"), &body).await);
        }
        if let Some(used) = &step.usage {
            let body = without_nulls(json!({
                "end_user_id": WHO,
                "feature_key": used.feature.as_deref().unwrap_or("f"),
                "units": used.units,
                "idempotency_key": used.key,
                "on_insufficient": used.on_insufficient,
                "effective_at": used.effective.map(at),
            }));
            return Some(self.client.post("/v1/usage", &body).await);
        }
        let (path, body) = self.named_write(step)?;
        Some(self.client.post_keyed(&path, &format!("step-{index}"), &body).await)
    }

    /// A write about a reservation or a usage event: where it goes, and its body.
    fn named_write(&self, step: &Step) -> Option<(String, Value)> {
        if let Some(undone) = &step.void {
            return Some((format!("/v1/usage/{}/void", self.usage[&undone.key]), json!({})));
        }
        if let Some(asked) = &step.reserve {
            let ttl = asked.ttl.seconds;
            let body = json!({ "end_user_id": WHO, "feature_key": "f", "units": asked.units, "ttl_seconds": ttl });
            return Some(("/v1/reservations".to_owned(), body));
        }
        if let Some(done) = &step.commit {
            let over_commit = done.over_commit.unwrap_or_default();
            let is_final = done.is_final.unwrap_or(true);
            let body = json!({ "units": done.units, "final": is_final, "over_commit": over_commit });
            return Some((format!("/v1/reservations/{}/commit", self.holds[&done.hold]), body));
        }
        if let Some(released) = &step.release {
            return Some((format!("/v1/reservations/{}/release", self.holds[&released.hold]), json!({})));
        }
        let extended = step.extend.as_ref()?;
        let body = json!({ "ttl_seconds": extended.ttl.seconds });
        Some((format!("/v1/reservations/{}/extend", self.holds[&extended.hold]), body))
    }

    /// The same write again: the same answer, and nothing moves.
    async fn send_again(&self, index: usize, step: &Step, first: &Answer, place: &str) {
        let before = self.account().await;
        let again = self.send(index, step).await.unwrap();
        assert_eq!(before, self.account().await, "{place}");
        assert_eq!(first.status, again.status, "{place}");
        if first.status < 300 {
            assert!(again.is_replayed(), "{place}");
            let (mut first, mut again) = (first.json.clone(), again.json);
            for receipt in [&mut first, &mut again] {
                receipt.as_object_mut().unwrap().remove("replayed");
                if let Some(usage) = receipt.get_mut("usage") {
                    usage.as_object_mut().unwrap().remove("replayed");
                }
            }
            assert_eq!(first, again, "{place}");
        } else {
            assert_eq!(first.json["code"], again.json["code"], "{place}");
        }
    }

    fn check_outcome(&mut self, step: &Step, answer: &Answer, place: &str) {
        let done = answer.status < 300;
        // A step that says nothing of its outcome is one that works.
        assert_eq!(done, step.expect.ok.unwrap_or(true), "{place}: {}", answer.text);
        let replayed = (answer.is_replayed() || answer.json["replayed"] == true).then_some("replayed");
        let error = answer.json["code"].as_str().or(replayed);
        if step.expect.error.is_some() || done {
            assert_eq!(error, step.expect.error.as_deref(), "{place}");
        }
        if let (Some(given), true) = (&step.grant, done) {
            let id = answer.json["block"]["id"].as_str().unwrap().to_owned();
            assert!(self.blocks.insert(given.name.clone(), id).is_none());
        }
        if let (Some(used), true) = (&step.usage, done) {
            self.usage.insert(used.key.clone(), answer.json["id"].as_str().unwrap().to_owned());
        }
        if let (Some(asked), true) = (&step.reserve, done) {
            self.holds.insert(asked.name.clone(), answer.json["id"].as_str().unwrap().to_owned());
        }
    }

    async fn account(&self) -> Value {
        self.client.get(&format!("/v1/end_users/{WHO}/credits?include=blocks")).await.is(200)
    }

    async fn check_account(&self, expect: &Expect, place: &str) {
        let account = self.account().await;
        let amounts = [
            ("balance", expect.balance),
            ("reserved", expect.reserved),
            ("available", expect.available),
            ("debt", expect.debt),
        ];
        for (name, expected) in amounts {
            let found = account[name].as_i64();
            assert!(expected.is_none_or(|amount| found == Some(amount)), "{place}: {name} {expected:?}, not {found:?}");
        }
        for (name, expected) in &expect.blocks {
            let listed = account["blocks"].as_array().unwrap();
            let block = listed.iter().find(|block| block["id"] == *self.blocks[name]);
            let free = block.map_or(0, |block| block["remaining"].as_i64().unwrap() - block["held"].as_i64().unwrap());
            assert_eq!(free, *expected, "{place}: block {name}");
        }
    }
}

fn at(offset: case_file::Offset) -> String {
    let start: Timestamp = START.parse().unwrap();
    start.saturating_add_micros(offset.seconds * MICROS_PER_SECOND).to_string()
}
