//! What `xtask-load` measures, as values. It runs as a process of its own, built like what it measures.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::command::{output, program};
use crate::stack::{Binaries, FEATURE, Service, Stack};

/// Latencies of answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Latencies {
    pub(crate) count: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) max_ns: u64,
}

/// Checks in a closed loop.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Checks {
    #[serde(flatten)]
    pub(crate) latencies: Latencies,
    pub(crate) requests_per_second: u64,
}

/// Path and query of a check.
pub(crate) fn check_path(end_user_id: &str) -> String {
    format!("/v1/entitlements/check?end_user_id={end_user_id}&feature_key={FEATURE}")
}

/// How a Unix socket is named as a target.
pub(crate) fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// One GET over and over.
pub(crate) fn checks(
    binaries: &Binaries,
    target: &str,
    path: &str,
    expect: &str,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Checks> {
    let mut command = program(binaries.path("xtask-load"));
    command.args(["checks", "--target", target, "--path", path, "--expect", expect]);
    command.args(["--connections", &connections.to_string(), "--duration-ms", &duration.as_millis().to_string()]);
    measure(&mut command)
}

/// From a committed grant to the sidecar's changed answer.
pub(crate) fn lag(
    binaries: &Binaries,
    stack: &Stack,
    end_user_prefix: &str,
    grants: usize,
) -> anyhow::Result<Latencies> {
    let mut command = program(binaries.path("xtask-load"));
    command.args(["lag", "--server", &stack.server.http, "--sidecar", &unix(&stack.sidecar.uds)]);
    command.args(["--end-user-prefix", end_user_prefix, "--feature-key", FEATURE, "--grants", &grants.to_string()]);
    measure(command.env("QUOTASTACK_API_KEY", &stack.server.live_key))
}

/// Where the bare server listens.
#[derive(Deserialize)]
pub(crate) struct BareReady {
    pub(crate) http: String,
    pub(crate) uds: std::path::PathBuf,
}

/// Starts the bare server.
pub(crate) async fn serve(binaries: &Binaries, dir: &Path) -> anyhow::Result<(Service, BareReady)> {
    let mut command = program(binaries.path("xtask-load"));
    command.arg("serve").arg("--uds").arg(dir.join("bare.sock"));
    Service::start("bare", command, dir).await
}

fn measure<Measured: DeserializeOwned>(command: &mut Command) -> anyhow::Result<Measured> {
    let line = output(command)?;
    serde_json::from_str(&line).with_context(|| format!("xtask-load answered {line}"))
}
