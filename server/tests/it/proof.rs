//! Proofs end to end: what the server gives is what both verifiers of it accept, and nothing else.

use quotastack::{Error, LedgerHead, LedgerProof, verify_proof};
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::TestServer;

const PROOF: &str = "/v1/end_users/u/ledger/proof";

fn sdk(server: &TestServer, client: &Client) -> quotastack::Client {
    quotastack::Client::builder().api_key(client.key().unwrap()).base_url(server.base()).build().unwrap()
}

async fn use_up(client: &Client, events: usize) {
    for part in vec![json!({"end_user_id": "u", "feature_key": "f", "units": 1}); events].chunks(1_000) {
        client.post("/v1/usage/batch", &json!({"events": part})).await.is(200);
    }
}

/// An end user with a little of everything.
async fn filled(client: &Client) {
    let feature = json!({"feature_key": "f", "name": "F", "kind": "metered", "overage_policy": "overdraft",
        "price": {"type": "per_unit", "cost": 1}});
    client.post("/v1/features", &feature).await.is(201);
    let ask = |units: i64| json!({"end_user_id": "u", "feature_key": "f", "units": units});
    client.post("/v1/usage", &ask(3)).await.is(200);
    client.post("/v1/credits/grants", &json!({"end_user_id": "u", "amount": 5_000})).await.is(201);
    let used = client.post("/v1/usage", &ask(5)).await.is(200);
    client.post(&format!("/v1/usage/{}/void", used["id"].as_str().unwrap()), &json!({"reason": "r"})).await.is(200);
    let held = client.post("/v1/reservations", &ask(4)).await.is(201);
    let hold = held["id"].as_str().unwrap();
    client.post(&format!("/v1/reservations/{hold}/commit"), &json!({"units": 1})).await.is(200);
    let adjustment = json!({"end_user_id": "u", "amount": -2, "reason": "because"});
    client.post("/v1/credits/adjustments", &adjustment).await.is(201);
    use_up(client, 3).await;
}

