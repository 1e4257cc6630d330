//! Measures a server and a sidecar from outside, as an app sees them. `cargo xtask bench` and `cargo xtask demo` run it,
//! built for release, as processes of their own: the client never shares a runtime with what it measures.
//!
//! - [`serve`]: a bare hyper server that answers `ok`, the floor that a check is compared with
//! - [`checks`]: the same GET over and over on each connection (a closed loop)
//! - [`usage`]: single usage events in a closed loop; [`batches`]: batches of them over REST; [`link`]: over QUIC, with a
//!   sidecar's end of it in [`peer`]
//! - [`bare`]: as many rows in plain SQL, the ceiling of all three
//! - [`seed`], [`subscribe`]: credit or a subscription for [`each`] of a [`crowd`] of end users
//! - [`year`]: ten million events, and how their summaries are read
//! - [`due`]: subscriptions whose periods all end at one instant
//! - [`lag`]: how long a committed grant takes to change a sidecar's answer
//! - [`connection`]: one HTTP/1.1 connection over TCP or a Unix socket
//! - [`latencies`]: percentiles in whole nanoseconds; [`rate`]: events per second
//!
//! Every command prints one JSON line on stdout.

mod bare;
mod batches;
mod checks;
mod connection;
mod crowd;
mod due;
mod each;
mod lag;
mod latencies;
mod link;
mod peer;
mod rate;
mod seed;
mod serve;
mod subscribe;
mod usage;
mod year;

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
    /// Grant credits to a crowd of end users.
    Seed(seed::Args),
    /// Subscribe a crowd of end users.
    Subscribe(subscribe::Args),
    /// Record single usage events, each connection waiting for its answer before it records the next.
    Usage(usage::Args),
    /// Record usage in batches over REST.
    Batches(batches::Args),
    /// Record usage in batches over QUIC, as sidecars do.
    Link(link::Args),
    /// Create an empty database for `bare-insert`.
    BareCreate(bare::CreateArgs),
    /// Fill it with accounts, once it was migrated and has a tenant.
    BareFill(bare::FillArgs),
    /// Insert as many rows as batches of usage write, in plain SQL.
    BareInsert(bare::InsertArgs),
    /// Insert a year of usage into a server's database, over all its accounts.
    YearFill(year::FillArgs),
    /// Wait until the server has added it up.
    YearWait(year::WaitArgs),
    /// Time a summary of it, and hold it against the events.
    YearAsk(year::AskArgs),
    /// Time a page of its latest events, and hold it against the table.
    YearList(year::ListArgs),
    /// Set the clocks of all sandboxes in the database, as a server that is killed before it does what is then due.
    DueSet(due::Args),
    /// Wait until nothing is due at that instant any more, and count what was done.
    DueWait(due::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Checks(args) => checks::run(args).and_then(|result| print(&result)),
        Command::Lag(args) => lag::run(&args).and_then(|result| print(&result)),
        Command::Seed(args) => seed::run(args).and_then(|result| print(&result)),
        Command::Subscribe(args) => subscribe::run(args).and_then(|result| print(&result)),
        Command::Usage(args) => usage::run(args).and_then(|result| print(&result)),
        Command::Batches(args) => batches::run(args).and_then(|result| print(&result)),
        Command::Link(args) => link::run(&args).and_then(|result| print(&result)),
        Command::BareCreate(args) => bare::create(args).and_then(|result| print(&result)),
        Command::BareFill(args) => bare::fill(&args).and_then(|result| print(&result)),
        Command::BareInsert(args) => bare::insert(&args).and_then(|result| print(&result)),
        Command::YearFill(args) => year::fill(&args).and_then(|result| print(&result)),
        Command::YearWait(args) => year::wait(&args).and_then(|result| print(&result)),
        Command::YearAsk(args) => year::ask(&args).and_then(|result| print(&result)),
        Command::YearList(args) => year::list(&args).and_then(|result| print(&result)),
        Command::DueSet(args) => due::set(&args).and_then(|result| print(&result)),
        Command::DueWait(args) => due::wait(&args).and_then(|result| print(&result)),
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
