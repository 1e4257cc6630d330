//! Every operation of openapi.yaml: routed, closed without its scope, and answered as documented.
//!
//! What an answer holds is checked by the client, for every request of every test.

use std::collections::{BTreeMap, BTreeSet};

use quotastack_server::app::auth::Scope;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::contract::{Contract, Operation};
use crate::support::server::TestServer;

async fn call(client: &Client, operation: &Operation, known: &BTreeMap<&str, String>) -> Answer {
    call_with(client, operation, known, &[("content-type", "application/json")]).await
}

async fn call_with(
    client: &Client,
    operation: &Operation,
    known: &BTreeMap<&str, String>,
    headers: &[(&str, &str)],
) -> Answer {
    let path = operation.example_path(|name| known.get(name).cloned());
    let mut body = operation.body.clone();
    for (name, value) in body.iter_mut().filter_map(Value::as_object_mut).flatten() {
        if let Some(known) = known.get(name.as_str()) {
            *value = Value::from(known.clone());
        }
    }
    let method = Method::from_bytes(operation.method.as_bytes()).unwrap();
    let body = body.map(|body| body.to_string().into_bytes());
    client.send(method, &path, headers, body).await
}

#[tokio::test]
async fn every_operation_is_routed_and_asks_for_a_key_first() {
    let server = TestServer::start().await;
    let nobody = server.client_of(None);
    for operation in &Contract::get().operations {
        let answer = call(&nobody, operation, &BTreeMap::new()).await;
        if operation.is_secured() {
            answer.refused(401, "unauthenticated");
        } else {
            assert_eq!(answer.status, 200, "{}", operation.id);
        }
    }
}

#[tokio::test]
async fn every_operation_is_refused_without_its_scope_which_is_named() {
    let server = TestServer::start().await;
    let before = server.row_counts().await;
    let secured: Vec<&Operation> = Contract::get().operations.iter().filter(|one| one.is_secured()).collect();
    for operation in &secured {
        let others: Vec<Scope> = Scope::ALL.iter().copied().filter(|scope| !scope.covers(wanted(operation))).collect();
        let client = server.client_with(&others).await;
        let problem = call(&client, operation, &BTreeMap::new()).await.refused(403, "forbidden");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(wanted(operation).as_str()), "{}: {detail}", operation.id);
    }
    let after = server.row_counts().await;
    assert!(before.iter().all(|(table, rows)| table == "api_keys" || after[table] == *rows), "{before:?} {after:?}");
    for operation in &secured {
        let client = server.client_with(&[wanted(operation)]).await;
        let answer = call(&client, operation, &BTreeMap::new()).await;
        assert!(![401, 403].contains(&answer.status), "{}: {}", operation.id, answer.text);
    }
}

fn wanted(operation: &Operation) -> Scope {
    let [scope] = operation.scopes.as_slice() else { panic!("{} needs one scope", operation.id) };
    Scope::parse(scope).unwrap()
}

#[tokio::test]
async fn every_operation_succeeds_with_its_own_example() {
    let server = TestServer::start().await;
    call_every_operation(&server.sandbox).await;
}

#[tokio::test]
async fn a_change_repeated_with_its_key_is_answered_as_the_first_time_and_is_one_change() {
    let server = TestServer::start().await;
    let (client, contract) = (&server.sandbox, Contract::get());
    let mut known = known_examples(client).await;
    // The examples of two are carried out already: they are in idempotency.rs. A batch of checks takes no key.
    let is_done = |id: &str| ["create_feature", "create_subscription", "check_entitlements"].contains(&id);
    for operation in contract.operations.iter().filter(|it| it.method != "GET" && !is_done(&it.id)) {
        // What it names is made without a key.
        prepare(client, &operation.id, &mut known).await;
        let own_key = operation.body.as_ref().and_then(|body| body["idempotency_key"].as_str());
        let headers =
            [("content-type", "application/json"), ("idempotency-key", own_key.unwrap_or(operation.id.as_str()))];
        let first = call_with(client, operation, &known, &headers).await;
        assert!(first.status < 300, "{}: {}", operation.id, first.text);
        let after_first = server.row_counts().await;
        for _ in 0..2 {
            let again = call_with(client, operation, &known, &headers).await;
            assert_eq!(again.status, first.status, "{}: {}", operation.id, again.text);
            assert_eq!(without_replayed(&again.json), without_replayed(&first.json), "{}", operation.id);
            let is_told = again.is_replayed() || again.json["replayed"] == true;
            // A batch says it of each event.
            assert!(is_told || operation.id == "record_usage_batch", "{}: {again:?}", operation.id);
        }
        assert_eq!(server.row_counts().await, after_first, "{}", operation.id);
    }
}

