//! `ledger verify`: holds every account against its entries. Findings on stdout, progress on stderr.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::app::verify::{Finding, Progress, verify};
use crate::cli::operate::DatabaseArgs;
use crate::cli::serve::print_line;
use crate::store::tx::Store;

const JOBS_DEFAULT: u16 = 4;
/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// `ledger ...`
#[derive(Debug, Subcommand)]
pub(super) enum LedgerCommand {
    /// Rebuild every account from its entries and compare: balances, blocks, holds, debts, hashes. Only reads; a server
    /// may run beside it. Exits with 1 if an account is not what its entries say.
    Verify(VerifyArgs),
}

/// Whether the ledger is right is not known.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("cannot read the ledger (--database-url; run `quotastack-server migrate` first)")]
pub struct CannotVerify;

/// What to verify with.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// How many pages of accounts are verified at a time, each over a connection of its own.
    #[arg(long, env = "QUOTASTACK_VERIFY_JOBS", default_value_t = JOBS_DEFAULT, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Print JSON lines: one per finding, then a summary.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(super) async fn run(command: LedgerCommand) -> anyhow::Result<()> {
    let LedgerCommand::Verify(args) = command;
    let store = Store::connect(args.database.database_url.expose_secret(), u32::from(args.jobs) + 1);
    let store = store.context("--database-url is not a Postgres URL")?;
    let (progress, started) = (Arc::new(Progress::default()), Instant::now());
    let shown = std::io::stderr().is_terminal().then(|| tokio::spawn(show(Arc::clone(&progress), started)));
    let verified = verify(&store, usize::from(args.jobs), &progress).await;
    if let Some(shown) = shown {
        shown.abort();
        eprintln!();
    }
    store.close().await;
    let findings = verified.context(CannotVerify)?;
    let (accounts, entries) = (progress.accounts.load(Ordering::Relaxed), progress.entries.load(Ordering::Relaxed));
    for finding in &findings {
        print(finding, args.json)?;
    }
    if args.json {
        let summary =
            json!({ "event": "verified", "accounts": accounts, "entries": entries, "findings": findings.len() });
        print_line(&summary)?;
    } else {
        println!("{accounts} accounts, {entries} entries: {} findings", findings.len());
    }
    anyhow::ensure!(findings.is_empty(), "{} accounts are not what their entries say", findings.len());
    Ok(())
}

fn print(finding: &Finding, as_json: bool) -> anyhow::Result<()> {
    let Finding { tenant_id, environment, end_user_id, account_id, seq, fault } = finding;
    if as_json {
        return print_line(&json!({
            "event": "finding",
            "tenant_id": tenant_id,
            "environment": environment,
            "end_user_id": end_user_id,
            "account_id": account_id,
            "seq": seq,
            "fault": fault,
        }));
    }
    println!("{tenant_id} {environment:?} {end_user_id} ({account_id}) at entry {seq}: {fault}");
    Ok(())
}

/// Shows how far it is, how fast it goes, and how long it will take, until it is stopped.
async fn show(progress: Arc<Progress>, started: Instant) {
    loop {
        tokio::time::sleep(PROGRESS_INTERVAL).await;
        let [entries, total, accounts, accounts_total] =
            [&progress.entries, &progress.entries_total, &progress.accounts, &progress.accounts_total]
                .map(|count| count.load(Ordering::Relaxed));
        let seconds = started.elapsed().as_secs().max(1);
        let rate = (entries / seconds).max(1);
        let left = total.saturating_sub(entries) / rate;
        eprint!("\r{accounts} of {accounts_total} accounts, {entries} of {total} entries, {rate}/s, {left} s left  ");
    }
}
