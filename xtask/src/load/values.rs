//! What is measured, and how it is read off the load client.

use std::process::Command;

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::command::output;

/// Latencies of answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Latencies {
    pub(crate) count: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) max_ns: u64,
}

/// Checks in a closed loop.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Checks {
    #[serde(flatten)]
    pub(crate) latencies: Latencies,
    pub(crate) requests_per_second: u64,
}

/// Events in how long.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Rate {
    pub(crate) events: u64,
    pub(crate) elapsed_ns: u64,
    pub(crate) events_per_second: u64,
}

/// Runs the load client, which answers with one line.
pub(super) fn measure<Measured: DeserializeOwned>(command: &mut Command) -> anyhow::Result<Measured> {
    let line = output(command)?;
    serde_json::from_str(&line).with_context(|| format!("xtask-load answered {line}"))
}
