//! `kill -9` of either side at any moment: each acknowledged event is in the ledger exactly once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::{Client, Server, eventually};

const ROUNDS: usize = 20;
/// Between two events of one caller.
const PACE: Duration = Duration::from_millis(5);

/// Records one event: its id if it was acknowledged.
fn record(client: &Client, key: &str) -> Option<String> {
    let event = json!({"end_user_id": "user_123", "feature_key": "api_calls", "units": 1, "idempotency_key": key});
    let answer = client.try_call(Method::POST, "/v1/usage", Some(event.to_string())).ok()?;
    (answer.status == 200).then(|| answer.json()["id"].as_str().unwrap().to_owned())
}

/// All acknowledged events come to the ledger, none twice, and the balance is what they cost.
fn assert_exactly_once(server: &Server, acknowledged: &[String]) {
    let mut found = Vec::new();
    eventually("every acknowledged event is in the ledger", || {
        found = server.usage_ids("user_123");
        let ledger: BTreeSet<&String> = found.iter().collect();
        acknowledged.iter().all(|id| ledger.contains(id))
    });
    let distinct: BTreeSet<&String> = found.iter().collect();
    assert_eq!(distinct.len(), found.len(), "an event is in the ledger twice");
    assert_eq!(server.balance("user_123"), 1_000_000 - i64::try_from(found.len()).unwrap());
}

#[test]
fn the_sidecar_is_killed_right_after_it_acknowledged() {
    let server = Server::start();
    server.create_feature("api_calls", "allow");
    server.grant("user_123", 1_000_000);
    let data_dir = tempfile::tempdir().unwrap();
    let options = server.sidecar(data_dir.path());
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let sidecar = options.start();
        let client = sidecar.client();
        // The first start fetches the account, later ones find it on disk.
        for n in 0..=round % 5 {
            acknowledged.push(record(&client, &format!("round-{round}-{n}")).unwrap());
        }
        sidecar.kill();
    }
    let sidecar = options.start();
    assert_exactly_once(&server, &acknowledged);
    assert_eq!(server.usage_ids("user_123").len(), acknowledged.len());
    let expected = 1_000_000 - acknowledged.len();
    eventually("the replica agrees", || sidecar.client().check("user_123", "api_calls")["balance"] == expected);
}

#[test]
fn the_server_is_killed_in_the_middle_of_batches() {
    let mut server = Server::start();
    server.create_feature("api_calls", "allow");
    server.grant("user_123", 1_000_000);
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = server.sidecar(data_dir.path()).start();
    let stop = AtomicBool::new(false);
    let base = sidecar.http();
    let acknowledged = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let stop = &stop;
                scope.spawn(move || {
                    let client = Client::new(base);
                    let mut acknowledged = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let key = format!("caller-{caller}-{}", acknowledged.len());
                        acknowledged
                            .push(record(&client, &key).expect("usage is acknowledged whatever the server does"));
                        // A steady load, not all that the machine can do: the ledger is read as a whole in the end.
                        std::thread::sleep(PACE);
                    }
                    acknowledged
                })
            })
            .collect();
        for round in 0..i64::try_from(ROUNDS).unwrap() {
            // Some of what the callers record has arrived since the server's last start: batches are under way.
            let before = server.balance("user_123");
            eventually("batches arrive", || server.balance("user_123") < before - round);
            server.kill();
            server.start_again();
        }
        stop.store(true, Ordering::Relaxed);
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect::<Vec<String>>()
    });
    assert_exactly_once(&server, &acknowledged);
    assert_eq!(server.usage_ids("user_123").len(), acknowledged.len());
    let expected = 1_000_000 - acknowledged.len();
    eventually("the replica agrees", || sidecar.client().check("user_123", "api_calls")["balance"] == expected);
}
