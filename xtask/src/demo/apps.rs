//! The two quick starts, run as anybody would run them: two variables in the environment and nothing else.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::command::{program, run};
use crate::stack::{Binaries, Stack};
use crate::{paths, wasm};

/// The quick starts, ready to run.
pub(crate) struct Apps {
    js: PathBuf,
}

impl Apps {
    /// What each of them records.
    pub(crate) const UNITS: i64 = 1;

    /// Builds the npm package and installs it for the JavaScript app. The Rust app is among the binaries.
    pub(crate) fn prepare() -> anyhow::Result<Self> {
        wasm::build()?;
        let js = paths::root().join("examples/quickstart-js");
        // npm keeps an installed tarball of the same name and version, also when its contents are others.
        let installed = js.join("node_modules");
        if installed.exists() {
            fs::remove_dir_all(installed)?;
        }
        let mut install = program("npm");
        install.args(["install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"]).current_dir(&js);
        run(&mut install)?;
        Ok(Self { js })
    }

    pub(crate) fn rust(&self, binaries: &Binaries, stack: &Stack) -> anyhow::Result<()> {
        println!("\n--- examples/quickstart-rust");
        through_sidecar(program(binaries.path("quickstart-rust")), stack)
    }

    pub(crate) fn js(&self, stack: &Stack) -> anyhow::Result<()> {
        println!("\n--- examples/quickstart-js");
        let mut app = program("node");
        app.arg("index.mjs").current_dir(&self.js);
        through_sidecar(app, stack)
    }
}

fn through_sidecar(mut app: Command, stack: &Stack) -> anyhow::Result<()> {
    run(app.env("QUOTASTACK_URL", &stack.sidecar.http).env("QUOTASTACK_API_KEY", &stack.server.live_key))
}
