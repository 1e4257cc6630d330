//! Strict features with real processes: what `consume` admits is never more than the account had.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Process, Relay, Server, eventually};

fn start() -> Server {
    let server = Server::start();
    let feature = json!({
        "feature_key": "tokens", "name": "Tokens", "kind": "metered", "enforcement": "strict",
        "price": {"type": "per_unit", "cost": 1}, "default": {"enabled": true},
    });
    let created = server.client().post("/v1/features", &feature).ok();
    assert_eq!(created["enforcement"], "strict");
    server
}

fn event(key: &str, units: i64) -> Value {
    json!({"end_user_id": "user_123", "feature_key": "tokens", "units": units, "idempotency_key": key})
}

/// Ids of all usage in the ledger, and what it cost in all.
fn in_ledger(server: &Server) -> (BTreeSet<String>, i64) {
    let (client, mut cursor) = (server.client(), String::new());
    let (mut ids, mut cost) = (BTreeSet::new(), 0);
    loop {
        let page = client.get(&format!("/v1/usage?end_user_id=user_123&limit=100{cursor}")).ok();
        for usage in page["data"].as_array().unwrap() {
            assert!(ids.insert(usage["id"].as_str().unwrap().to_owned()), "recorded twice");
            cost += usage["cost"].as_i64().unwrap();
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (ids, cost),
        }
    }
}

fn credits(server: &Server) -> [i64; 3] {
    let credits = server.client().get("/v1/end_users/user_123/credits").ok();
    ["balance", "reserved", "debt"].map(|name| credits[name].as_i64().unwrap())
}

/// Refusals because the server is out of reach after which a caller gives up.
const UNREACHABLE_MAX: usize = 3;

