//! What a fresh machine lacks. Each `ensure_*` does nothing when the thing is there, says what it installs when it is
//! not, and fails with a sentence that says what to do by hand.
//!
//! - [`rust`]: the wasm target, clippy, rustfmt; cargo-deny
//! - [`node`]: whether Node is there and new enough
//! - [`postgres`]: the server's programs
//!
//! Our own copies lie under `target/tools`, nothing else of the machine is touched except by `apt-get` as root.

pub(crate) mod node;
pub(crate) mod postgres;
pub(crate) mod rust;

use std::path::PathBuf;

use crate::paths;

/// Where our own copies of tools lie.
pub(crate) fn dir() -> PathBuf {
    paths::target().join("tools")
}

/// The programs among them.
pub(crate) fn bin() -> PathBuf {
    dir().join("bin")
}
