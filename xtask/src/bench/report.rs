//! Medians of rounds, on the terminal and as JSON.

use serde_json::json;

use super::kept;
use super::machine::{self, Machine};
use super::rounds::Round;
use crate::table::{factor, micros, percent, table};

/// Prints the medians and keeps every round.
pub(crate) fn report(rounds: &[Round]) -> anyhow::Result<()> {
    let machine = machine::describe();
    println!("\n{}", describe(&machine, rounds));
    println!("\nA check through the sidecar, beside a bare server that answers `ok` (medians)\n\n{}", checks(rounds));
    println!(
        "\nUsage in batches of 1,000, beside as many rows in plain SQL (medians, events/s)\n\n{}",
        batches(rounds)
    );
    println!("\nSingle usage over REST, beside pgbench with the same four statements (medians)\n\n{}", single(rounds));
    println!("\nFrom a committed grant to the sidecar's changed answer (medians)\n\n{}", lag(rounds));
    kept::keep("", &machine, &json!({ "rounds": rounds }))
}

fn describe(machine: &Machine, rounds: &[Round]) -> String {
    let loads: Vec<&str> = rounds.iter().map(|round| round.load_average_before.as_str()).collect();
    format!("{}; load average before each round: {}", machine.text(), loads.join(", "))
}

fn checks(rounds: &[Round]) -> String {
    let rows: Vec<_> = (0..rounds[0].checks.len())
        .map(|index| {
            let of = |value: fn(&super::rounds::CheckRow) -> u64| {
                median(rounds.iter().map(|round| value(&round.checks[index])))
            };
            let row = &rounds[0].checks[index];
            let (bare_p50, p50) = (of(|row| row.bare.latencies.p50_ns), of(|row| row.sidecar.latencies.p50_ns));
            [
                row.transport.to_owned(),
                row.connections.to_string(),
                micros(bare_p50),
                micros(p50),
                factor(p50 * 1_000 / bare_p50.max(1)),
                micros(of(|row| row.bare.latencies.p99_ns)),
                micros(of(|row| row.sidecar.latencies.p99_ns)),
                of(|row| row.bare.requests_per_second).to_string(),
                of(|row| row.sidecar.requests_per_second).to_string(),
            ]
        })
        .collect();
    table(
        ["transport", "conns", "bare p50", "check p50", "ratio", "bare p99", "check p99", "bare req/s", "check req/s"],
        &rows,
    )
}

fn batches(rounds: &[Round]) -> String {
    let rows: Vec<_> = (0..rounds[0].batches.len())
        .map(|index| {
            let of = |value: fn(&super::ledger::BatchRow) -> u64| {
                median(rounds.iter().map(|round| value(&round.batches[index])))
            };
            let row = &rounds[0].batches[index];
            let ratio = of(|row| row.server.events_per_second * 1_000 / row.bare.events_per_second.max(1));
            [
                row.way.to_owned(),
                row.end_users.to_string(),
                of(|row| row.bare.events_per_second).to_string(),
                of(|row| row.server.events_per_second).to_string(),
                percent(ratio),
            ]
        })
        .collect();
    table(["over", "accounts", "plain SQL", "server", "ratio"], &rows)
}

fn single(rounds: &[Round]) -> String {
    let rows: Vec<_> = (0..rounds[0].single.len())
        .map(|index| {
            let of = |value: fn(&super::ledger::SingleRow) -> Option<u64>| {
                let values: Option<Vec<u64>> = rounds.iter().map(|round| value(&round.single[index])).collect();
                values.map(|values| median(values.into_iter()))
            };
            let or_dash = |value: Option<u64>, write: fn(u64) -> String| value.map_or_else(|| "-".to_owned(), write);
            let pgbench = |row: &super::ledger::SingleRow| Some(row.pgbench.as_ref()?.transactions_per_second);
            let ratio = |row: &super::ledger::SingleRow| {
                Some(row.server.requests_per_second * 1_000 / row.pgbench.as_ref()?.transactions_per_second.max(1))
            };
            [
                rounds[0].single[index].connections.to_string(),
                or_dash(of(pgbench), |value| value.to_string()),
                or_dash(of(|row| Some(row.server.requests_per_second)), |value| value.to_string()),
                or_dash(of(ratio), factor),
                or_dash(of(|row| Some(row.pgbench.as_ref()?.average_ns)), micros),
                or_dash(of(|row| Some(row.server.latencies.p50_ns)), micros),
                or_dash(of(|row| Some(row.server.latencies.p99_ns)), micros),
            ]
        })
        .collect();
    table(["conns", "pgbench/s", "server/s", "ratio", "pgbench mean", "server p50", "server p99"], &rows)
}

fn lag(rounds: &[Round]) -> String {
    let p50 = median(rounds.iter().map(|round| round.grant_lag.p50_ns));
    let p99 = median(rounds.iter().map(|round| round.grant_lag.p99_ns));
    let grants = rounds[0].grant_lag.count;
    table(["grants a round", "p50", "p99"], &[[grants.to_string(), micros(p50), micros(p99)]])
}

/// The middle one; of an even number the lower of the two.
fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values[(values.len() - 1) / 2]
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_median_is_a_value_that_was_measured() {
        assert_eq!(super::median([3, 1, 2].into_iter()), 2);
        assert_eq!(super::median([4, 1].into_iter()), 1);
        assert_eq!(super::median([7].into_iter()), 7);
    }
}
