//! The outbox of a whole process that is killed, or whose disk is full: what was acknowledged is there.

use std::collections::BTreeSet;
use std::path::Path;

use quotastack_core::time::Timestamp;
use quotastack_sidecar::outbox::OutboxStore;
use reqwest::Method;
use serde_json::json;

use crate::support::{Options, Process, Seed};

const ROUNDS: usize = 20;

/// Records events until `enough` or an error: the keys that were acknowledged.
fn record_until(sidecar: &Process, prefix: &str, enough: usize) -> Vec<String> {
    let client = sidecar.client();
    let mut acknowledged = Vec::new();
    for n in 0..enough {
        let key = format!("{prefix}-{n}");
        let event = json!({
            "end_user_id": "user_123", "feature_key": "api_calls", "units": 1, "idempotency_key": key,
            "properties": {"text": "x".repeat(400)},
        });
        match client.try_call(Method::POST, "/v1/usage", Some(event.to_string())) {
            Ok(answer) if answer.status == 200 => acknowledged.push(key),
            _ => break,
        }
    }
    acknowledged
}

fn keys_on_disk(data_dir: &Path) -> Vec<String> {
    let (_, image) = OutboxStore::open(&data_dir.join("outbox.redb"), Timestamp::default()).unwrap();
    image.records.iter().map(|record| record.admission.usage.key.as_str().to_owned()).collect()
}

#[test]
fn acknowledged_usage_survives_kill_9() {
    let data_dir = tempfile::tempdir().unwrap();
    Seed::new().with_credit("user_123", 1_000_000).write(data_dir.path());
    let options = Options::unreachable(data_dir.path());
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let sidecar = options.start();
        acknowledged.extend(record_until(&sidecar, &format!("round-{round}"), 1 + round % 4));
        sidecar.kill();
    }
    assert_eq!(keys_on_disk(data_dir.path()), acknowledged);
    let balance = options.start().client().check("user_123", "api_calls")["balance"].clone();
    assert_eq!(balance, 1_000_000 - acknowledged.len());
}

#[test]
fn a_full_disk_ends_the_process_and_loses_nothing_acknowledged() {
    let data_dir = tempfile::tempdir().unwrap();
    Seed::new().with_credit("user_123", 1_000_000).write(data_dir.path());
    let mut sidecar = Options::unreachable(data_dir.path()).on_a_disk_of(2_048).start();
    let acknowledged = record_until(&sidecar, "event", 50_000);
    let (status, log) = sidecar.wait();
    assert!(!status.success());
    assert!(log.contains("cannot be written"), "{log}");
    assert!((1..50_000).contains(&acknowledged.len()), "{}", acknowledged.len());
    let found: BTreeSet<String> = keys_on_disk(data_dir.path()).into_iter().collect();
    assert!(acknowledged.iter().all(|key| found.contains(key)));
}

#[test]
fn a_stop_keeps_what_was_not_sent() {
    let data_dir = tempfile::tempdir().unwrap();
    Seed::new().with_credit("user_123", 100).write(data_dir.path());
    let options = Options::unreachable(data_dir.path());
    let sidecar = options.start();
    let acknowledged = record_until(&sidecar, "event", 5);
    let (status, _) = sidecar.terminate();
    assert!(status.success());
    assert_eq!(keys_on_disk(data_dir.path()), acknowledged);
}
