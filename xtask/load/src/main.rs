//! Measures a sidecar from outside, over HTTP, as an app sees it. `cargo xtask bench` and `cargo xtask demo` run it,
//! built for release, as processes of their own: the client never shares a runtime with what it measures.
//!
//! - [`serve`]: a bare hyper server that answers `ok`, the floor that a check is compared with
//! - [`checks`]: the same GET over and over on each connection (a closed loop)
//! - [`lag`]: how long a committed grant takes to change a sidecar's answer
//! - [`connection`]: one HTTP/1.1 connection over TCP or a Unix socket
//! - [`latencies`]: percentiles in whole nanoseconds
//!
//! Every command prints one JSON line on stdout.

mod checks;
mod connection;
mod lag;
mod latencies;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer `ok` to every request until killed.
    Serve(serve::Args),
    /// Send one GET over and over, each connection waiting for its answer before it asks again.
    Checks(checks::Args),
    /// Grant credits on the server and time how soon the sidecar's answer shows them.
    Lag(lag::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Checks(args) => checks::run(args).and_then(|result| print(&result)),
        Command::Lag(args) => lag::run(&args).and_then(|result| print(&result)),
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

fn print(result: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(result)?);
    Ok(())
}
