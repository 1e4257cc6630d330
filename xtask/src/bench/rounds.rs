//! What is measured, in which order.

use std::time::Duration;

use serde::Serialize;

use super::ledger::{Amounts, BatchRow, Ledger, SingleRow};
use super::{machine, report};
use crate::load::{self, BareReady, Checks, Latencies};
use crate::stack::{self, Binaries, END_USER, Stack};

const CONNECTIONS: [usize; 3] = [1, 8, 32];

/// How long and how often.
struct Effort {
    rounds: usize,
    duration: Duration,
    grants: usize,
    amounts: Amounts,
}

/// Checks at one transport and number of connections.
#[derive(Serialize)]
pub(crate) struct CheckRow {
    pub(crate) transport: &'static str,
    pub(crate) connections: usize,
    /// The bare server that answers `ok`.
    pub(crate) bare: Checks,
    pub(crate) sidecar: Checks,
}

/// Everything once.
#[derive(Serialize)]
pub(crate) struct Round {
    pub(crate) load_average_before: String,
    pub(crate) checks: Vec<CheckRow>,
    /// From a committed grant to the sidecar's changed answer.
    pub(crate) grant_lag: Latencies,
    /// Usage in batches.
    pub(crate) batches: Vec<BatchRow>,
    /// Usage one by one.
    pub(crate) single: Vec<SingleRow>,
}

/// Three rounds, or a short one.
pub(super) fn run(binaries: &Binaries, quick: bool) -> anyhow::Result<()> {
    let effort = if quick {
        let duration = Duration::from_millis(500);
        Effort { rounds: 1, duration, grants: 50, amounts: Amounts { end_users: 500, batches: 5, duration } }
    } else {
        let duration = Duration::from_secs(3);
        Effort { rounds: 3, duration, grants: 200, amounts: Amounts { end_users: 10_000, batches: 100, duration } }
    };
    let rounds = measure(binaries, &effort)?;
    report::report(&rounds)
}

#[tokio::main]
async fn measure(binaries: &Binaries, effort: &Effort) -> anyhow::Result<Vec<Round>> {
    let stack = Stack::start(binaries).await?;
    let result = on_stack(binaries, effort, &stack).await;
    // The first error is the one worth reading.
    let stopped = stack.stop().await;
    let rounds = result?;
    stopped?;
    Ok(rounds)
}

async fn on_stack(binaries: &Binaries, effort: &Effort, stack: &Stack) -> anyhow::Result<Vec<Round>> {
    let variant = stack::create(&stack.api()).await?;
    stack::subscribe(&stack.api(), END_USER, &variant).await?;
    let ledger = Ledger::prepare(binaries, stack, effort.amounts)?;
    let (service, bare) = load::serve(binaries, stack.dir()).await?;
    let rounds = (0..effort.rounds)
        .map(|index| {
            println!("round {} of {}", index + 1, effort.rounds);
            round(index, effort, &ledger, &bare)
        })
        .collect();
    // It has no orderly end: it answers until it is killed.
    drop(service);
    rounds
}

fn round(index: usize, effort: &Effort, ledger: &Ledger<'_>, bare: &BareReady) -> anyhow::Result<Round> {
    let Ledger { binaries, stack, .. } = *ledger;
    let load_average_before = machine::load_average();
    let path = load::check_path(END_USER);
    let transports = [
        ("TCP", bare.http.clone(), stack.sidecar.http.clone()),
        ("Unix socket", load::unix(&bare.uds), load::unix(&stack.sidecar.uds)),
    ];
    let mut checks = Vec::new();
    for (transport, bare, sidecar) in &transports {
        for connections in CONNECTIONS {
            checks.push(CheckRow {
                transport,
                connections,
                bare: load::checks(binaries, bare, "/", "ok", connections, effort.duration)?,
                sidecar: load::checks(binaries, sidecar, &path, "\"allowed\":true", connections, effort.duration)?,
            });
        }
    }
    let grant_lag = load::lag(binaries, stack, &format!("user_lag_{index}"), effort.grants)?;
    let (batches, single) = (ledger.batches()?, ledger.single()?);
    Ok(Round { load_average_before, checks, grant_lag, batches, single })
}
