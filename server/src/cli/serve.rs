//! `quotastack-server serve`: production.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{AppConfig, Readiness};
use crate::cli::telemetry;
use crate::serve::{Server, ServerConfig};
use crate::sync::tls::Identity;
use crate::workers::WorkersConfig;

/// Connections to Postgres at most.
pub(super) const CONNECTIONS_DEFAULT: u32 = 16;

/// Flags of what a server does without being asked.
#[derive(Debug, Args)]
pub(super) struct WorkerArgs {
    /// Milliseconds between two looks for accounts that time alone has changed.
    #[arg(long, env = "QUOTASTACK_DUE_INTERVAL_MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    due_interval_ms: u64,
}

impl WorkerArgs {
    pub(super) const fn config(&self) -> WorkersConfig {
        WorkersConfig { due_interval: Duration::from_millis(self.due_interval_ms) }
    }
}

/// Flags of `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The database; its login must be a member of the roles that `migrate` creates.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: SecretString,
    /// Where REST listens (plain HTTP: put TLS in front of it).
    #[arg(long, env = "QUOTASTACK_HTTP", default_value = "0.0.0.0:8080")]
    http: SocketAddr,
    /// Where sidecars connect, over UDP.
    #[arg(long, env = "QUOTASTACK_QUIC", default_value = "0.0.0.0:4433")]
    quic: SocketAddr,
    /// The certificate chain that sidecars are shown, as PEM.
    #[arg(long, env = "QUOTASTACK_TLS_CERT")]
    tls_cert: PathBuf,
    /// Its private key, as PEM.
    #[arg(long, env = "QUOTASTACK_TLS_KEY")]
    tls_key: PathBuf,
    /// Connections to Postgres at most.
    #[arg(long, env = "QUOTASTACK_DATABASE_CONNECTIONS", default_value_t = CONNECTIONS_DEFAULT)]
    database_connections: u32,
    #[command(flatten)]
    workers: WorkerArgs,
}

pub(super) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let metrics = telemetry::start_metrics()?;
    let identity = Identity::from_files(&args.tls_cert, &args.tls_key)?;
    let config = ServerConfig {
        app: AppConfig {
            database_url: args.database_url.expose_secret().to_owned(),
            connections_max: args.database_connections,
        },
        http: args.http,
        quic: args.quic,
        identity,
        workers: Some(args.workers.config()),
    };
    let stop = stop_signal()?;
    let server = Server::start(config, metrics).await?;
    if server.readiness().await == Readiness::OtherSchema {
        server.stop().await;
        anyhow::bail!("the database does not have this version's schema; run `quotastack-server migrate` first");
    }
    print_line(&json!({
        "event": "ready",
        "http": format!("http://{}", server.http),
        "quic": server.quic.to_string(),
    }))?;
    stop.await;
    server.stop().await;
    Ok(())
}

/// Resolves at SIGTERM or Ctrl-C. Registered at once, so that a signal during start-up is not lost.
pub(super) fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}

/// One JSON line on stdout.
pub(super) fn print_line(value: &serde_json::Value) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{value}")?;
    Ok(stdout.flush()?)
}
