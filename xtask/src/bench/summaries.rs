//! Summaries of a year of usage, each beside the aggregate in SQL over the events themselves, and held against it.

use serde::Serialize;
use serde_json::json;

use super::{kept, machine};
use crate::load::{self, Question, Rate, Read, Year};
use crate::stack::{Binaries, Lone};
use crate::table::{factor, micros, seconds, table};

const FEATURES: u64 = 20;
const MODELS: u64 = 50;
/// The one whose usage is also summed by its property.
const SUMMARY_FEATURE: &str = "feature_0";
/// One of the crowd that is given credit.
const END_USER: &str = "user_load_0";

#[derive(clap::Args)]
pub(super) struct Args {
    /// How many events; 50,000 with --quick.
    #[arg(long)]
    events: Option<u64>,
}

/// What was read.
#[derive(Serialize)]
struct Row {
    what: String,
    of: &'static str,
    by: &'static str,
    #[serde(flatten)]
    read: Read,
}

#[derive(Serialize)]
struct Measured {
    load_average_before: String,
    end_users: u64,
    filled: Year,
    /// By the server's worker.
    added_up: Rate,
    rows: Vec<Row>,
}

pub(super) fn run(binaries: &Binaries, args: &Args, quick: bool) -> anyhow::Result<()> {
    let events = args.events.unwrap_or(if quick { 50_000 } else { 10_000_000 });
    report(&measure(binaries, events, if quick { 500 } else { 10_000 })?)
}

#[tokio::main]
async fn measure(binaries: &Binaries, events: u64, end_users: u64) -> anyhow::Result<Measured> {
    let lone = Lone::start(binaries, &[]).await?;
    let result = on_server(binaries, &lone, events, end_users).await;
    // The first error is the one worth reading.
    let stopped = lone.stop().await;
    let measured = result?;
    stopped?;
    Ok(measured)
}

async fn on_server(binaries: &Binaries, lone: &Lone, events: u64, end_users: u64) -> anyhow::Result<Measured> {
    println!("{events} events of {end_users} end users, {FEATURES} features and {MODELS} models");
    create_features(lone).await?;
    load::seed(binaries, &lone.server, end_users)?;
    let filled = load::year_fill(binaries, &lone.server, events, FEATURES, MODELS)?;
    println!("inserted after {}; the server adds them up", seconds(filled.rate.elapsed_ns));
    let added_up = load::year_wait(binaries, &lone.server, events)?;
    println!("added up after {}", seconds(added_up.elapsed_ns));
    let load_average_before = machine::load_average();
    let mut rows = Vec::new();
    for (name, question) in questions(&filled) {
        let Question { bucket, group_by, end_user_id, .. } = question;
        let of = if end_user_id.is_some() { "one end user" } else { "all" };
        println!("{name} by {bucket} and {group_by}, {of}");
        let read = load::year_ask(binaries, &lone.server, &question)?;
        rows.push(Row { what: format!("{name} by {bucket}"), of, by: group_by, read });
    }
    for (of, end_user_id) in [("all", None), ("one end user", Some(END_USER))] {
        println!("the latest events, {of}");
        let read = load::year_list(binaries, &lone.server, end_user_id)?;
        rows.push(Row { what: "the latest events".to_owned(), of, by: "-", read });
    }
    Ok(Measured { load_average_before, end_users, filled, added_up, rows })
}

async fn create_features(lone: &Lone) -> anyhow::Result<()> {
    let api = lone.live();
    let price = json!({ "type": "per_unit", "cost": 1, "per_units": 1 });
    for number in 0..FEATURES {
        let key = format!("feature_{number}");
        let properties = if key == SUMMARY_FEATURE { vec!["model"] } else { Vec::new() };
        let feature = json!({ "feature_key": key, "name": key, "kind": "metered", "price": price, "summary_properties": properties });
        api.post("/v1/features", &feature).await?;
    }
    Ok(())
}

/// What is asked: each range with the lengths of a bucket that fit it, in each grouping. Of all end users not in the finer
/// buckets: their lines are hundreds of thousands, and each page of them is like the others.
fn questions(filled: &Year) -> Vec<(&'static str, Question<'_>)> {
    let Year { year, month, day, ragged, .. } = filled;
    let all: &[&str] = &["feature", "end-user", "property"];
    let sums: &[&str] = &["feature", "property"];
    let ranges = [
        ("a year", year, "month", all),
        ("a year", year, "day", sums),
        ("a month", month, "day", all),
        ("a month", month, "hour", sums),
        ("a day", day, "hour", all),
        ("a ragged year", ragged, "month", all),
    ];
    let mut questions = Vec::new();
    for end_user_id in [None, Some(END_USER)] {
        for (name, range, bucket, groupings) in ranges {
            for group_by in groupings.iter().copied() {
                // One end user's sum is what the features come to.
                if end_user_id.is_none() || group_by != "end-user" {
                    let question = Question { range, bucket, group_by, end_user_id, summary_feature: SUMMARY_FEATURE };
                    questions.push((name, question));
                }
            }
        }
    }
    questions
}

fn report(measured: &Measured) -> anyhow::Result<()> {
    let machine = machine::describe();
    println!("\n{}; load average before reading: {}", machine.text(), measured.load_average_before);
    let Measured { filled, added_up, end_users, .. } = measured;
    println!(
        "\nAdding up {} events of {end_users} end users, by the server's worker\n\n{}",
        filled.rate.events,
        table(["took", "events/s"], &[[seconds(added_up.elapsed_ns), added_up.events_per_second.to_string()]])
    );
    let rows: Vec<_> = measured.rows.iter().map(row).collect();
    println!(
        "\nReading usage of a year over REST, a page of at most 1,000 lines, beside all of it in SQL over the events\n\n{}",
        table(["what", "of", "by", "lines", "SQL", "p50", "p99", "times as fast"], &rows)
    );
    kept::keep("-summaries", &machine, &json!({ "summaries": measured }))
}

fn row(row: &Row) -> [String; 8] {
    let Read { latencies, lines, plain_ns, .. } = &row.read;
    [
        row.what.clone(),
        row.of.to_owned(),
        row.by.to_owned(),
        lines.to_string(),
        micros(*plain_ns),
        micros(latencies.p50_ns),
        micros(latencies.p99_ns),
        factor(u64::try_from(u128::from(*plain_ns) * 1_000 / u128::from(latencies.p50_ns.max(1))).unwrap_or(u64::MAX)),
    ]
}
