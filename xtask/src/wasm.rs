//! `cargo xtask wasm`: the npm package of sdk-wasm, from Rust to a tarball.
//!
//! cargo -> wasm-bindgen (exactly the locked version) -> wasm-opt -> the hand-written facade beside it -> `npm pack`.
//! Tools are fetched once, into the target directory. With `--test`, the packed tarball is installed in empty folders
//! and run in each runtime against a server that runs already.

mod runtimes;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

pub(crate) use runtimes::test;

use crate::command::{cargo, program, run as run_program};
use crate::paths;

/// What to do after building.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Test the package in Node, workerd and the TypeScript compiler, against the server of --url.
    #[arg(long, requires_all = ["url", "key"])]
    test: bool,
    /// A running server or sidecar.
    #[arg(long, env = "QUOTASTACK_URL")]
    url: Option<String>,
    /// A key of it with the scope `full`, best of the sandbox: the clock is tested there.
    #[arg(long, env = "QUOTASTACK_KEY", hide_env_values = true)]
    key: Option<String>,
}

/// Builds the package and tests it if asked to.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let tarball = build()?;
    if let (true, Some(url), Some(key)) = (args.test, &args.url, &args.key) {
        test(&tarball, url, key)?;
    }
    Ok(())
}

/// Builds the package; the path of its tarball, whose name never changes, so that examples can depend on it.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let package = paths::root().join("sdk-wasm/pkg");
    if package.exists() {
        fs::remove_dir_all(&package)?;
    }
    copy_files(&paths::root().join("sdk-wasm/js"), &package)?;
    run_program(
        cargo()
            .args(["build", "--quiet", "--package", "quotastack-wasm", "--lib", "--profile", "wasm"])
            .args(["--target", "wasm32-unknown-unknown"]),
    )?;
    run_program(
        program(tools::wasm_bindgen()?)
            .args(["--target", "web", "--no-typescript", "--out-dir"])
            .arg(&package)
            .arg(paths::target().join("wasm32-unknown-unknown/wasm/quotastack_wasm.wasm")),
    )?;
    let module = package.join("quotastack_wasm_bg.wasm");
    // Features come from the module's own list: naming more would make a module that workerd refuses.
    run_program(tools::wasm_opt()?.arg("-Oz").arg(&module).arg("-o").arg(&module))?;
    let tarball = pack(&package)?;
    println!("{}: {} bytes; the module in it: {} bytes", tarball.display(), size(&tarball)?, size(&module)?);
    Ok(tarball)
}

fn pack(package: &Path) -> anyhow::Result<PathBuf> {
    run_program(program("npm").current_dir(package).args(["pack", "--silent", "--pack-destination", ".."]))?;
    let packed = paths::root().join(format!("sdk-wasm/quotastack-{}.tgz", env!("CARGO_PKG_VERSION")));
    let tarball = paths::root().join("sdk-wasm/quotastack.tgz");
    fs::rename(&packed, &tarball).with_context(|| format!("npm pack left no {}", packed.display()))?;
    Ok(tarball)
}

fn size(path: &Path) -> anyhow::Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len())
}

/// Copies the files of one folder into another, which it creates.
fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
