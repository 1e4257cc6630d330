//! Parts of the toolchain, and programs that cargo builds.

use std::path::Path;

use anyhow::Context;

use super::{bin, dir};
use crate::command::{cargo, output, program, run, succeeds};

const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// The standard library for WebAssembly.
pub(crate) fn ensure_wasm_target() -> anyhow::Result<()> {
    let sysroot = output(program("rustc").args(["--print", "sysroot"]))?;
    if Path::new(sysroot.trim()).join("lib/rustlib").join(WASM_TARGET).exists() {
        return Ok(());
    }
    println!("The Rust target {WASM_TARGET} is missing: adding it.");
    run(program("rustup").args(["target", "add", WASM_TARGET]))
        .context("install the target by hand: without rustup it is in a package such as libstd-rust-dev-wasm32")
}

/// clippy and rustfmt.
pub(crate) fn ensure_lints() -> anyhow::Result<()> {
    if succeeds(cargo().args(["clippy", "--version"])) && succeeds(cargo().args(["fmt", "--version"])) {
        return Ok(());
    }
    println!("clippy or rustfmt is missing: adding them.");
    run(program("rustup").args(["component", "add", "clippy", "rustfmt"]))
        .context("install them by hand: without rustup they are packages such as rust-clippy and rustfmt")
}

/// Whether `cargo nextest` is installed. It is not worth its own build on a machine that lacks it: `cargo test` runs
/// the same tests.
pub(crate) fn has_nextest() -> bool {
    succeeds(cargo().args(["nextest", "--version"]))
}

/// cargo-deny, built into our own directory.
pub(crate) fn ensure_deny() -> anyhow::Result<()> {
    if succeeds(cargo().args(["deny", "--version"])) {
        return Ok(());
    }
    println!("cargo-deny is missing: building it, which takes some minutes, once.");
    let mut install = cargo();
    // Not --locked: a lock file may name versions that were withdrawn since.
    install.args(["install", "--quiet", "cargo-deny", "--root"]).arg(dir());
    install.arg("--target-dir").arg(dir().join("build"));
    run(&mut install).with_context(|| format!("cargo-deny could not be put into {}", bin().display()))
}
