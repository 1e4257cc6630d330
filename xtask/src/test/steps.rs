//! The steps of `cargo xtask test`, cheap ones first.

use super::live;
use crate::command::{cargo, run};
use crate::{tidy, tools};

/// One step.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) run: fn() -> anyhow::Result<()>,
}

/// All of them, in order.
pub(crate) const STEPS: [Step; 9] = [
    Step { name: "install", what: "what this machine lacks", run: install },
    Step { name: "fmt", what: "the code is formatted", run: fmt },
    Step { name: "tidy", what: "layers, file lengths, the contract's coverage", run: tidy::run },
    Step { name: "deny", what: "licences, sources and banned crates", run: deny },
    Step { name: "clippy", what: "no warning", run: clippy },
    Step { name: "rust", what: "tests of all crates, against a real Postgres", run: rust },
    Step { name: "doc", what: "examples in the documentation of the code", run: doc },
    Step { name: "wasm", what: "the npm package in its runtimes, against a real server", run: live::wasm },
    Step {
        name: "demo",
        what: "both quick starts through a sidecar; the latencies are a debug build's",
        run: live::demo,
    },
];

fn install() -> anyhow::Result<()> {
    tools::rust::ensure_wasm_target()?;
    tools::rust::ensure_lints()?;
    tools::node::ensure()?;
    tools::postgres::ensure()?;
    tools::rust::ensure_deny()
}

fn fmt() -> anyhow::Result<()> {
    run(cargo().args(["fmt", "--all", "--", "--check"]))
}

fn deny() -> anyhow::Result<()> {
    run(cargo().args(["deny", "--log-level", "warn", "check", "bans", "licenses", "sources"]))
}

fn clippy() -> anyhow::Result<()> {
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn rust() -> anyhow::Result<()> {
    if tools::rust::has_nextest() {
        return run(cargo().args(["nextest", "run", "--workspace"]));
    }
    println!("cargo-nextest is not installed; `cargo test` runs the same tests, slower.");
    run(cargo().args(["test", "--workspace", "--all-targets"]))
}

fn doc() -> anyhow::Result<()> {
    // Not `--doc`: it leaves out packages without a library, so that dependencies lose features and are built again.
    // After the `--`, because a name before it leaves out all documentation.
    // Only examples in documentation have names such as `src/lib.rs - Client (line 3)`.
    run(cargo().args(["test", "--workspace", "--quiet", "--", " - "]))
}
