//! A year of usage in the tables of a server, and how its summaries are read.

use std::process::Command;

use serde::{Deserialize, Serialize};

use super::values::{Latencies, Rate, measure};
use crate::command::program;
use crate::stack::{Binaries, ServerReady};

/// What the tables were filled with, and ranges of time with usage in them.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Year {
    #[serde(flatten)]
    pub(crate) rate: Rate,
    pub(crate) year: [String; 2],
    /// A calendar month of it.
    pub(crate) month: [String; 2],
    /// A day of that.
    pub(crate) day: [String; 2],
    /// Most of the year, with ends that no hour begins at.
    pub(crate) ragged: [String; 2],
}

/// A summary to ask for.
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) range: &'a [String; 2],
    pub(crate) bucket: &'static str,
    /// `feature`, `end-user` or `property`.
    pub(crate) group_by: &'static str,
    /// Of this end user only.
    pub(crate) end_user_id: Option<&'a str>,
    /// The feature whose usage is summed by its property.
    pub(crate) summary_feature: &'a str,
}

/// What came of reading over REST and in SQL, which agreed.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Read {
    /// Of the first page.
    #[serde(flatten)]
    pub(crate) latencies: Latencies,
    /// Lines of all pages.
    pub(crate) lines: u64,
    pub(crate) pages: u64,
    /// How long the same took in SQL over the events, once.
    pub(crate) plain_ns: u64,
}

/// Fills the tables with this many events, over the accounts that are there.
pub(crate) fn year_fill(
    binaries: &Binaries,
    server: &ServerReady,
    events: u64,
    features: u64,
    models: u64,
) -> anyhow::Result<Year> {
    let mut command = program(binaries.path("xtask-load"));
    command.args(["year-fill", "--events", &events.to_string()]).env("DATABASE_URL", &server.database_url);
    command.args(["--features", &features.to_string(), "--models", &models.to_string()]);
    measure(&mut command)
}

/// Waits until the server has added them up.
pub(crate) fn year_wait(binaries: &Binaries, server: &ServerReady, events: u64) -> anyhow::Result<Rate> {
    let mut command = program(binaries.path("xtask-load"));
    command.args(["year-wait", "--events", &events.to_string()]).env("DATABASE_URL", &server.database_url);
    measure(&mut command)
}

/// Asks for a summary.
pub(crate) fn year_ask(binaries: &Binaries, server: &ServerReady, question: &Question<'_>) -> anyhow::Result<Read> {
    let [from, to] = question.range;
    let mut command = reader(binaries, server, "year-ask");
    command.args(["--from", from, "--to", to, "--bucket", question.bucket, "--group-by", question.group_by]);
    command.args(["--summary-feature", question.summary_feature]);
    if let Some(end_user_id) = question.end_user_id {
        command.args(["--end-user-id", end_user_id]);
    }
    measure(&mut command)
}

/// Asks for the latest events, of an end user or of all.
pub(crate) fn year_list(binaries: &Binaries, server: &ServerReady, end_user_id: Option<&str>) -> anyhow::Result<Read> {
    let mut command = reader(binaries, server, "year-list");
    if let Some(end_user_id) = end_user_id {
        command.args(["--end-user-id", end_user_id]);
    }
    measure(&mut command)
}

fn reader(binaries: &Binaries, server: &ServerReady, what: &str) -> Command {
    let mut command = program(binaries.path("xtask-load"));
    command.args([what, "--server", &server.http]).env("QUOTASTACK_API_KEY", &server.live_key);
    command.env("DATABASE_URL", &server.database_url);
    command
}
