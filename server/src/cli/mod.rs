//! The command line: what an operator types. Every flag can also be set in the environment.
//!
//! - [`dev`]: everything on one machine, for development
//! - [`serve`]: in production
//! - [`operate`]: `migrate`, `tenant`, `key`
//! - [`ledger`]: `ledger verify`
//! - [`telemetry`]: logs and metrics

mod dev;
mod ledger;
mod operate;
mod serve;
mod telemetry;

use clap::{Parser, Subcommand};

pub use ledger::CannotVerify;
pub use telemetry::LogFormat;

/// The QuotaStack server: credits, entitlements, usage and plans over Postgres.
#[derive(Debug, Parser)]
#[command(name = "quotastack-server", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How log lines on stderr look.
    #[arg(long, env = "QUOTASTACK_LOG_FORMAT", default_value = "text", global = true)]
    log_format: LogFormat,
    /// Which log lines are written, for example `info` or `quotastack_server=debug,warn`.
    #[arg(long, env = "QUOTASTACK_LOG", default_value = "info,sqlx::postgres::notice=warn", global = true)]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine for development: a private Postgres, the schema, a demo tenant with keys.
    Dev(dev::DevArgs),
    /// Serve REST and sidecars over an existing, migrated database.
    Serve(serve::ServeArgs),
    /// Bring a database to this version's schema.
    Migrate(operate::DatabaseArgs),
    /// Create and list tenants.
    #[command(subcommand)]
    Tenant(operate::TenantCommand),
    /// Create, list and revoke API keys.
    #[command(subcommand)]
    Key(operate::KeyCommand),
    /// Verify the ledger.
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
}

/// Runs what was asked for.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    telemetry::start_logs(cli.log_format, &cli.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Dev(args) => dev::run(args).await,
            Command::Serve(args) => serve::run(args).await,
            Command::Migrate(args) => operate::migrate(&args).await,
            Command::Tenant(command) => operate::tenant(command).await,
            Command::Key(command) => operate::key(command).await,
            Command::Ledger(command) => ledger::run(command).await,
        }
    })
}
