//! What was measured is kept as JSON under the target directory, with the machine.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::{Value, json};

use super::machine::Machine;
use crate::paths;

/// Keeps it, and says where. `name` tells one benchmark's files from another's.
pub(super) fn keep(name: &str, machine: &Machine, measured: &Value) -> anyhow::Result<()> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let dir = paths::target().join("bench");
    std::fs::create_dir_all(&dir)?;
    let file = dir.join(format!("{seconds}{name}.json"));
    let mut document = json!({ "taken_at_unix": seconds, "machine": machine });
    let members = measured.as_object().context("what was measured has names")?;
    document.as_object_mut().expect("it was made as one").extend(members.clone());
    std::fs::write(&file, serde_json::to_string_pretty(&document)?)
        .with_context(|| format!("writing {}", file.display()))?;
    println!("\nAll of it: {}", file.display());
    Ok(())
}
