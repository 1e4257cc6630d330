//! Builds, starts, shows, waits, stops.

use tokio::signal::unix::{SignalKind, signal};

use super::apps::Apps;
use super::show::{places, show};
use crate::stack::{Binaries, Stack};
use crate::tools;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// End when everything was shown, instead of staying up until Ctrl-C.
    #[arg(long)]
    exit: bool,
}

/// The demo as a newcomer sees it. Built for release: it shows latencies, and those of a debug build would be wrong by
/// a factor. Only what runs is built so.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    tools::rust::ensure_wasm_target()?;
    tools::node::ensure()?;
    tools::postgres::ensure()?;
    println!("Building for release; the first time takes some minutes.");
    let binaries = Binaries::release()?;
    let apps = Apps::prepare()?;
    on_stack(&binaries, &apps, !args.exit)
}

/// The same on the programs of the tests.
pub(crate) fn run_once(binaries: &Binaries) -> anyhow::Result<()> {
    on_stack(binaries, &Apps::prepare()?, false)
}

#[tokio::main]
async fn on_stack(binaries: &Binaries, apps: &Apps, stay: bool) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    println!("Starting the server with its own Postgres, and a sidecar.");
    let stack = Stack::start(binaries).await?;
    let shown = async {
        show(&stack, binaries, apps).await?;
        if stay {
            places(&stack);
            println!("\nEverything stays up until Ctrl-C; nothing is kept after it.");
            std::future::pending::<()>().await;
        }
        anyhow::Ok(())
    };
    let result = tokio::select! {
        result = shown => result,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    println!("Stopping.");
    // The first error is the one worth reading.
    result.and(stack.stop().await)
}
