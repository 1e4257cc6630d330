//! `quotastack-sidecar`: reads its flags, starts the sidecar and its local API, and stops on a signal.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use quotastack_sidecar::{LocalApi, Sidecar, metrics};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

mod cli;
mod show;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let done = match (cli.command, cli.run) {
        (Some(cli::Command::Status(args)), _) => show::show(args),
        (None, Some(args)) => run(args),
        (None, None) => unreachable!("clap asks for what is needed"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, whatever RUST_BACKTRACE says.
            eprintln!("quotastack-sidecar: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(args: cli::Args) -> Result<()> {
    let (config, listen) = args.into_config();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let metrics = metrics::install().context("cannot set up metrics")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let drain_timeout = config.limits.drain_timeout;
    let sidecar = Sidecar::start(config).await?;
    let local = LocalApi::start(sidecar.clone(), &listen, Some(metrics)).await?;
    announce(&local)?;
    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        why = sidecar.failed() => Some(why),
    };
    tracing::info!("stopping");
    local.drain(drain_timeout).await;
    sidecar.shutdown().await;
    match failed {
        None => Ok(()),
        Some(why) => bail!("{why}"),
    }
}

/// The one line on stdout.
fn announce(local: &LocalApi) -> Result<()> {
    let ready = serde_json::json!({
        "event": "ready",
        "http": local.tcp().map(|address| format!("http://{address}")),
        "uds": local.uds(),
    });
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{ready}").and_then(|()| stdout.flush()).context("cannot write the ready line")
}