fn seqs(proof: &Value) -> Vec<i64> {
    proof["entries"].as_array().unwrap().iter().map(|entry| entry["seq"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_ledger_verifies_and_what_is_added_verifies_from_there_on() {
    let server = TestServer::start().await;
    filled(&server.live).await;
    let client = sdk(&server, &server.live);
    let first = client.verify_ledger("u", None).await.unwrap();
    let entries = server.verified_entries(&server.live, "u").await;
    let last = entries.last().unwrap();
    assert_eq!((first.before.seq, first.after.seq), (0, last.seq.cast_signed()));
    assert_eq!((&first.after.hash, first.after.balance), (&last.hash.to_string(), last.balance_after.get()));

    // More than one proof has.
    use_up(&server.live, 1_203).await;
    let second = client.verify_ledger("u", Some(&first.remember)).await.unwrap();
    assert_eq!((second.before, second.after.seq), (first.after, last.seq.cast_signed() + 1_203));
    let third = client.verify_ledger("u", Some(&second.remember)).await.unwrap();
    assert_eq!(third.remember, second.remember, "nothing was added");
    let kept: LedgerHead = serde_json::from_str(&serde_json::to_string(&first.remember).unwrap()).unwrap();
    assert_eq!(client.verify_ledger("u", Some(&kept)).await.unwrap().remember, second.remember);
    assert_eq!(client.verify_ledger("nobody", None).await.unwrap_err().code(), Some("not_found"));
}

#[tokio::test]
async fn proven_entries_are_the_listed_ones() {
    let server = TestServer::start().await;
    filled(&server.live).await;
    let proof: LedgerProof = serde_json::from_value(server.live.get(PROOF).await.is(200)).unwrap();
    let proven = serde_json::to_value(verify_proof(&proof, None).unwrap().entries).unwrap();
    let mut listed = server.live.get("/v1/end_users/u/ledger?limit=100").await.is(200)["data"].take();
    for entry in listed.as_array_mut().unwrap() {
        // Words of people are not in the chain.
        entry["reason"] = Value::Null;
    }
    assert!(listed.as_array().unwrap().len() >= 12);
    // The SDK leaves out nothing but what is null.
    let without_nulls = |value: &Value| serde_json::to_string(&dropped_nulls(value)).unwrap();
    assert_eq!(without_nulls(&proven), without_nulls(&listed));
}

fn dropped_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), dropped_nulls(value))).collect())
        }
        Value::Array(items) => items.iter().map(dropped_nulls).collect(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn a_history_that_was_changed_behind_the_ledgers_back_does_not_verify() {
    let server = TestServer::start().await;
    filled(&server.live).await;
    let client = sdk(&server, &server.live);
    let before = client.verify_ledger("u", None).await.unwrap();
    let mut owner = server.owner().await;
    let mut broken = async |statement: &'static str| {
        sqlx::raw_sql(statement).execute(&mut owner).await.unwrap();
        match client.verify_ledger("u", None).await.unwrap_err() {
            Error::BrokenLedger(broken) => broken.seq,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(broken("update entries set actor = null where seq = 5").await, 5);
    assert_eq!(broken("update entries set amount = amount + 1 where seq = 4").await, 4);
    assert_eq!(broken("delete from entries where seq = 3").await, 3);
    assert_eq!(broken("delete from entries where seq = 1").await, 1);

    // Cut off behind what is remembered: it verifies by itself, and not for who was here before.
    let cut =
        "delete from entries where seq > 0; update accounts set seq = 0, last_hash = decode(repeat('00', 32), 'hex'),
        balance = 0, reserved = 0, debt = 0";
    sqlx::raw_sql(cut).execute(&mut owner).await.unwrap();
    assert_eq!(client.verify_ledger("u", None).await.unwrap().after.seq, 0);
    match client.verify_ledger("u", Some(&before.remember)).await.unwrap_err() {
        Error::BrokenLedger(broken) => assert_eq!(broken.seq, before.remember.seq),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_proof_has_the_entries_that_were_asked_for() {
    let server = TestServer::start().await;
    filled(&server.live).await;
    let live = &server.live;
    let total = seqs(&live.get(PROOF).await.is(200)).len() as i64;
    use_up(live, 1_100).await;
    let head = total + 1_100;
    let asked = async |query: String| {
        let proof = live.get(&format!("{PROOF}?{query}")).await.is(200);
        let seqs = seqs(&proof);
        assert_eq!((&proof["head"]["seq"], &proof["account_id"]), (&json!(head), &proof["account_id"]));
        assert_eq!(proof["before"]["seq"], seqs.first().map_or(head, |first| first - 1), "{query}");
        assert_eq!(proof["after"]["seq"], seqs.last().copied().unwrap_or(head), "{query}");
        (seqs.first().copied(), seqs.last().copied())
    };
    assert_eq!(asked(String::new()).await, (Some(head - 99), Some(head)));
    assert_eq!(asked("from_seq=2".to_owned()).await, (Some(2), Some(1_001)));
    assert_eq!(asked("to_seq=150".to_owned()).await, (Some(51), Some(150)));
    assert_eq!(asked("to_seq=7".to_owned()).await, (Some(1), Some(7)));
    assert_eq!(asked("from_seq=4&to_seq=4".to_owned()).await, (Some(4), Some(4)));
    assert_eq!(asked(format!("from_seq={}", head + 1)).await, (None, None), "that nothing was added");

    for (query, status, code) in [
        ("from_seq=0".to_owned(), 422, "validation_failed"),
        ("from_seq=5&to_seq=4".to_owned(), 422, "validation_failed"),
        ("from_seq=1&to_seq=1001".to_owned(), 422, "validation_failed"),
        ("last=5".to_owned(), 422, "validation_failed"),
        (format!("to_seq={}", head + 1), 404, "not_found"),
        (format!("from_seq={}", head + 2), 404, "not_found"),
    ] {
        live.get(&format!("{PROOF}?{query}")).await.refused(status, code);
    }
    // Another environment has no such end user; the operation is named get_ledger_proof.
    server.sandbox.get(PROOF).await.refused(404, "not_found");
}
