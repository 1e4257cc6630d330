//! Which programs to run, and how they are built.

use std::path::PathBuf;

use crate::command::{cargo, run};
use crate::paths;

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

    /// The programs of some packages, for numbers.
    pub(crate) fn release(packages: &[&str]) -> anyhow::Result<Self> {
        let mut build = cargo();
        build.args(["build", "--release"]);
        for package in packages {
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
