//! Files with wrong bytes, wherever they are: a start never fails for them, and the outbox is never deleted.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Options, Seed};

/// What redb reads and writes at a time.
const PAGE: usize = 4096;

/// Numbers that look random, the same for the same seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.next().to_le_bytes()[0]);
    }
}

/// A data directory with usage in the outbox and some hundred accounts in the replica, orderly closed.
fn filled() -> tempfile::TempDir {
    let data_dir = tempfile::tempdir().unwrap();
    let mut seed = Seed::new();
    for n in 0..300 {
        seed = seed.with_credit(&format!("user_{n}"), 1_000);
    }
    seed.write(data_dir.path());
    let sidecar = Options::unreachable(data_dir.path()).start();
    let event = json!({"end_user_id": "user_7", "feature_key": "api_calls", "units": 1});
    sidecar.client().post("/v1/usage/batch", &json!({"events": vec![event; 200]})).ok();
    assert!(sidecar.terminate().0.success());
    data_dir
}

fn copy(from: &Path) -> tempfile::TempDir {
    let data_dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), data_dir.path().join(entry.file_name())).unwrap();
    }
    data_dir
}

fn damage(path: &Path, damage: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    damage(&mut bytes);
    fs::write(path, &bytes).unwrap();
    bytes
}

/// The files that were set aside.
fn set_aside(data_dir: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(data_dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains("unreadable")).map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn files_that_are_noise_behind_their_head_are_begun_anew_or_set_aside() {
    let filled = filled();
    for seed in 0..3 {
        for name in ["outbox.redb", "replica.redb"] {
            let data_dir = copy(filled.path());
            damage(&data_dir.path().join(name), |bytes| Noise(seed).fill(&mut bytes[PAGE..]));
            let sidecar = Options::unreachable(data_dir.path()).start();
            assert_eq!(sidecar.client().get("/healthz").status, 200, "{name}, seed {seed}");
            let (status, log) = sidecar.terminate();
            assert!(status.success(), "{name}, seed {seed}: {log}");
            match name {
                "outbox.redb" => {
                    assert!(log.contains("THE OUTBOX CANNOT BE READ"), "seed {seed}: {log}");
                    assert_eq!(set_aside(data_dir.path()).len(), 1, "seed {seed}");
                }
                _ => assert!(log.contains("the replica cannot be read and is fetched again"), "seed {seed}: {log}"),
            }
        }
    }
}

#[test]
fn one_wrong_page_stops_no_second_start() {
    let filled = filled();
    for seed in 0..12 {
        for name in ["outbox.redb", "replica.redb"] {
            let data_dir = copy(filled.path());
            let path = data_dir.path().join(name);
            let mut noise = Noise(seed);
            damage(&path, |bytes| {
                let pages = bytes.len() / PAGE;
                let page = 1 + usize::try_from(noise.next()).unwrap() % (pages - 1);
                noise.fill(&mut bytes[page * PAGE..(page + 1) * PAGE]);
            });
            // A page that is read only now and then ends the run that reads it; the next one begins anew.
            let mut served = false;
            for _ in 0..2 {
                let sidecar = Options::unreachable(data_dir.path()).start();
                let client = sidecar.client();
                let check = |n| format!("/v1/entitlements/check?end_user_id=user_{n}&feature_key=api_calls");
                served = (0..300).all(|n| {
                    let answer = client.try_call(reqwest::Method::GET, &check(n), None);
                    answer.is_ok_and(|answer| matches!(answer.status, 200 | 503))
                });
                let event = json!({"end_user_id": "user_8", "feature_key": "api_calls", "units": 1}).to_string();
                let recorded = client.try_call(reqwest::Method::POST, "/v1/usage", Some(event));
                served &= recorded.is_ok_and(|answer| matches!(answer.status, 200 | 503));
                drop(sidecar);
            }
            assert!(served, "{name}, seed {seed}");
        }
    }
}
