//! Node, which runs the JavaScript tests and examples. Its packages are installed where they are used.

use anyhow::{Context, bail};

use crate::command::{output, program};

/// The oldest Node that is tested.
const MAJOR_MIN: u32 = 20;

/// Fails with what to do if `node` or `npm` is missing or too old.
pub(crate) fn ensure() -> anyhow::Result<()> {
    let version = output(program("node").arg("--version"))
        .with_context(|| format!("install Node {MAJOR_MIN} or newer (Debian: apt-get install nodejs npm)"))?;
    output(program("npm").arg("--version")).context("install npm (Debian: apt-get install npm)")?;
    match major(&version) {
        Some(major) if major >= MAJOR_MIN => Ok(()),
        _ => bail!("`node` is {}: install Node {MAJOR_MIN} or newer, or put it first on PATH", version.trim()),
    }
}

fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("node"), None);
    }
}