fn without_replayed(answer: &Value) -> Value {
    let mut answer = answer.clone();
    for result in answer["results"].as_array_mut().into_iter().flatten() {
        if result["status"] == "replayed" {
            result["status"] = json!("recorded");
        }
    }
    answer.as_object_mut().map(|receipt| receipt.remove("replayed"));
    answer.get_mut("usage").and_then(Value::as_object_mut).map(|usage| usage.remove("replayed"));
    answer
}

/// What examples of later operations name.
async fn known_examples(client: &Client) -> BTreeMap<&'static str, String> {
    let contract = Contract::get();
    let mut known = BTreeMap::new();
    for (id, name) in EXAMPLES_FIRST {
        let answer = call(client, contract.operation(id), &known).await.is(201);
        if let Some(name) = name {
            known.insert(name, answer["id"].as_str().unwrap().to_owned());
        }
    }
    known.insert("variant_id", known["plan_variant_id"].clone());
    known
}

const EXAMPLES_FIRST: [(&str, Option<&str>); 4] = [
    ("create_feature", None),
    ("create_plan", Some("plan_id")),
    ("create_variant", Some("plan_variant_id")),
    ("create_subscription", Some("subscription_id")),
];

/// Calls every operation of the contract with its example, in an environment that nothing was asked of yet.
pub(crate) async fn call_every_operation(client: &Client) {
    let contract = Contract::get();
    let mut known = known_examples(client).await;
    let mut called: BTreeSet<&str> = EXAMPLES_FIRST.iter().map(|(id, _)| *id).collect();
    for operation in &contract.operations {
        if called.insert(&operation.id) {
            prepare(client, &operation.id, &mut known).await;
            let answer = call(client, operation, &known).await;
            assert!(answer.status < 300, "{}: {}", operation.id, answer.text);
        }
    }
    assert_eq!(called.len(), contract.operations.len());
}

/// Makes what an operation's path names, afresh where the operation ends it.
async fn prepare(client: &Client, operation: &str, known: &mut BTreeMap<&'static str, String>) {
    let contract = Contract::get();
    let needed: &[(&str, &str, &str)] = match operation {
        "get_usage" | "void_usage" => &[("record_usage", "usage_id", "/id")],
        "get_reservation" | "commit_reservation" | "release_reservation" | "extend_reservation" => {
            &[("create_reservation", "reservation_id", "/id")]
        }
        "void_block" => &[("create_grant", "block_id", "/block/id")],
        "get_topup" | "refund_topup" => &[("create_topup", "topup_id", "/topup/id")],
        "get_topup_package" | "replace_topup_package" | "archive_topup_package" => {
            &[("create_topup_package", "package_id", "/id")]
        }
        "replace_variant" | "archive_variant" | "migrate_variant" => &[("create_variant", "variant_id", "/id")],
        "get_override" | "remove_override" => &[("set_override", "", "/feature_key")],
        _ => &[],
    };
    prepare_subscription(client, operation, known).await;
    for (make, name, pointer) in needed {
        let answer = call(client, contract.operation(make), known).await;
        assert!(answer.status < 300, "{make}: {}", answer.text);
        let made = answer.json.pointer(pointer).and_then(Value::as_str).unwrap();
        if !name.is_empty() {
            known.insert(name, made.to_owned());
        }
    }
}

/// A subscription of its own for each operation on one, in the state that the operation is for.
async fn prepare_subscription(client: &Client, operation: &str, known: &mut BTreeMap<&'static str, String>) {
    let before: &[(&str, Value)] = match operation {
        "mark_subscription_paid" => &[("mark_overdue", json!({}))],
        "resume_subscription" => &[("pause", json!({}))],
        "uncancel_subscription" => &[("cancel", json!({"at": "period_end"}))],
        "renew_subscription"
        | "mark_subscription_overdue"
        | "convert_subscription"
        | "change_subscription"
        | "pause_subscription"
        | "cancel_subscription" => &[],
        _ => return,
    };
    let trial_days = if operation == "convert_subscription" { 7 } else { 0 };
    let variant = json!({"name": "daily", "billing_period": {"count": 1, "unit": "day"}, "trial_days": trial_days});
    let variant = client.post(&format!("/v1/plans/{}/variants", known["plan_id"]), &variant).await.is(201);
    let order = json!({"end_user_id": format!("for {operation}"), "plan_variant_id": variant["id"]});
    let made = client.post("/v1/subscriptions", &order).await.is(201);
    let id = made["id"].as_str().unwrap().to_owned();
    for (what, body) in before {
        client.post(&format!("/v1/subscriptions/{id}/{what}"), body).await.is(200);
    }
    known.insert("subscription_id", id);
}

#[tokio::test]
async fn the_contract_is_served_as_it_is() {
    let server = TestServer::start().await;
    let answer = server.client_of(None).get("/openapi.yaml").await;
    assert_eq!(answer.text, include_str!("../../../openapi.yaml"));
}
