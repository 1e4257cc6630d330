//! Subscriptions whose periods all end at one instant.

use serde::{Deserialize, Serialize};

use super::values::{Rate, measure};
use crate::command::program;
use crate::stack::{Binaries, ServerReady};

/// Subscribes a crowd of end users in the sandbox.
pub(crate) fn subscribe(
    binaries: &Binaries,
    server: &ServerReady,
    end_users: u64,
    plan_variant_id: &str,
) -> anyhow::Result<Rate> {
    let mut command = program(binaries.path("xtask-load"));
    command.args(["subscribe", "--server", &server.http, "--end-users", &end_users.to_string()]);
    command.args(["--plan-variant-id", plan_variant_id]);
    measure(command.env("QUOTASTACK_API_KEY", &server.sandbox_key))
}

/// What was done at an instant.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Advanced {
    pub(crate) accounts: u64,
    /// Entries.
    pub(crate) grants: u64,
    /// Events.
    pub(crate) updates: u64,
    /// Accounts with another number of either than one.
    pub(crate) otherwise: u64,
}

/// Sets the clocks of all sandboxes behind the servers' backs; how many accounts are then due.
pub(crate) fn due_set(binaries: &Binaries, server: &ServerReady, at: &str) -> anyhow::Result<u64> {
    #[derive(Deserialize)]
    struct Due {
        accounts: u64,
    }
    let mut command = program(binaries.path("xtask-load"));
    command.args(["due-set", "--at", at]).env("DATABASE_URL", &server.database_url);
    Ok(measure::<Due>(&mut command)?.accounts)
}

/// Waits until nothing is due at the instant any more.
pub(crate) fn due_wait(binaries: &Binaries, server: &ServerReady, at: &str) -> anyhow::Result<Advanced> {
    let mut command = program(binaries.path("xtask-load"));
    command.args(["due-wait", "--at", at]).env("DATABASE_URL", &server.database_url);
    measure(&mut command)
}
