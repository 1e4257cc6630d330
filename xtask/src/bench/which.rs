//! Which of the benchmarks to run.

use clap::Subcommand;

use super::{due, rounds, summaries};
use crate::stack::Binaries;
use crate::tools;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Little of everything: whether it works, not what it says.
    #[arg(long, global = true)]
    quick: bool,
    #[command(subcommand)]
    only: Option<Only>,
}

/// What takes long is measured only where it is asked for, and then alone.
#[derive(Subcommand)]
enum Only {
    /// Summaries of a year of usage, beside the same aggregates in SQL. Needs about 20 GB of disk for a while.
    Summaries(summaries::Args),
    /// Subscriptions that are all due at one instant, written down by two servers.
    Due(due::Args),
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    tools::postgres::ensure()?;
    let binaries = Binaries::release()?;
    match &args.only {
        None => rounds::run(&binaries, args.quick),
        Some(Only::Summaries(own)) => summaries::run(&binaries, own, args.quick),
        Some(Only::Due(own)) => due::run(&binaries, own, args.quick),
    }
}
