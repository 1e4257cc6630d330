//! `ledger verify`: holds every account against its entries. Findings on stdout, progress on stderr.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
/// How often it is printed where there is no terminal to show it on.
const PROGRESS_LINE_INTERVAL: Duration = Duration::from_secs(10);

/// `ledger ...`
#[derive(Debug, Subcommand)]
pub(super) enum LedgerCommand {
    /// Rebuild every account from its entries and compare: balances, blocks, holds, debts, hashes. Hold usage events,
    /// voids, reservations and top-ups against their entries, and sums of usage against what they add up. Only reads; a
    /// server may run beside it. Exits with 1 if anything is not what the entries say.
    Verify(VerifyArgs),
}

/// Whether the ledger is right is not known.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub enum CannotVerify {
    /// There is no database to read, or none that lets us in.
    #[error("cannot read the ledger: is --database-url right?")]
    NoDatabase,
    /// It is none of this release.
    #[error("cannot read the ledger: run `quotastack-server migrate` first")]
    NotMigrated,
    /// Something else, which the source says.
    #[error("cannot verify the ledger to its end")]
    Other,
}

impl CannotVerify {
    /// What would help against an error, as far as that is known.
    fn because(error: &anyhow::Error) -> Self {
        match error.downcast_ref::<sqlx::Error>() {
            Some(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut) => Self::NoDatabase,
            Some(sqlx::Error::Database(error)) => match error.code().as_deref() {
                // The tables, their columns or their schema are missing.
                Some("42P01" | "42703" | "3F000") => Self::NotMigrated,
                // The login is refused, or the database is missing.
                Some("28000" | "28P01" | "3D000") => Self::NoDatabase,
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

/// What to verify with.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// How many pages of up to 200 accounts are verified at a time (or voids and sums of lanes), each over a connection of
    /// its own. An account is not split.
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
    let is_terminal = std::io::stderr().is_terminal();
    let shown = tokio::spawn(show(Arc::clone(&progress), started, is_terminal));
    let verified = verify(&store, usize::from(args.jobs), &progress).await;
    shown.abort();
    if is_terminal {
        eprintln!();
    }
    store.close().await;
    let findings = verified.map_err(|error| {
        let why = CannotVerify::because(&error);
        error.context(why)
    })?;
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
    anyhow::ensure!(findings.is_empty(), "{} things are not what the entries say", findings.len());
    Ok(())
}

fn print(finding: &Finding, as_json: bool) -> anyhow::Result<()> {
    let Finding { tenant_id, environment, end_user_id, account_id, seq, fault, expected, found } = finding;
    if as_json {
        return print_line(&json!({
            "event": "finding",
            "tenant_id": tenant_id,
            "environment": environment,
            "end_user_id": end_user_id,
            "account_id": account_id,
            "seq": seq,
            "fault": fault,
            "expected": expected,
            "found": found,
        }));
    }
    let whose = match (end_user_id, account_id) {
        (Some(end_user), Some(account)) => format!("{end_user} ({account})"),
        (None, Some(account)) => format!("({account})"),
        (_, None) => "all end users of a lane".to_owned(),
    };
    let place = seq.map_or(String::new(), |seq| format!(" at entry {seq}"));
    let figures = match (expected, found) {
        (Some(expected), Some(found)) => format!(": expected {expected}, found {found}"),
        _ => String::new(),
    };
    println!("{tenant_id} {environment:?} {whose}{place}: {fault}{figures}");
    Ok(())
}

/// Shows how far it is, how fast it goes, and how long it will take, until it is stopped: on a terminal in one line that
/// changes, elsewhere line by line, less often.
async fn show(progress: Arc<Progress>, started: Instant, is_terminal: bool) {
    loop {
        tokio::time::sleep(if is_terminal { PROGRESS_INTERVAL } else { PROGRESS_LINE_INTERVAL }).await;
        let line = progress_line(&progress, started.elapsed());
        if is_terminal {
            eprint!("\r{line}\x1b[K");
        } else {
            eprintln!("{line}");
        }
    }
}

fn progress_line(progress: &Progress, elapsed: Duration) -> String {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (entries, entries_total) = (count(&progress.entries), count(&progress.entries_total));
    let rate = entries / elapsed.as_secs().max(1);
    // What was written since it began is read too.
    let left = match entries_total.saturating_sub(entries) {
        0 => "sums of usage left".to_owned(),
        _ if rate == 0 => "time left unknown".to_owned(),
        entries_left => format!("{} s left", entries_left.div_ceil(rate)),
    };
    format!(
        "{} of {} accounts, {entries} of {entries_total} entries, {} of {} lanes' sums, {rate} entries/s, {left}",
        count(&progress.accounts),
        count(&progress.accounts_total),
        count(&progress.lanes),
        count(&progress.lanes_total),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_progress_line_tells_what_is_done_how_fast_and_what_is_left() {
        let progress = Progress::default();
        for (counter, value) in [
            (&progress.accounts_total, 40),
            (&progress.entries_total, 1_000),
            (&progress.lanes_total, 16),
            (&progress.accounts, 9),
            (&progress.entries, 250),
            (&progress.lanes, 2),
        ] {
            counter.store(value, Ordering::Relaxed);
        }
        assert_eq!(
            progress_line(&progress, Duration::from_secs(5)),
            "9 of 40 accounts, 250 of 1000 entries, 2 of 16 lanes' sums, 50 entries/s, 15 s left"
        );
        progress.entries.store(1_001, Ordering::Relaxed);
        assert!(progress_line(&progress, Duration::from_secs(5)).ends_with("200 entries/s, sums of usage left"));
        progress.entries.store(0, Ordering::Relaxed);
        assert!(progress_line(&progress, Duration::ZERO).ends_with("0 entries/s, time left unknown"));
    }
}
