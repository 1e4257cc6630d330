//! Which programs to run, and how they are built.

use std::path::PathBuf;

use crate::command::{cargo, run};
use crate::paths;

/// What runs in the demo and the benchmarks. One list for both: with other packages the dependencies have other
/// features, and are built again.
const RELEASE_PACKAGES: [&str; 4] = ["quotastack-server", "quotastack-sidecar", "quickstart-rust", "xtask-load"];

/// Programs that were built.
pub(crate) struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// The programs of the tests. All targets of all packages, because that is what the tests have built already: any
    /// other choice has other features in the dependencies and builds those again.
    pub(crate) fn dev() -> anyhow::Result<Self> {
        run(cargo().args(["build", "--workspace", "--all-targets"]))?;
        Ok(Self { dir: paths::target().join("debug") })
    }

    /// The same programs for numbers, and only them.
    pub(crate) fn release() -> anyhow::Result<Self> {
        let mut build = cargo();
        build.args(["build", "--release"]);
        for package in RELEASE_PACKAGES {
            build.args(["--package", package]);
        }
        run(&mut build)?;
        Ok(Self { dir: paths::target().join("release") })
    }

    /// The path of a program.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}
