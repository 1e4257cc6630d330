//! What the rounds of the benchmarks measure.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use super::values::{Checks, Latencies, Rate, measure};
use crate::command::program;
use crate::stack::{Binaries, FEATURE, ServerReady, Service, Stack};

/// The lanes of a database for bare inserts, with an account of number `n` in lane `n` modulo their count.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Filled {
    pub(crate) environment_id: i64,
    pub(crate) lanes: Vec<i64>,
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

/// Credit for a crowd of end users, who can then record usage.
pub(crate) fn seed(binaries: &Binaries, server: &ServerReady, end_users: u64) -> anyhow::Result<Rate> {
    let mut command = recorder(binaries, server, "seed", end_users);
    measure(command.args(["--server", &server.http]))
}

/// Single usage events over REST, in a closed loop.
pub(crate) fn usage(
    binaries: &Binaries,
    stack: &Stack,
    end_users: u64,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Checks> {
    let mut command = recorder(binaries, &stack.server, "usage", end_users);
    command.args(["--server", &stack.server.http, "--feature-key", FEATURE]);
    command.args(["--connections", &connections.to_string(), "--duration-ms", &duration.as_millis().to_string()]);
    measure(&mut command)
}

/// Batches of usage over REST.
pub(crate) fn batches(binaries: &Binaries, stack: &Stack, end_users: u64, batches: u64) -> anyhow::Result<Rate> {
    let mut command = recorder(binaries, &stack.server, "batches", end_users);
    command.args(["--server", &stack.server.http, "--feature-key", FEATURE, "--batches", &batches.to_string()]);
    measure(&mut command)
}

/// Batches of usage over QUIC.
pub(crate) fn link(binaries: &Binaries, stack: &Stack, end_users: u64, batches: u64) -> anyhow::Result<Rate> {
    let mut command = recorder(binaries, &stack.server, "link", end_users);
    command.args(["--server", &stack.server.quic, "--feature-key", FEATURE, "--batches", &batches.to_string()]);
    measure(command.arg("--ca-file").arg(&stack.server.ca_file))
}

fn recorder(binaries: &Binaries, server: &ServerReady, what: &str, end_users: u64) -> Command {
    let mut command = program(binaries.path("xtask-load"));
    command.args([what, "--end-users", &end_users.to_string()]).env("QUOTASTACK_API_KEY", &server.live_key);
    command
}

/// A new database beside the one of this URL.
pub(crate) fn bare_create(binaries: &Binaries, database_url: &str, name: &str) -> anyhow::Result<()> {
    let mut command = program(binaries.path("xtask-load"));
    command.args(["bare-create", "--name", name]).env("DATABASE_URL", database_url);
    measure::<serde_json::Value>(&mut command)?;
    Ok(())
}

/// Fills a migrated database with accounts.
pub(crate) fn bare_fill(binaries: &Binaries, database_url: &str, end_users: u64) -> anyhow::Result<Filled> {
    let mut command = program(binaries.path("xtask-load"));
    command.args(["bare-fill", "--end-users", &end_users.to_string()]).env("DATABASE_URL", database_url);
    measure(&mut command)
}

/// Inserts the rows of so many batches.
pub(crate) fn bare_insert(
    binaries: &Binaries,
    database_url: &str,
    end_users: u64,
    batches: u64,
) -> anyhow::Result<Rate> {
    let mut command = program(binaries.path("xtask-load"));
    command.args(["bare-insert", "--end-users", &end_users.to_string(), "--batches", &batches.to_string()]);
    measure(command.args(["--feature-key", FEATURE]).env("DATABASE_URL", database_url))
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
