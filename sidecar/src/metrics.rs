//! What the sidecar measures, and the recorder that the binary installs. An embedding process brings its own.

use std::time::Duration;

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// How long checks over the local API take.
pub(crate) const CHECK_SECONDS: &str = "quotastack_sidecar_check_seconds";
/// How old the replica may be.
pub(crate) const STALENESS_SECONDS: &str = "quotastack_sidecar_staleness_seconds";
/// Events not yet answered by the server.
pub(crate) const OUTBOX_EVENTS: &str = "quotastack_sidecar_outbox_events";
/// Bytes of those events.
pub(crate) const OUTBOX_BYTES: &str = "quotastack_sidecar_outbox_bytes";
/// Age of the oldest of those events.
pub(crate) const OUTBOX_AGE_SECONDS: &str = "quotastack_sidecar_outbox_oldest_seconds";
/// Events the server refused for good.
pub(crate) const REFUSED_EVENTS: &str = "quotastack_sidecar_refused_events";
/// Accounts in memory.
pub(crate) const ACCOUNTS: &str = "quotastack_sidecar_accounts";
/// 1 with a link, 0 without.
pub(crate) const LINK_UP: &str = "quotastack_sidecar_link_up";
/// Links made.
pub(crate) const LINKS: &str = "quotastack_sidecar_links_total";
/// Usage batches, by result.
pub(crate) const BATCHES: &str = "quotastack_sidecar_batches_total";
/// Events the server answered.
pub(crate) const EVENTS_SENT: &str = "quotastack_sidecar_events_sent_total";
/// Requests for leases, by result.
pub(crate) const LEASES: &str = "quotastack_sidecar_leases_total";
/// Leases that are held.
pub(crate) const LEASES_HELD: &str = "quotastack_sidecar_leases_held";
/// Credits left in leases that are held.
pub(crate) const LEASED_CREDITS: &str = "quotastack_sidecar_leased_credits";
/// Events per durable commit of the outbox.
pub(crate) const COMMIT_EVENTS: &str = "quotastack_sidecar_commit_events";
/// How long a durable commit of the outbox takes.
pub(crate) const COMMIT_SECONDS: &str = "quotastack_sidecar_commit_seconds";

/// How often the recorder is tidied; without it histograms grow for ever.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
const SECONDS: [f64; 14] = [
    0.000_001,
    0.000_002_5,
    0.000_005,
    0.000_01,
    0.000_025,
    0.000_05,
    0.000_1,
    0.000_25,
    0.001,
    0.005,
    0.025,
    0.1,
    0.5,
    2.5,
];
const EVENTS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 25.0, 100.0, 250.0, 1_000.0];

/// Installs the process's Prometheus recorder and keeps it tidy. Call it before [`crate::Sidecar::start`].
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full(COMMIT_EVENTS.to_owned()), &EVENTS)?
        .install_recorder()?;
    describe();
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            tick.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

fn describe() {
    describe_histogram!(CHECK_SECONDS, "How long checks over the local API take");
    describe_gauge!(STALENESS_SECONDS, "How old the replica may be");
    describe_gauge!(OUTBOX_EVENTS, "Usage events that the server has not yet answered");
    describe_gauge!(OUTBOX_BYTES, "Bytes of the usage events that the server has not yet answered");
    describe_gauge!(OUTBOX_AGE_SECONDS, "Age of the oldest usage event that the server has not yet answered");
    describe_gauge!(REFUSED_EVENTS, "Usage events that the server refused for good, kept for people to look at");
    describe_gauge!(ACCOUNTS, "Accounts in memory");
    describe_gauge!(LINK_UP, "1 with a link to the server, 0 without");
    describe_counter!(LINKS, "Links made to the server");
    describe_counter!(BATCHES, "Usage batches by result");
    describe_counter!(EVENTS_SENT, "Usage events that the server answered");
    describe_counter!(LEASES, "Requests for leases by result");
    describe_gauge!(LEASES_HELD, "Leases that are held");
    describe_gauge!(LEASED_CREDITS, "Credits left in leases that are held");
    describe_histogram!(COMMIT_EVENTS, "Usage events per durable commit of the outbox");
    describe_histogram!(COMMIT_SECONDS, "How long a durable commit of the outbox takes");
}
