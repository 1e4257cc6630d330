//! The loop: app, sidecar, server, ledger, delta, sidecar; with real processes.

use serde_json::{Value, json};

use crate::support::{Client, Server, eventually};

fn usage(client: &Client, end_user_id: &str, units: i64) -> Value {
    client.post("/v1/usage", &json!({"end_user_id": end_user_id, "feature_key": "api_calls", "units": units})).ok()
}

fn balance(client: &Client, end_user_id: &str) -> Value {
    client.check(end_user_id, "api_calls")["balance"].clone()
}

#[test]
fn what_one_side_writes_the_other_reads() {
    for replicate in ["on_demand", "all"] {
        let server = Server::start();
        server.create_feature("api_calls", "allow_until_stale");
        server.grant("user_123", 100);
        let data_dir = tempfile::tempdir().unwrap();
        let sidecar = server.sidecar(data_dir.path()).arg("--replicate", replicate).start();
        let client = sidecar.client();

        let check = client.check("user_123", "api_calls");
        assert_eq!((&check["allowed"], &check["balance"]), (&json!(true), &json!(100)), "{replicate}");
        let receipt = usage(&client, "user_123", 30);
        assert_eq!(receipt["balance"], 70);
        assert_eq!(balance(&client, "user_123"), 70);
        eventually("the usage is in the ledger", || server.balance("user_123") == 70);
        assert_eq!(server.usage_ids("user_123"), [receipt["id"].as_str().unwrap()]);

        server.grant("user_123", 1_000);
        eventually("the grant is in the replica", || balance(&client, "user_123") == 1_070);
        let nobody = client.check("nobody", "api_calls");
        assert_eq!((&nobody["reason"], &nobody["version"]), (&json!("insufficient_credits"), &json!(0)));
        server.grant("nobody", 5);
        eventually("a new account is in the replica", || balance(&client, "nobody") == 5);
        server.create_feature("later", "allow");
        eventually("a new feature is in the replica", || client.check("nobody", "later")["allowed"] == true);
        assert!(client.check("nobody", "later")["staleness_ms"].as_u64().unwrap() < 60_000);
    }
}

#[test]
fn a_caller_reads_its_own_writes_through_the_sidecar() {
    let server = Server::start();
    server.create_feature("api_calls", "allow_until_stale");
    server.grant("user_123", 100);
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = server.sidecar(data_dir.path()).start();
    let client = sidecar.client().with("authorization", &format!("Bearer {}", server.key("live")));
    for round in 0..20 {
        let before = balance(&client, "user_123").as_i64().unwrap();
        usage(&client, "user_123", 3);
        let credits = client.get("/v1/end_users/user_123/credits").ok();
        assert_eq!(credits["balance"], before - 3, "usage in round {round}");
        client.post("/v1/credits/grants", &json!({"end_user_id": "user_123", "amount": 10})).ok();
        assert_eq!(balance(&client, "user_123"), before + 7, "grant in round {round}");
    }
    for round in 0..10 {
        let name = format!("feature_{round}");
        let feature = json!({
            "feature_key": name, "name": name, "kind": "metered",
            "price": {"type": "per_unit", "cost": 1}, "default": {"enabled": true},
        });
        client.post("/v1/features", &feature).ok();
        assert_eq!(client.check("user_123", &name)["allowed"], true, "feature of round {round}");
    }
    let keyless = sidecar.client().get("/v1/end_users/user_123/credits");
    assert_eq!(keyless.problem(), (401, "unauthenticated".to_owned()), "the sidecar's own key is not lent");
}

