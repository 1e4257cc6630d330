//! What is answered while the server cannot be reached, by each feature's `offline` policy.

use quotastack_sidecar::replica::{ClockMark, ReplicaStore, ReplicaWrite};
use serde_json::{Value, json};

use crate::support::{Options, Process, Seed};

fn heard_before(seconds: i64, replicate: &str) -> (tempfile::TempDir, Process) {
    let data_dir = tempfile::tempdir().unwrap();
    Seed::new().with_credit("user_123", 100).heard_before(seconds).write(data_dir.path());
    let process = Options::unreachable(data_dir.path()).arg("--replicate", replicate).start();
    (data_dir, process)
}

fn reasons(sidecar: &Process, end_user_id: &str) -> [Value; 4] {
    ["api_calls", "until_stale", "online_only", "limits"]
        .map(|feature_key| sidecar.client().check(end_user_id, feature_key)["reason"].clone())
}

#[test]
fn a_fresh_replica_answers_as_the_server_would() {
    let (_data_dir, sidecar) = heard_before(60, "on_demand");
    assert_eq!(reasons(&sidecar, "user_123"), ["ok", "ok", "stale_replica", "ok"]);
    let staleness = sidecar.client().check("user_123", "api_calls")["staleness_ms"].as_i64().unwrap();
    assert!(staleness >= 60_000, "{staleness}");
}

#[test]
fn a_stale_replica_denies_what_may_not_be_stale() {
    let (_data_dir, sidecar) = heard_before(301, "on_demand");
    assert_eq!(reasons(&sidecar, "user_123"), ["ok", "stale_replica", "stale_replica", "ok"]);
    let check = sidecar.client().check("user_123", "until_stale");
    assert_eq!((&check["allowed"], &check["balance"]), (&json!(false), &json!(100)));
    let poor = sidecar.client().get("/v1/entitlements/check?end_user_id=user_123&feature_key=until_stale&units=101");
    assert_eq!(poor.ok()["reason"], "insufficient_credits", "a denial keeps its own reason");
}

#[test]
fn a_wall_clock_behind_what_is_known_makes_the_replica_count_as_stale() {
    // What was heard is ahead of the wall clock, as after that was set back.
    let (_data_dir, sidecar) = heard_before(-600, "on_demand");
    assert_eq!(reasons(&sidecar, "user_123"), ["ok", "stale_replica", "stale_replica", "ok"]);
    let staleness = sidecar.client().check("user_123", "api_calls")["staleness_ms"].as_i64().unwrap();
    assert!(staleness > 300_000, "{staleness}");
    let (_, log) = sidecar.terminate();
    assert!(log.contains("the wall clock was set back"), "{log}");
}

#[test]
fn the_servers_time_is_kept_over_a_restart_without_it() {
    let data_dir = tempfile::tempdir().unwrap();
    // The server is an hour ahead of this machine, and was last heard a minute ago.
    let seed = Seed::new().with_credit("user_123", 100).heard_before(60 - 3_600);
    seed.write(data_dir.path());
    let (store, _) = ReplicaStore::open(&data_dir.path().join("replica.redb")).unwrap();
    let mark = ClockMark { offset_micros: 3_600_000_000, known: seed.as_of };
    store.commit(&[ReplicaWrite::Clock(mark)], true).unwrap();
    drop(store);
    for _ in 0..2 {
        let sidecar = Options::unreachable(data_dir.path()).start();
        assert_eq!(reasons(&sidecar, "user_123"), ["ok", "ok", "stale_replica", "ok"]);
        let staleness = sidecar.client().check("user_123", "api_calls")["staleness_ms"].as_i64().unwrap();
        assert!((60_000..300_000).contains(&staleness), "{staleness}");
        assert!(sidecar.terminate().0.success());
        let (_, image) = ReplicaStore::open(&data_dir.path().join("replica.redb")).unwrap();
        assert!(image.clock.unwrap().known > mark.known, "a stop stores how far time is");
    }
}

#[test]
fn an_unknown_end_user_of_a_replica_on_demand_is_denied_what_costs_credit() {
    let (_data_dir, sidecar) = heard_before(1, "on_demand");
    assert_eq!(reasons(&sidecar, "nobody"), ["ok", "stale_replica", "stale_replica", "ok"]);
    let usage = json!({"end_user_id": "nobody", "feature_key": "api_calls", "units": 1});
    assert_eq!(sidecar.client().post("/v1/usage", &usage).problem(), (503, "upstream_unavailable".to_owned()));
}

#[test]
fn a_complete_replica_of_all_knows_who_is_not_there() {
    let (_data_dir, sidecar) = heard_before(1, "all");
    assert_eq!(
        reasons(&sidecar, "nobody"),
        ["insufficient_credits", "insufficient_credits", "insufficient_credits", "ok"]
    );
    let usage = json!({"end_user_id": "nobody", "feature_key": "on_credit", "units": 3});
    assert_eq!(sidecar.client().post("/v1/usage", &usage).ok()["debt"], 3);
    assert_eq!(sidecar.client().check("nobody", "on_credit")["balance"], -3);
}

#[test]
fn a_full_outbox_refuses_and_drops_nothing() {
    let data_dir = tempfile::tempdir().unwrap();
    Seed::new().with_credit("user_123", 1_000_000).write(data_dir.path());
    let options = Options::unreachable(data_dir.path()).arg("--outbox-max-bytes", "4000");
    let sidecar = options.start();
    let client = sidecar.client();
    let usage = json!({"end_user_id": "user_123", "feature_key": "api_calls", "units": 1});
    let mut recorded = 0;
    let refused = loop {
        let answer = client.post("/v1/usage", &usage);
        match answer.status {
            200 => recorded += 1,
            _ => break answer,
        }
        assert!(recorded < 1_000, "the outbox never fills");
    };
    assert_eq!(refused.problem(), (503, "outbox_full".to_owned()));
    assert!(recorded > 3);
    let balance = client.check("user_123", "api_calls")["balance"].clone();
    assert_eq!(balance, 1_000_000 - recorded);
    sidecar.kill();
    let again = options.start();
    assert_eq!(again.client().check("user_123", "api_calls")["balance"], balance);
    assert_eq!(again.client().post("/v1/usage", &usage).problem().1, "outbox_full");
}
