//! Which programs to run, and how they are built.

use std::path::PathBuf;

use crate::command::{cargo, run};
use crate::paths;

/// How the programs are built.
#[derive(Clone, Copy)]
pub enum Profile {
    /// With the tests: nothing is built twice.
    Dev,
    /// For numbers.
    Release,
}

/// Programs that were built.
pub struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// Builds the given packages.
    pub fn build(profile: Profile, packages: &[&str]) -> anyhow::Result<Self> {
        let mut build = cargo();
        build.arg("build");
        let dir = match profile {
            Profile::Dev => "debug",
            Profile::Release => {
                build.arg("--release");
                "release"
            }
        };
        for package in packages {
            build.args(["--package", package]);
        }
        run(&mut build)?;
        Ok(Self { dir: paths::target().join(dir) })
    }

    /// The path of a program.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}
