//! Runs the steps one after the other. Their output is shown as it comes, so what stands above the closing line is the
//! end of the failed step's.

use std::time::{Duration, Instant};

use super::steps::{STEPS, Step};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these steps, in their usual order; all of them by default.
    #[arg(value_parser = STEPS.map(|step| step.name))]
    steps: Vec<String>,
}

/// Ends the process with 1 after the first step that fails.
pub(crate) fn run(args: &Args) {
    let steps: Vec<&Step> =
        STEPS.iter().filter(|step| args.steps.is_empty() || args.steps.iter().any(|name| name == step.name)).collect();
    let mut report: Vec<String> = Vec::new();
    let mut failure = None;
    for (index, step) in steps.iter().enumerate() {
        println!("\n=== {}: {} ({} of {})", step.name, step.what, index + 1, steps.len());
        let started = Instant::now();
        let result = (step.run)();
        let took = minutes(started.elapsed());
        report.push(format!("{} {:<12} {took}", if result.is_ok() { "ok    " } else { "FAILED" }, step.name));
        if let Err(error) = result {
            failure = Some((step.name, error));
            break;
        }
    }
    let failed = usize::from(failure.is_some());
    let passed = report.len() - failed;
    println!("\n=== steps\n{}", report.join("\n"));
    if let Some((name, error)) = &failure {
        println!("\n{name}: {error:#}\nAgain, this step alone: cargo xtask test {name}");
    }
    println!("\n{passed} passed, {failed} failed, {} skipped", steps.len() - report.len());
    if failure.is_some() {
        // Everything is said; the closing line stays the last one.
        std::process::exit(1);
    }
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02} min", seconds / 60, seconds % 60)
}
