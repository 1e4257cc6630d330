//! What a contributor types: `cargo xtask <command>`.

mod bench;
mod command;
mod demo;
mod generate;
mod load;
mod paths;
mod stack;
mod table;
mod test;
mod tidy;
mod tools;
mod wasm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about, bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole loop on this machine and show it.
    Demo(demo::Args),
    /// Check everything that CI checks.
    Test(test::Args),
    /// Measure.
    Bench(bench::Args),
    /// Check the rules that no compiler holds.
    Tidy,
    /// Write sdk-rust/src/generated.rs from openapi.yaml.
    Generate,
    /// Build the npm package of sdk-wasm, and test it where a server runs.
    Wasm(wasm::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => {
            test::run(&args);
            Ok(())
        }
        Command::Bench(args) => bench::run(&args),
        Command::Tidy => tidy::run(),
        Command::Generate => generate::run(),
        Command::Wasm(args) => wasm::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not as a main's error: those print a backtrace where the environment asks for one.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
