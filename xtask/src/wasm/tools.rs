//! Command-line tools that the package needs, fetched once into `target/tools`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::command::{cargo, program, run};
use crate::paths;

const BINARYEN: &str = "binaryen@132.0.0";

/// The wasm-bindgen CLI of exactly the version in Cargo.lock: another one refuses the module.
pub(super) fn wasm_bindgen() -> anyhow::Result<PathBuf> {
    let version = locked_version("wasm-bindgen")?;
    let root = paths::target().join("tools");
    let tool = root.join("bin/wasm-bindgen");
    let installed = program(&tool).arg("--version").output();
    if !installed
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim() == format!("wasm-bindgen {version}"))
    {
        println!("installing wasm-bindgen-cli {version} (once, some minutes)");
        run(cargo()
            .args(["install", "wasm-bindgen-cli", "--quiet", "--force", "--version", &version, "--root"])
            .arg(&root))?;
    }
    Ok(tool)
}

/// wasm-opt, as a Node program.
pub(super) fn wasm_opt() -> anyhow::Result<Command> {
    let mut command = program("node");
    command.arg(npm_tool(BINARYEN)?.join("binaryen/bin/wasm-opt"));
    Ok(command)
}

/// The `node_modules` with an npm package of exactly this version.
pub(super) fn npm_tool(package: &str) -> anyhow::Result<PathBuf> {
    let folder = paths::target().join("tools").join(package.replace(['/', '@'], "_"));
    let done = folder.join("installed");
    if !done.exists() {
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("package.json"), "{\"private\":true}")?;
        run(program("npm").current_dir(&folder).args([
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            package,
        ]))?;
        fs::write(done, "")?;
    }
    Ok(folder.join("node_modules"))
}

fn locked_version(package: &str) -> anyhow::Result<String> {
    let lock = fs::read_to_string(paths::root().join("Cargo.lock")).context("reading Cargo.lock")?;
    let mut lines = lock.lines().skip_while(|line| *line != format!("name = \"{package}\""));
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    Ok(version.with_context(|| format!("Cargo.lock has no {package}"))?.to_owned())
}
