//! Two servers and a worker that stood still: the periods of many subscriptions end at one instant while nobody writes
//! down what is due. Then two servers start, and each subscription must be advanced once.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use super::{kept, machine};
use crate::command::{output, program};
use crate::load::{self, Advanced};
use crate::stack::{Binaries, Lone};
use crate::table::{seconds, table};

/// How long all of them may take on two cores.
const GOAL: Duration = Duration::from_secs(20);
/// What a period grants.
const GRANTED: u64 = 1_000;
const START: &str = "2100-01-01T00:00:00Z";
/// When a month has passed.
const END: &str = "2100-02-01T00:00:00Z";

#[derive(clap::Args)]
pub(super) struct Args {
    /// How many subscriptions; 300 with --quick.
    #[arg(long)]
    subscriptions: Option<u64>,
}

pub(super) fn run(binaries: &Binaries, args: &Args, quick: bool) -> anyhow::Result<()> {
    let subscriptions = args.subscriptions.unwrap_or(if quick { 300 } else { 10_000 });
    let load_average_before = machine::load_average();
    let (advanced, elapsed) = measure(binaries, subscriptions)?;
    report(&load_average_before, &advanced, elapsed)
}

#[tokio::main]
async fn measure(binaries: &Binaries, subscriptions: u64) -> anyhow::Result<(Advanced, Duration)> {
    // Its own worker looks once, before there is anything, and then rests for an hour.
    let lone = Lone::start(binaries, &["--due-interval-ms", "3600000"]).await?;
    let result = on_database(binaries, &lone, subscriptions).await;
    // The first error is the one worth reading.
    let stopped = lone.stop().await;
    let measured = result?;
    stopped?;
    Ok(measured)
}

async fn on_database(binaries: &Binaries, lone: &Lone, subscriptions: u64) -> anyhow::Result<(Advanced, Duration)> {
    println!("subscribing {subscriptions} end users");
    let variant = create_variant(lone).await?;
    load::subscribe(binaries, &lone.server, subscriptions, &variant)?;
    let due = load::due_set(binaries, &lone.server, END)?;
    anyhow::ensure!(due == subscriptions, "{due} of {subscriptions} subscriptions are due at the end of their period");

    println!("starting two servers");
    let started = Instant::now();
    let servers =
        tokio::try_join!(lone.start_another(binaries, "server-one"), lone.start_another(binaries, "server-two"));
    let (one, two) = servers?;
    let advanced = load::due_wait(binaries, &lone.server, END);
    let elapsed = started.elapsed();
    let stopped = tokio::join!(one.stop(), two.stop());
    let advanced = advanced?;
    stopped.0.and(stopped.1)?;

    let Advanced { accounts, grants, updates, otherwise } = advanced;
    anyhow::ensure!(
        (accounts, grants, updates, otherwise) == (subscriptions, subscriptions, subscriptions, 0),
        "not each was advanced once: {advanced:?}"
    );
    let verify = program(binaries.path("quotastack-server"));
    let mut verify = verify;
    verify.args(["ledger", "verify"]).env("DATABASE_URL", &lone.server.database_url);
    print!("ledger verify: {}", output(&mut verify)?);
    Ok((advanced, elapsed))
}

/// A variant whose periods follow each other by themselves, and a clock that stands.
async fn create_variant(lone: &Lone) -> anyhow::Result<String> {
    let api = lone.sandbox();
    api.post("/v1/sandbox/clock", &json!({ "now": START })).await?;
    let plan = api.post("/v1/plans", &json!({ "name": "Pro" })).await?;
    let variant = json!({
        "name": "monthly",
        "billing_period": { "count": 1, "unit": "month" },
        "billing_mode": "postpaid",
        "grants": [{ "amount": GRANTED, "interval": "billing_period" }],
    });
    let id = |answer: &Value| answer["id"].as_str().map(str::to_owned).context("what was created has an id");
    let variant = api.post(&format!("/v1/plans/{}/variants", id(&plan)?), &variant).await?;
    id(&variant)
}

fn report(load_average_before: &str, advanced: &Advanced, elapsed: Duration) -> anyhow::Result<()> {
    let machine = machine::describe();
    println!("\n{}; load average before: {load_average_before}", machine.text());
    let nanos = u64::try_from(elapsed.as_nanos())?;
    let per_second = u128::from(advanced.accounts) * 1_000_000_000 / elapsed.as_nanos().max(1);
    let row = [advanced.accounts.to_string(), seconds(nanos), per_second.to_string(), format!("{} s", GOAL.as_secs())];
    println!(
        "\nSubscriptions due at one instant, written down by two servers, from their start on\n\n{}",
        table(["subscriptions", "all after", "a second", "goal"], &[row])
    );
    let measured = json!({
        "load_average_before": load_average_before,
        "due": { "advanced": advanced, "elapsed_ns": nanos, "goal_seconds": GOAL.as_secs() },
    });
    kept::keep("-due", &machine, &measured)
}
