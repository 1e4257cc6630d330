//! What the demo shows, and proves: the balance falls by exactly what was recorded.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;

use super::apps::Apps;
use crate::load;
use crate::stack::{self, Api, Binaries, END_USER, FEATURE, GRANTED, Stack};
use crate::table::{micros, table};

/// Units of the plain REST call.
const REST_UNITS: i64 = 3;
/// Usage that a sidecar has accepted reaches the server's ledger well within this.
const ARRIVAL_MAX: Duration = Duration::from_secs(30);
/// How often the server is asked meanwhile.
const ARRIVAL_POLL: Duration = Duration::from_millis(50);
/// How long each latency is measured: some ten thousand checks.
const MEASURE: Duration = Duration::from_secs(2);
const GRANTS: usize = 100;

pub(crate) async fn show(stack: &Stack, binaries: &Binaries, apps: &Apps) -> anyhow::Result<()> {
    let server = stack.api();
    let variant = stack::create(&server).await?;
    stack::subscribe(&server, END_USER, &variant).await?;
    println!(
        "\nThe plan grants {GRANTED} credits a month; one unit of `{FEATURE}` costs one. {END_USER} is subscribed."
    );

    let mut rows = Vec::new();
    let mut before = balance(&server).await?;
    if before != GRANTED {
        bail!("{END_USER} has {before} credits after subscribing, not {GRANTED}");
    }
    for (who, units) in [
        ("Rust app, through the sidecar", Apps::UNITS),
        ("JavaScript app, through the sidecar", Apps::UNITS),
        ("REST, through the sidecar", REST_UNITS),
    ] {
        match rows.len() {
            0 => apps.rust(binaries, stack)?,
            1 => apps.js(stack)?,
            _ => rest(&stack.api_through_sidecar()).await?,
        }
        let after = arrived(&server, before - units).await.with_context(|| format!("after the {who}"))?;
        rows.push([who.to_owned(), before.to_string(), units.to_string(), after.to_string()]);
        before = after;
    }
    let local = stack.api_through_sidecar().get(&load::check_path(END_USER)).await?;
    if local["balance"] != json!(before) {
        bail!("the sidecar's balance is {}, the server's {before}", local["balance"]);
    }
    println!("\nThe ledger's balance of {END_USER}\n");
    println!("{}", table(["recorded by", "before", "units", "after"], &rows));
    println!("\nThe sidecar answers the same balance: {before}.");

    latencies(stack, binaries)
}

async fn rest(api: &Api) -> anyhow::Result<()> {
    let usage =
        json!({ "end_user_id": END_USER, "feature_key": FEATURE, "units": REST_UNITS, "idempotency_key": "demo-rest" });
    let answer = api.post("/v1/usage", &usage).await?;
    println!("\n--- POST /v1/usage\n{answer}");
    Ok(())
}

/// The balance in the server's ledger.
async fn balance(server: &Api) -> anyhow::Result<i64> {
    let credits = server.get(&format!("/v1/end_users/{END_USER}/credits")).await?;
    credits["balance"].as_i64().with_context(|| format!("no balance in {credits}"))
}

/// Waits for usage to arrive; a balance below `expected` is too much, and final.
async fn arrived(server: &Api, expected: i64) -> anyhow::Result<i64> {
    let deadline = Instant::now() + ARRIVAL_MAX;
    loop {
        let balance = balance(server).await?;
        if balance == expected {
            return Ok(balance);
        }
        if balance < expected || Instant::now() > deadline {
            bail!("the ledger's balance of {END_USER} is {balance}, not {expected}");
        }
        tokio::time::sleep(ARRIVAL_POLL).await;
    }
}

fn latencies(stack: &Stack, binaries: &Binaries) -> anyhow::Result<()> {
    let row = |what: &str, count: u64, p50_ns: u64, p99_ns: u64| {
        [what.to_owned(), count.to_string(), micros(p50_ns), micros(p99_ns)]
    };
    let mut rows = Vec::new();
    let path = load::check_path(END_USER);
    for (what, target) in
        [("check over TCP", stack.sidecar.http.clone()), ("check over a Unix socket", load::unix(&stack.sidecar.uds))]
    {
        let checks = load::checks(binaries, &target, &path, "\"allowed\":true", 1, MEASURE)?.latencies;
        rows.push(row(what, checks.count, checks.p50_ns, checks.p99_ns));
    }
    let lag = load::lag(binaries, stack, "user_lag", GRANTS)?;
    rows.push(row("committed grant to changed answer", lag.count, lag.p50_ns, lag.p99_ns));
    println!("\nAs an app sees the sidecar, one connection, on this machine\n");
    println!("{}", table(["", "times", "p50", "p99"], &rows));
    Ok(())
}

/// Where everything is, for whoever goes on from here.
pub(crate) fn places(stack: &Stack) {
    let (server, sidecar) = (&stack.server, &stack.sidecar);
    println!("\nserver       {}   (openapi: {}/openapi.yaml)", server.http, server.http);
    println!("sidecar      {}   and unix:{}", sidecar.http, sidecar.uds.display());
    println!("live key     {}", server.live_key);
    println!("sandbox key  {}", server.sandbox_key);
    println!("Postgres     {}", server.database_url);
    println!("logs         {}", stack.dir().join("*.log").display());
    println!("\ncurl '{}{}' -H 'Authorization: Bearer {}'", sidecar.http, load::check_path(END_USER), server.live_key);
}
