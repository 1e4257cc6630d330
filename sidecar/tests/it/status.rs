//! `quotastack-sidecar status`, and how the server lists the fleet: list_sidecars.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{Options, Server, eventually};

fn status(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quotastack-sidecar"));
    command.env_clear().arg("status").args(arguments).output().unwrap()
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_running_sidecar_says_how_it_is() {
    let server = Server::start();
    server.create_feature("api_calls", "allow_until_stale");
    server.grant("user_123", 100);
    let data_dir = tempfile::tempdir().unwrap();
    let socket = data_dir.path().join("api.sock");
    let sidecar = server.sidecar(data_dir.path()).arg("--uds", socket.to_str().unwrap()).start();
    let client = sidecar.client();
    assert_eq!(client.check("user_123", "api_calls")["allowed"], true);
    // What the ledger refuses for good: the key is taken by another event, that this sidecar has not heard of.
    let event = |units: i64| json!({"end_user_id": "user_123", "feature_key": "api_calls", "units": units, "idempotency_key": "taken"});
    server.client().post("/v1/usage", &event(1)).ok();
    client.post("/v1/usage", &event(2)).ok();

    let address = sidecar.http().trim_start_matches("http://").to_owned();
    let mut known = json!(null);
    eventually("the refusal is known", || {
        known = json_of(&status(&["--listen", &address, "--json"]));
        known["outbox"]["refused_events"] == 1
    });
    assert_eq!((&known["link"], &known["mode"]), (&json!("up"), &json!("on_demand")));
    assert!(known["replica"]["catalogue_version"].as_u64().unwrap() > 0);
    assert_eq!((&known["replica"]["accounts"], &known["outbox"]["events"]), (&json!(1), &json!(0)));
    let refused = &known["refused"][0];
    assert_eq!((&refused["code"], &refused["idempotency_key"]), (&json!("idempotency_conflict"), &json!("taken")));
    assert_eq!((&refused["end_user_id"], &refused["feature_key"]), (&json!("user_123"), &json!("api_calls")));

    let table = status(&["--uds", socket.to_str().unwrap()]);
    let table = String::from_utf8(table.stdout).unwrap();
    for wanted in [known["id"].as_str().unwrap(), "link up", "0 events waiting", "refused    1 events", "\"taken\""] {
        assert!(table.contains(wanted), "{wanted}: {table}");
    }
    let fleet = server.client().get("/v1/sidecars").ok();
    assert_eq!((&fleet["data"][0]["id"], &fleet["data"][0]["link"]), (&known["id"], &json!("up")));
    assert_eq!(fleet["data"][0]["software"], known["software"]);
    sidecar.terminate();
    eventually("its end is known", || server.client().get("/v1/sidecars").ok()["data"][0]["link"] == "down");
}

#[test]
fn one_that_does_not_run_or_wants_a_token_cannot_be_asked() {
    let nobody = status(&["--listen", "127.0.0.1:9"]);
    assert!(!nobody.status.success());
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("is it running?"));
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = Options::unreachable(data_dir.path()).arg("--token", "secret").start();
    let address = sidecar.http().trim_start_matches("http://").to_owned();
    let without = status(&["--listen", &address]);
    assert!(!without.status.success());
    assert!(String::from_utf8_lossy(&without.stderr).contains("401"), "{}", String::from_utf8_lossy(&without.stderr));
    let known = json_of(&status(&["--listen", &address, "--token", "secret", "--json"]));
    assert_ne!(known["link"], "up");
}