#[test]
fn why_and_what_in_all_are_the_servers_answers_through_the_sidecar() {
    let server = Server::start();
    server.create_feature("api_calls", "allow_until_stale");
    server.create_feature("more_calls", "allow_until_stale");
    server.grant("user_123", 100);
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = server.sidecar(data_dir.path()).start();
    let client = sidecar.client().with("authorization", &format!("Bearer {}", server.key("live")));
    let receipt = usage(&client, "user_123", 30);
    let check = "/v1/entitlements/check?end_user_id=user_123&feature_key=api_calls";
    let explained = client.get(&format!("{check}&explain=true")).ok();
    assert_eq!((&explained["source"], &explained["balance"]), (&json!("server"), &receipt["balance"]));
    assert_eq!(explained["explain"]["blocks"][0]["available"], 70);
    let plain = client.get(&format!("{check}&explain=false")).ok();
    assert_eq!((&plain["source"], plain.get("explain")), (&json!("replica"), None));
    let list = client.get("/v1/end_users/user_123/entitlements?explain=true").ok();
    let keys: Vec<_> = list["data"].as_array().unwrap().iter().map(|answer| &answer["feature_key"]).collect();
    assert_eq!(keys, ["api_calls", "more_calls"]);
    assert_eq!(list["data"][0]["explain"], explained["explain"]);
}

#[test]
fn a_sidecar_resumes_where_it_was() {
    let server = Server::start();
    server.create_feature("api_calls", "allow_until_stale");
    for replicate in ["on_demand", "all"] {
        let end_user_id = format!("user_of_{replicate}");
        server.grant(&end_user_id, 100);
        let data_dir = tempfile::tempdir().unwrap();
        let options = server.sidecar(data_dir.path()).arg("--replicate", replicate);
        let sidecar = options.start();
        assert_eq!(balance(&sidecar.client(), &end_user_id), 100);
        assert!(sidecar.terminate().0.success());
        server.grant(&end_user_id, 1);
        let sidecar = options.start();
        eventually("what was missed is in the replica", || balance(&sidecar.client(), &end_user_id) == 101);
    }
}

#[test]
fn while_the_server_is_away_checks_go_on_and_usage_waits() {
    let mut server = Server::start();
    server.create_feature("api_calls", "allow_until_stale");
    server.create_feature("online_only", "deny");
    server.grant("user_123", 1_000);
    let data_dir = tempfile::tempdir().unwrap();
    let options = server.sidecar(data_dir.path()).arg("--fetch-timeout-ms", "200");
    let sidecar = options.start();
    let client = sidecar.client();
    assert_eq!(client.check("user_123", "online_only")["allowed"], true);
    let known: Vec<Value> = (0..3).map(|_| usage(&client, "user_123", 1)["id"].clone()).collect();
    eventually("the usage is in the ledger", || server.balance("user_123") == 997);

    server.terminate();
    eventually("the link is seen to be down", || client.check("user_123", "online_only")["allowed"] == false);
    let staleness = || client.check("user_123", "api_calls")["staleness_ms"].as_u64().unwrap();
    let first = staleness();
    let queued: Vec<Value> = (0..5).map(|_| usage(&client, "user_123", 1)["id"].clone()).collect();
    assert_eq!(balance(&client, "user_123"), 992);
    eventually("staleness grows", || staleness() > first);
    assert_eq!(client.check("nobody", "api_calls")["reason"], "stale_replica");
    assert!(client.get("/metrics").text.contains("quotastack_sidecar_outbox_events 5"));
    assert_eq!(client.get("/readyz").status, 200);
    assert!(sidecar.terminate().0.success());
    let sidecar = options.start();
    let client = sidecar.client();
    assert_eq!(balance(&client, "user_123"), 992, "a restart without the server keeps replica and usage");

    server.start_again();
    eventually("the queued usage is in the ledger", || server.balance("user_123") == 992);
    let expected: Vec<&str> = known.iter().chain(&queued).map(|id| id.as_str().unwrap()).collect();
    assert_eq!(server.usage_ids("user_123"), expected);
    eventually("the replica is fresh again", || client.check("user_123", "online_only")["allowed"] == true);
    assert_eq!(balance(&client, "user_123"), 992);
}

#[test]
fn a_key_that_is_not_valid_makes_no_link() {
    let server = Server::start();
    server.create_feature("api_calls", "allow_until_stale");
    let data_dir = tempfile::tempdir().unwrap();
    let wrong = format!("qs_live_{}", "x".repeat(43));
    let sidecar = server.sidecar_with_key(data_dir.path(), &wrong).arg("--fetch-timeout-ms", "500").start();
    let check = sidecar.client().get("/v1/entitlements/check?end_user_id=u&feature_key=api_calls");
    assert_eq!(check.problem(), (503, "upstream_unavailable".to_owned()));
    let (_, log) = sidecar.terminate();
    assert!(log.contains("unauthenticated"), "{log}");
}

