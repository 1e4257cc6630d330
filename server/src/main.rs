//! `quotastack-server`: one binary, one subcommand per job.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use quotastack_server::cli::{self, Cli};

/// A batch makes and drops hundreds of thousands of small things; with the system's allocator a third of the server's time
/// went there.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quotastack-server: {error:#}");
            // Who watches a ledger must tell a broken one from one that could not be read.
            if error.is::<cli::CannotVerify>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
