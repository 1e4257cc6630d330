//! What a contributor types: `cargo xtask <command>`.

mod generate;
mod paths;
mod wasm;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about, bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write sdk-rust/src/generated.rs from openapi.yaml.
    Generate,
    /// Build the npm package of sdk-wasm, and test it where a server runs.
    Wasm(wasm::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Generate => generate::run(),
        Command::Wasm(args) => wasm::run(&args),
    }
}
