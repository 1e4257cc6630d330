//! The local API, answered from a replica on disk while no server can be reached.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use crate::support::{Options, Process, Seed};

fn sidecar(data_dir: &tempfile::TempDir) -> Process {
    Seed::new().with_credit("user_123", 100).write(data_dir.path());
    Options::unreachable(data_dir.path()).start()
}

#[test]
fn a_check_has_the_contracts_fields_in_order() {
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = sidecar(&data_dir);
    let answer = sidecar.client().get("/v1/entitlements/check?end_user_id=user_123&feature_key=api_calls&units=30");
    let check = answer.ok();
    assert_eq!(answer.headers["content-type"], "application/json");
    let places = [
        "allowed",
        "reason",
        "feature_key",
        "units",
        "balance",
        "reserved",
        "available",
        "estimated_cost",
        "balance_after",
        "units_affordable",
        "value",
        "overage_policy",
        "subscription_status",
        "source",
        "version",
        "as_of",
        "staleness_ms",
    ]
    .map(|field| answer.text.find(&format!("\"{field}\":")).expect(field));
    assert!(places.is_sorted(), "{}", answer.text);
    let expected = json!({
        "allowed": true, "reason": "ok", "feature_key": "api_calls", "units": 30, "balance": 100, "reserved": 0,
        "available": 100, "estimated_cost": 30, "balance_after": 70, "units_affordable": 100, "value": null,
        "overage_policy": "block", "subscription_status": null, "source": "replica", "version": 1,
        "as_of": check["as_of"], "staleness_ms": check["staleness_ms"],
    });
    assert_eq!(check, expected);
    assert_eq!(sidecar.client().check("user_123", "limits")["value"], json!({"max": [1, 2]}));
    assert_eq!(sidecar.client().check("user_123", "nothing")["reason"], "feature_unknown");
}

#[test]
fn checks_are_answered_in_the_order_asked() {
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = sidecar(&data_dir);
    let checks = json!({"checks": [
        {"end_user_id": "user_123", "feature_key": "capped", "units": 2},
        {"end_user_id": "user_123", "feature_key": "limits"},
    ]});
    let results = sidecar.client().post("/v1/entitlements/check", &checks).ok();
    let keys: Vec<_> = results["results"].as_array().unwrap().iter().map(|check| &check["feature_key"]).collect();
    assert_eq!(keys, ["capped", "limits"]);
    assert_eq!(results["results"][0]["estimated_cost"], 6);
}

#[test]
fn usage_is_decided_by_the_ledgers_rules_and_shows_in_the_next_check() {
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = sidecar(&data_dir);
    let client = sidecar.client();
    let usage = |feature_key: &str, units: i64| {
        client.post("/v1/usage", &json!({"end_user_id": "user_123", "feature_key": feature_key, "units": units}))
    };
    let receipt = usage("api_calls", 40).ok();
    assert!(receipt["id"].as_str().unwrap().starts_with("use_"));
    let expected = json!({
        "id": receipt["id"], "cost": 40, "balance": 60, "available": 60, "debt": 0,
        "allocations": null, "price": null, "owed": null, "priced_by": null, "replayed": false, "dry_run": false,
    });
    assert_eq!(receipt, expected);
    assert_eq!(client.check("user_123", "api_calls")["balance"], 60);
    assert_eq!(usage("api_calls", 61).problem(), (402, "insufficient_credits".to_owned()));
    let capped = usage("capped", 100).ok();
    assert_eq!((&capped["cost"], &capped["balance"]), (&json!(60), &json!(0)));
    let owed = usage("on_credit", 5).ok();
    assert_eq!((&owed["balance"], &owed["debt"]), (&json!(-5), &json!(5)));
    assert_eq!(usage("nothing", 1).problem(), (409, "feature_unknown".to_owned()));
}

#[test]
fn a_repeat_gets_the_first_answer_and_another_payload_a_conflict() {
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = sidecar(&data_dir);
    let client = sidecar.client();
    let event = |units: i64| json!({"end_user_id": "user_123", "feature_key": "api_calls", "units": units, "idempotency_key": "k"});
    let first = client.post("/v1/usage", &event(10));
    assert!(!first.headers.contains_key("idempotent-replayed"));
    client.post("/v1/usage", &json!({"end_user_id": "user_123", "feature_key": "api_calls", "units": 5})).ok();
    let again = client.post("/v1/usage", &event(10));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let mut expected = first.ok();
    expected["replayed"] = json!(true);
    assert_eq!(again.ok(), expected);
    assert_eq!(client.post("/v1/usage", &event(11)).problem(), (409, "idempotency_conflict".to_owned()));
    assert_eq!(client.check("user_123", "api_calls")["balance"], 85);

    let header = sidecar.client().with("Idempotency-Key", "k");
    assert_eq!(header.post("/v1/usage", &event(10)).ok()["replayed"], true);
    let mut keyless = event(10);
    keyless["idempotency_key"] = json!(null);
    assert_eq!(header.post("/v1/usage", &keyless).ok()["replayed"], true);
    let other = sidecar.client().with("Idempotency-Key", "other");
    assert_eq!(other.post("/v1/usage", &event(10)).problem(), (422, "idempotency_key_reused".to_owned()));
    let twice = sidecar.client().with("Idempotency-Key", "k").with("Idempotency-Key", "other");
    assert_eq!(twice.post("/v1/usage", &keyless).problem(), (422, "validation_failed".to_owned()));
}

