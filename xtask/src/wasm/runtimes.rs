//! The packed tarball in empty folders: Node, workerd, and the TypeScript compiler. The server is somebody else's.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::bail;

use super::{copy_files, tools};
use crate::command::{cargo, program, run};
use crate::paths;

const TYPESCRIPT: &str = "typescript@7.0.2";
const WORKERD_VERSION: &str = "1.20261117.1";

/// Runs sdk-wasm/tests in each runtime.
pub(crate) fn test(tarball: &Path, url: &str, key: &str) -> anyhow::Result<()> {
    let types = install(tarball, "types")?;
    run(program("node")
        .current_dir(&types)
        .arg(tools::npm_tool(TYPESCRIPT)?.join("typescript/bin/tsc"))
        .args(["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "types.ts"]))?;
    let node = install(tarball, "node")?;
    run(program("node")
        .current_dir(&node)
        .args(["--test", "node.test.mjs"])
        .env("QUOTASTACK_URL", url)
        .env("QUOTASTACK_KEY", key))?;
    run(program("node").current_dir(&node).args(["--test", "parity.test.mjs"]).env("PARITY_CASES", parity_cases()?))?;
    let worker = install(tarball, "workerd")?;
    run(program("node")
        .current_dir(&worker)
        .args(["--test", "workerd.test.mjs"])
        .env("WORKERD", workerd()?)
        .env("QUOTASTACK_URL", url)
        .env("QUOTASTACK_KEY", key))
}

/// Cases with the server's answers, which a test of core writes.
fn parity_cases() -> anyhow::Result<PathBuf> {
    let cases = paths::target().join("wasm-tests/parity.json");
    let test = "parity::the_cases_are_written_down";
    run(cargo()
        .args(["test", "--quiet", "--package", "quotastack-core", "--test", "it", "--", "--ignored", "--exact", test])
        .args(["--nocapture"])
        .env("PARITY_CASES", &cases))?;
    Ok(cases)
}

/// A fresh folder with nothing but the tests and the installed package.
fn install(tarball: &Path, runtime: &str) -> anyhow::Result<PathBuf> {
    let folder = paths::target().join("wasm-tests").join(runtime);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    copy_files(&paths::root().join("sdk-wasm/tests"), &folder)?;
    fs::write(folder.join("package.json"), "{\"private\":true,\"type\":\"module\"}")?;
    run(program("npm")
        .current_dir(&folder)
        .args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"])
        .arg(tarball))?;
    Ok(folder)
}

/// The binary itself: npm does not run the install script that would put it behind a wrapper.
fn workerd() -> anyhow::Result<PathBuf> {
    let platform = match (env::consts::OS, env::consts::ARCH) {
        ("linux", "x86_64") => "linux-64",
        ("linux", "aarch64") => "linux-arm64",
        ("macos", "x86_64") => "darwin-64",
        ("macos", "aarch64") => "darwin-arm64",
        (os, arch) => bail!("there is no workerd for {os} on {arch}"),
    };
    let package = format!("@cloudflare/workerd-{platform}");
    Ok(tools::npm_tool(&format!("{package}@{WORKERD_VERSION}"))?.join(package).join("bin/workerd"))
}
