//! One process per data directory, with one identity.

use std::fs;

use crate::support::{Options, Seed};

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let data_dir = tempfile::tempdir().unwrap();
    Seed::new().write(data_dir.path());
    let first = Options::unreachable(data_dir.path()).start();
    let log = Options::unreachable(data_dir.path()).fails();
    assert!(log.contains("another sidecar is running on") && log.contains("--data-dir"), "{log}");
    assert!(log.lines().last().unwrap().starts_with("quotastack-sidecar: "), "{log}");
    assert!(!log.contains("backtrace"), "{log}");
    first.kill();
    assert_eq!(Options::unreachable(data_dir.path()).start().client().get("/healthz").status, 200);
}

#[test]
fn the_identity_is_minted_once() {
    let data_dir = tempfile::tempdir().unwrap();
    let identity = || fs::read_to_string(data_dir.path().join("sidecar_id")).unwrap();
    drop(Options::unreachable(data_dir.path()).start());
    let first = identity();
    assert!(first.starts_with("sdc_"), "{first}");
    drop(Options::unreachable(data_dir.path()).start());
    assert_eq!(identity(), first);
    fs::write(data_dir.path().join("sidecar_id"), "something else").unwrap();
    assert!(Options::unreachable(data_dir.path()).fails().contains("does not hold a sidecar id"));
}

#[test]
fn without_a_catalogue_it_is_not_ready_and_says_so() {
    let data_dir = tempfile::tempdir().unwrap();
    let sidecar = Options::unreachable(data_dir.path()).start();
    let client = sidecar.client();
    assert_eq!(client.get("/healthz").status, 200);
    assert_eq!(client.get("/readyz").status, 503);
    let check = client.get("/v1/entitlements/check?end_user_id=u&feature_key=f");
    assert_eq!(check.problem(), (503, "upstream_unavailable".to_owned()));
    let usage = client.post_text("/v1/usage", r#"{"end_user_id":"u","feature_key":"f","units":1}"#.to_owned());
    assert_eq!(usage.problem(), (503, "upstream_unavailable".to_owned()));
}