#[test]
fn each_event_of_a_batch_is_decided_on_its_own() {
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = sidecar(&data_dir);
    let event = |units: i64| json!({"end_user_id": "user_123", "feature_key": "api_calls", "units": units});
    let events = json!({"events": [event(60), event(60), event(40)]});
    let client = sidecar.client().with("Idempotency-Key", "batch");
    let first = client.post("/v1/usage/batch", &events).ok();
    let statuses = |results: &serde_json::Value| -> Vec<String> {
        results["results"].as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(statuses(&first), ["recorded", "refused", "recorded"]);
    assert_eq!(first["results"][1]["code"], "insufficient_credits");
    assert_eq!(first["results"][1]["id"], json!(null));
    let again = client.post("/v1/usage/batch", &events).ok();
    assert_eq!(statuses(&again), ["replayed", "refused", "replayed"]);
    assert_eq!(again["results"][0]["id"], first["results"][0]["id"]);
}

#[test]
fn wrong_requests_name_the_place() {
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = sidecar(&data_dir);
    let client = sidecar.client();
    let usage = |field: &str, value: serde_json::Value| {
        let mut event = json!({"end_user_id": "user_123", "feature_key": "api_calls", "units": 1});
        event[field] = value;
        client.post("/v1/usage", &event)
    };
    let long_pairs: serde_json::Map<_, _> = (0..51).map(|n| (n.to_string(), json!("v"))).collect();
    for (field, value, code, pointer) in [
        ("units", json!(-1), "validation_failed", "/units"),
        ("units", json!(9_007_199_254_740_992_i64), "amount_out_of_range", "/units"),
        ("units", json!(i64::MAX), "amount_out_of_range", "/units"),
        ("units", json!(u64::MAX), "validation_failed", "/units"),
        ("units", json!(1.5), "validation_failed", "/units"),
        ("unit", json!(1), "validation_failed", "/unit"),
        ("feature_key", json!("API"), "validation_failed", "/feature_key"),
        ("end_user_id", json!("a\nb"), "validation_failed", "/end_user_id"),
        ("idempotency_key", json!("ü"), "validation_failed", "/idempotency_key"),
        ("effective_at", json!("2020-01-01T00:00:00Z"), "validation_failed", "/effective_at"),
        ("on_insufficient", json!("overdraft"), "validation_failed", "/on_insufficient"),
        ("properties", json!(long_pairs), "validation_failed", "/properties"),
    ] {
        let answer = usage(field, value);
        assert_eq!(answer.problem(), (422, code.to_owned()), "{field}: {answer:?}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{field}: {answer:?}");
    }
    for (query, pointer) in [
        ("feature_key=api_calls", "query:end_user_id"),
        ("end_user_id=u", "query:feature_key"),
        ("end_user_id=u&feature_key=api_calls&units=-1", "query:units"),
        ("end_user_id=u&feature_key=api_calls&units=x", "query:units"),
        ("end_user_id=u&feature_key=api_calls&unit=1", "query:unit"),
        ("end_user_id=u&end_user_id=v&feature_key=api_calls", "query:end_user_id"),
        ("end_user_id=%00&feature_key=api_calls", "query:end_user_id"),
    ] {
        let answer = client.get(&format!("/v1/entitlements/check?{query}"));
        assert_eq!(answer.problem(), (422, "validation_failed".to_owned()), "{query}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{query}");
    }
    let events = json!({"events": [{"end_user_id": "u", "feature_key": "api_calls", "units": 1}, {"end_user_id": "", "feature_key": "api_calls", "units": 1}]});
    let answer = client.post("/v1/usage/batch", &events);
    assert_eq!(answer.json()["errors"][0]["pointer"], "/events/1/end_user_id");
    for empty in [json!({"events": []}), json!({"events": vec![json!({}); 1_001]})] {
        assert_eq!(client.post("/v1/usage/batch", &empty).status, 422);
    }
    assert_eq!(client.post_text("/v1/usage", "x".repeat(2 << 20)).problem(), (413, "payload_too_large".to_owned()));
    assert_eq!(client.post_text("/v1/usage", "{".to_owned()).problem(), (422, "validation_failed".to_owned()));
    assert_eq!(client.check("user_123", "api_calls")["balance"], 100, "nothing was recorded");
}

#[test]
fn ids_are_decoded_from_the_query() {
    let data_dir = tempfile::tempdir().unwrap();
    Seed::new().with_credit("Zoë a+b", 7).write(data_dir.path());
    let sidecar = Options::unreachable(data_dir.path()).start();
    assert_eq!(sidecar.client().check("Zo%C3%AB%20a%2Bb", "api_calls")["balance"], 7);
    assert_eq!(sidecar.client().check("Zo%C3%AB+a%2Bb", "api_calls")["balance"], 7);
}

#[test]
fn operators_see_health_readiness_and_metrics() {
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = sidecar(&data_dir);
    let client = sidecar.client();
    client.check("user_123", "api_calls");
    client.post("/v1/usage", &json!({"end_user_id": "user_123", "feature_key": "api_calls", "units": 1})).ok();
    assert_eq!(client.get("/healthz").text, "ok");
    assert_eq!(client.get("/readyz").status, 200);
    let metrics = client.get("/metrics").text;
    for line in [
        "quotastack_sidecar_outbox_events 1",
        "quotastack_sidecar_link_up 0",
        "quotastack_sidecar_accounts 1",
        "quotastack_sidecar_check_seconds_count 1",
        "quotastack_sidecar_commit_seconds_count",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    assert_eq!(client.get("/nothing").problem(), (404, "not_found".to_owned()));
}

#[test]
fn what_the_sidecar_does_not_answer_needs_the_server() {
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = sidecar(&data_dir);
    let answer = sidecar.client().get("/v1/plans");
    assert_eq!(answer.problem(), (503, "upstream_unavailable".to_owned()));
    assert_eq!(answer.headers["retry-after"], "1");
    for path in [
        "/v1/end_users/user_123/entitlements",
        "/v1/entitlements/check?end_user_id=user_123&feature_key=api_calls&explain=true",
    ] {
        assert_eq!(sidecar.client().get(path).problem(), (503, "upstream_unavailable".to_owned()), "{path}");
    }
}

#[test]
fn a_call_whose_answer_was_lost_may_have_been_carried_out() {
    let data_dir = tempfile::tempdir().unwrap();
    Seed::new().write(data_dir.path());
    // A server that takes the call and dies.
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    let dies = std::thread::spawn(move || {
        let (mut call, _) = upstream.accept().unwrap();
        call.read_exact(&mut [0; 16]).unwrap();
    });
    let options = Options::unreachable(data_dir.path()).arg("--upstream-http", &format!("http://{address}"));
    let grant = json!({ "end_user_id": "u", "amount": 1 });
    let answer = options.start().client().post("/v1/credits/grants", &grant);
    assert_eq!(answer.problem(), (503, "outcome_unknown".to_owned()));
    dies.join().unwrap();
}

#[test]
fn a_path_that_would_become_another_is_not_passed_on() {
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = sidecar(&data_dir);
    let mut stream = TcpStream::connect(sidecar.http().trim_start_matches("http://")).unwrap();
    let request = "GET /v1/end_users/%2e%2e/credits HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("not_found"), "{answer}");
}

#[test]
fn a_stop_does_not_wait_for_requests_that_never_come_whole() {
    let data_dir = tempfile::tempdir().unwrap();
    Seed::new().with_credit("user_123", 100).write(data_dir.path());
    // Longer than any test waits.
    let sidecar = Options::unreachable(data_dir.path()).arg("--drain-timeout", "3600").start();
    let address = sidecar.http().trim_start_matches("http://").to_owned();
    let mut head = TcpStream::connect(&address).unwrap();
    head.write_all(b"POST /v1/usage HTTP/1.1\r\nhost: local").unwrap();
    let mut body = TcpStream::connect(&address).unwrap();
    let request = "POST /v1/usage HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n";
    body.write_all(request.as_bytes()).unwrap();
    // The body is being read when this comes.
    let mut interim = [0; 25];
    body.read_exact(&mut interim).unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100 "), "{interim:?}");
    body.write_all(b"{").unwrap();
    let (status, _) = sidecar.terminate();
    assert!(status.success());
    let mut answer = String::new();
    body.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("is stopping"), "{answer}");
}

#[test]
fn the_events_of_a_batch_share_one_commit() {
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = sidecar(&data_dir);
    let client = sidecar.client();
    let commits = || {
        let metrics = client.get("/metrics").text;
        let line = metrics.lines().find(|line| line.starts_with("quotastack_sidecar_commit_seconds_count"));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap())
    };
    let before = commits();
    let event = json!({"end_user_id": "user_123", "feature_key": "api_calls", "units": 1});
    client.post("/v1/usage/batch", &json!({"events": vec![event; 100]})).ok();
    assert_eq!(client.check("user_123", "api_calls")["balance"], 0);
    assert_eq!(commits(), before + 1);
}