#[test]
fn a_data_directory_belongs_to_one_environment() {
    let server = Server::start();
    server.create_feature("api_calls", "allow");
    server.grant("user_123", 100);
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = server.sidecar(data_dir.path()).start();
    assert_eq!(balance(&sidecar.client(), "user_123"), 100);
    sidecar.kill();
    let mut sidecar = server.sidecar_with_key(data_dir.path(), server.key("sandbox")).start();
    let (status, log) = sidecar.wait();
    assert!(!status.success());
    assert!(log.contains("use a key of that environment or another data directory"), "{log}");
}

#[test]
fn what_the_ledger_refuses_is_kept_and_blocks_nothing() {
    let server = Server::start();
    server.create_feature("api_calls", "allow");
    server.grant("user_123", 100);
    let event = |units: i64| json!({"end_user_id": "user_123", "feature_key": "api_calls", "units": units, "idempotency_key": "k"});
    server.client().post("/v1/usage", &event(1)).ok();
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = server.sidecar(data_dir.path()).start();
    let client = sidecar.client();
    client.post("/v1/usage", &event(50)).ok();
    usage(&client, "user_123", 10);
    eventually("the refused event takes nothing", || balance(&client, "user_123") == 89);
    eventually("the event behind it is in the ledger", || server.balance("user_123") == 89);
    assert!(client.get("/metrics").text.contains("quotastack_sidecar_refused_events 1"));
    let (_, log) = sidecar.terminate();
    assert!(log.contains("refused acknowledged usage for good"), "{log}");
}

#[test]
fn a_replica_on_demand_follows_a_bounded_number_of_accounts() {
    let server = Server::start();
    server.create_feature("api_calls", "allow");
    let data_dir = tempfile::tempdir().unwrap();
    let options = server.sidecar(data_dir.path()).arg("--max-accounts", "16");
    let sidecar = options.start();
    let client = sidecar.client();
    for n in 0..40 {
        client.check(&format!("user_{n}"), "api_calls");
    }
    let accounts = || {
        let metrics = client.get("/metrics").text;
        let line = metrics.lines().find(|line| line.starts_with("quotastack_sidecar_accounts ")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
    };
    eventually("the least recently used are forgotten", || accounts() <= 16);
    server.grant("user_39", 7);
    eventually("the last ones are followed", || balance(&client, "user_39") == 7);
    server.grant("user_0", 7);
    assert_eq!(balance(&client, "user_0"), 7, "a forgotten one is fetched again");
}

#[test]
fn an_account_too_large_to_be_published_is_answered_by_the_server() {
    let server = Server::start();
    server.create_feature("api_calls", "allow");
    let grants = server.client();
    for priority in 0..70 {
        grants.post("/v1/credits/grants", &json!({"end_user_id": "hoarder", "amount": 2, "priority": priority})).ok();
    }
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = server.sidecar(data_dir.path()).start();
    let client = sidecar.client().with("authorization", &format!("Bearer {}", server.key("live")));
    let check = client.check("hoarder", "api_calls");
    let answer = |check: &Value| ["allowed", "reason", "source", "balance"].map(|field| check[field].clone());
    assert_eq!(check["source"], "server");
    assert_eq!(answer(&check), answer(&server.client().check("hoarder", "api_calls")));
    let receipt = usage(&client, "hoarder", 3);
    assert_eq!((&receipt["balance"], receipt["allocations"].as_array().unwrap().len()), (&json!(137), 2));
    let event = json!({"end_user_id": "hoarder", "feature_key": "api_calls", "units": 1});
    let results = client.post("/v1/usage/batch", &json!({"events": [event]})).ok();
    assert_eq!(results["results"][0]["status"], "recorded", "{results}");
    assert_eq!(server.balance("hoarder"), 136);
    let check = json!({"end_user_id": "hoarder", "feature_key": "api_calls"});
    let results = client.post("/v1/entitlements/check", &json!({"checks": [check]})).ok();
    assert_eq!(answer(&results["results"][0]), answer(&server.client().check("hoarder", "api_calls")));
}
