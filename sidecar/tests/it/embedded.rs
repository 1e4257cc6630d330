//! The sidecar inside a process, without its HTTP server.

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use quotastack_core::entitlement::decision::Reason;
use quotastack_core::ids::IdempotencyKey;
use quotastack_sidecar::{
    CheckQuery, Config, Durability, Limits, Replicate, Sidecar, StartError, UsageError, UsageRequest,
};

use crate::support::{Seed, ca_file, end_user, feature_key, units};

async fn start(data_dir: &Path) -> Result<Arc<Sidecar>, StartError> {
    start_with(data_dir, Durability::Disk).await
}

async fn start_with(data_dir: &Path, durability: Durability) -> Result<Arc<Sidecar>, StartError> {
    let config = Config {
        upstream_http: "http://127.0.0.1:9".to_owned(),
        upstream_quic: "127.0.0.1:9".to_owned(),
        ca_file: Some(ca_file(data_dir)),
        key: "qs_live_test".into(),
        data_dir: data_dir.to_owned(),
        replicate: Replicate::OnDemand,
        durability,
        limits: Limits::default(),
    };
    Sidecar::start(config).await
}

fn event(key: &str, count: i64) -> UsageRequest {
    UsageRequest {
        end_user_id: end_user("user_123"),
        feature_key: feature_key("api_calls"),
        units: units(count),
        idempotency_key: Some(IdempotencyKey::new(key).unwrap()),
        on_insufficient: None,
        effective_at: None,
        properties: [].into(),
        dry_run: false,
    }
}

#[tokio::test]
async fn it_checks_records_stops_and_goes_on() {
    let data_dir = tempfile::tempdir().unwrap();
    Seed::new().with_credit("user_123", 100).write(data_dir.path());
    let sidecar = start(data_dir.path()).await.unwrap();
    let query = CheckQuery {
        end_user_id: end_user("user_123"),
        feature_key: feature_key("api_calls"),
        units: units(61),
        explain: false,
    };
    assert!(sidecar.check_from_memory(&query).is_none(), "nothing is loaded before it is asked for");
    assert!(sidecar.check(&query).await.unwrap().decision.allowed);
    let first = sidecar.record_usage(event("k", 40)).await.unwrap();
    let decision = sidecar.check_from_memory(&query).unwrap().unwrap().decision;
    assert_eq!((decision.allowed, decision.reason), (false, Reason::InsufficientCredits));

    assert!(matches!(start(data_dir.path()).await, Err(StartError::DataDir(_))), "the directory is taken");
    sidecar.shutdown().await;
    assert_eq!(sidecar.record_usage(event("late", 1)).await, Err(UsageError::Stopping));
    drop(sidecar);

    let sidecar = start(data_dir.path()).await.unwrap();
    let again = sidecar.record_usage(event("k", 40)).await.unwrap();
    assert!(again.replayed);
    assert_eq!((again.id, again.balance), (first.id, first.balance));
    assert_eq!(sidecar.check(&query).await.unwrap().decision.balance.get(), 60);
    sidecar.shutdown().await;
}

#[tokio::test]
async fn with_durability_memory_usage_is_acknowledged_before_the_disk_and_reaches_it_all_the_same() {
    let data_dir = tempfile::tempdir().unwrap();
    Seed::new().with_credit("user_123", 100).write(data_dir.path());
    let on_disk = start(data_dir.path()).await.unwrap();
    on_disk.record_usage(event("first", 1)).await.unwrap();
    assert_eq!(on_disk.record_usage(event("waits", 1)).now_or_never(), None, "for the disk");
    on_disk.shutdown().await;
    drop(on_disk);

    let sidecar = start_with(data_dir.path(), Durability::Memory).await.unwrap();
    sidecar.record_usage(event("loads", 1)).await.unwrap();
    let receipt = sidecar.record_usage(event("at once", 1)).now_or_never().expect("nothing is waited for").unwrap();
    sidecar.shutdown().await;
    drop(sidecar);
    let sidecar = start(data_dir.path()).await.unwrap();
    let again = sidecar.record_usage(event("at once", 1)).await.unwrap();
    assert!(again.replayed && again.id == receipt.id);
    sidecar.shutdown().await;
}