/// Consumes one credit at a time until there is none or the sidecar or its server is gone; the ids of what was admitted.
fn consume_all(client: &Client, name: &str) -> Vec<String> {
    let (mut admitted, mut unreachable) = (Vec::new(), 0);
    for number in 0.. {
        let body = event(&format!("{name} {number}"), 1).to_string();
        match client.try_call(Method::POST, "/v1/consume", Some(body)) {
            Ok(answer) if answer.status == 200 => admitted.push(answer.json()["id"].as_str().unwrap().to_owned()),
            Ok(answer) if answer.problem().1 == "insufficient_credits" => break,
            Ok(answer) => {
                assert_eq!(answer.problem().0, 503, "{:?}", answer.problem());
                unreachable += 1;
                if unreachable == UNREACHABLE_MAX {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    admitted
}

#[test]
fn one_sidecar_spends_its_lease_and_gives_back_the_rest() {
    let server = start();
    server.grant("user_123", 100);
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = server.sidecar(data_dir.path()).start();
    let client = sidecar.client().with("authorization", &format!("Bearer {}", server.key("live")));
    let receipt = client.post("/v1/consume", &event("a", 3)).ok();
    assert_eq!((&receipt["cost"], &receipt["balance"]), (&json!(3), &json!(97)));
    assert_eq!((&receipt["allowed"], &receipt["source"]), (&json!(true), &json!("lease")));
    let again = client.post("/v1/consume", &event("a", 3)).ok();
    assert_eq!((&again["id"], &again["replayed"]), (&receipt["id"], &json!(true)));
    assert_eq!(client.post("/v1/consume", &event("a", 4)).problem().1, "idempotency_conflict");
    eventually("it is in the ledger, and what is left of the lease is set aside", || {
        let [balance, reserved, debt] = credits(&server);
        (balance, debt) == (97, 0) && reserved > 0
    });
    assert_eq!(client.check("user_123", "tokens")["available"], 97, "its own lease is its own to spend");
    let reservations = server.client().get("/v1/reservations?end_user_id=user_123").ok();
    assert_eq!(reservations["data"], json!([]), "a lease is no reservation of anybody's");
    assert_eq!(client.post("/v1/consume", &event("too much", 98)).problem().1, "insufficient_credits");
    let usage = client.post("/v1/usage", &event("done", 2)).ok();
    assert!(!usage["allocations"].is_null(), "usage without a lease is the server's to charge");
    let advisory = json!({"end_user_id": "user_123", "feature_key": "nothing", "units": 1});
    assert_eq!(client.post("/v1/consume", &advisory).problem().1, "feature_unknown");
    eventually("an idle lease comes back", || credits(&server) == [95, 0, 0]);
    client.post("/v1/consume", &event("b", 1)).ok();
    eventually("another lease", || credits(&server)[1] > 0);
    let (status, log) = sidecar.terminate();
    assert!(status.success(), "{log}");
    assert_eq!(credits(&server), [94, 0, 0], "a stop in order leaves nothing behind");
}

/// Nine callers on three sidecars, until none of them is given anything.
fn one_round(sidecars: &[Process], round: usize) -> Vec<String> {
    scope(|scope| {
        let callers = (0..9).map(|caller| {
            let client = sidecars[caller % 3].client();
            scope.spawn(move || consume_all(&client, &format!("{round} {caller}")))
        });
        let callers: Vec<_> = callers.collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    })
}

/// Rounds until there is nothing left: what one sidecar gives back, the others may have in the next one.
fn all_rounds(server: &Server, sidecars: &[Process], mut admitted: Vec<String>) {
    for round in 1.. {
        let more = one_round(sidecars, round);
        eventually("idle leases come back", || credits(server)[1] == 0);
        if more.is_empty() {
            break;
        }
        admitted.extend(more);
    }
    assert_eq!(admitted.len(), 1_000);
    eventually("all is reported", || credits(server) == [0, 0, 0]);
    let told: BTreeSet<String> = admitted.into_iter().collect();
    assert_eq!(in_ledger(server), (told, 1_000));
}

#[test]
fn three_sidecars_under_load_admit_all_there_is_and_not_one_more() {
    let server = start();
    server.grant("user_123", 1_000);
    let data_dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let sidecars: Vec<Process> = data_dirs.iter().map(|dir| server.sidecar(dir.path()).start()).collect();
    all_rounds(&server, &sidecars, Vec::new());
}

#[test]
fn one_that_is_cut_off_spends_its_lease_and_all_is_admitted_once_when_it_is_back() {
    let server = start();
    server.grant("user_123", 1_000);
    let relay = Relay::to(server.address());
    let data_dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let sidecars: Vec<Process> = data_dirs
        .iter()
        .enumerate()
        .map(|(place, dir)| match place {
            0 => server.sidecar_over(dir.path(), &relay.address()).start(),
            _ => server.sidecar(dir.path()).start(),
        })
        .collect();
    let first = sidecars[0].client().post("/v1/consume", &event("first", 1)).ok();
    eventually("it has a lease", || credits(&server)[1] > 0);
    relay.cut(true);
    let alone = consume_all(&sidecars[0].client(), "alone");
    assert!(!alone.is_empty(), "it goes on without the server");
    assert!(alone.len() < 1_000);
    let mut admitted = one_round(&sidecars, 0);
    admitted.extend(alone);
    admitted.push(first["id"].as_str().unwrap().to_owned());
    assert!(admitted.len() <= 1_000);
    relay.cut(false);
    eventually("it is back", || sidecars[0].client().get("/status").ok()["link"] == "up");
    all_rounds(&server, &sidecars, admitted);
}

#[test]
fn sidecars_that_are_killed_lose_nothing_that_they_admitted_and_nothing_is_spent_twice() {
    let server = start();
    server.grant("user_123", 2_000);
    let data_dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let is_over = AtomicBool::new(false);
    let admitted = scope(|scope| {
        let rounds = data_dirs.iter().enumerate().map(|(place, dir)| {
            let (server, is_over) = (&server, &is_over);
            scope.spawn(move || {
                let mut admitted = Vec::new();
                for round in 0..5 {
                    let sidecar = server.sidecar(dir.path()).start();
                    let client = sidecar.client();
                    let caller = std::thread::scope(|inner| {
                        let caller = inner.spawn(|| consume_all(&client, &format!("{place} {round}")));
                        std::thread::sleep(std::time::Duration::from_millis(150 + 70 * place as u64));
                        sidecar.kill();
                        caller.join().unwrap()
                    });
                    admitted.extend(caller);
                }
                is_over.store(true, Ordering::Release);
                admitted
            })
        });
        let rounds: Vec<_> = rounds.collect();
        rounds.into_iter().flat_map(|round| round.join().unwrap()).collect::<BTreeSet<String>>()
    });
    // What was acknowledged is on the disks; whoever starts next reports it, whoever's lease it was.
    let sidecars: Vec<Process> = data_dirs.iter().map(|dir| server.sidecar(dir.path()).start()).collect();
    eventually("all that was admitted is in the ledger", || {
        let (ids, _) = in_ledger(&server);
        admitted.is_subset(&ids)
    });
    let (ids, cost) = in_ledger(&server);
    assert!(i64::try_from(ids.len()).unwrap() == cost && cost <= 2_000);
    assert_eq!(credits(&server)[2], 0, "nothing is owed");
    drop(sidecars);
}
