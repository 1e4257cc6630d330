//! Find a Postgres installation.
//!
//! Order: `PG_BIN`, the directories of `PATH`, then where packages put it, newest first. An existing cluster decides
//! the major version, because Postgres cannot open the data of another one. Each candidate is tried by running it as
//! the user that will run it later.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Error;
use super::os_user::OsUser;

/// The oldest major version the server is made for.
const MAJOR_MIN: u32 = 14;
/// `postgres --version` answers within milliseconds; a hanging one (a dead network mount) must not hang the start.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Parent directory, prefix of the version's directory, and where the programs lie inside it.
const PACKAGE_DIRS: [(&str, &str, &str); 4] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
];

#[derive(Debug)]
pub(super) struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// The first installation that can open a cluster of major version `existing`, or create a new one if there is none
    /// yet.
    pub(super) async fn find(user: &OsUser, existing: Option<u32>) -> Result<Self, Error> {
        let pg_bin = std::env::var_os("PG_BIN").filter(|dir| !dir.is_empty());
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self::first_fitting(candidates(pg_bin, &path), user, existing).await
    }

    async fn first_fitting(candidates: Vec<PathBuf>, user: &OsUser, existing: Option<u32>) -> Result<Self, Error> {
        let mut looked_at = String::new();
        for dir in candidates {
            let unfit = match major_of(&dir, user).await {
                Ok(major) if existing.map_or(major >= MAJOR_MIN, |wanted| major == wanted) => return Ok(Self { dir }),
                Ok(major) => format!("version {major}"),
                Err(reason) => reason,
            };
            looked_at.push_str(&format!("  {}: {unfit}\n", dir.display()));
        }
        if looked_at.is_empty() {
            looked_at.push_str("  PG_BIN, PATH and the usual package directories: nothing there\n");
        }
        let wanted = match existing {
            Some(major) => format!("version {major}, because the existing data were written by it"),
            None => format!("version {MAJOR_MIN} or newer"),
        };
        Err(Error::NoBinaries { wanted, looked_at })
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }
}

fn candidates(pg_bin: Option<OsString>, path: &OsStr) -> Vec<PathBuf> {
    let on_path = std::env::split_paths(path).filter(|dir| dir.is_absolute() && dir.join("postgres").exists());
    let mut found: Vec<PathBuf> = pg_bin.map(PathBuf::from).into_iter().chain(on_path).collect();
    for (parent, prefix, inside) in PACKAGE_DIRS {
        let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                Some((entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?, entry.path().join(inside)))
            })
            .collect();
        versions.sort_unstable_by(|a, b| b.cmp(a));
        found.extend(versions.into_iter().map(|(_, dir)| dir));
    }
    found
}

async fn major_of(dir: &Path, user: &OsUser) -> Result<u32, String> {
    if !dir.join("initdb").exists() {
        return Err("no `initdb` there".to_owned());
    }
    let mut command = tokio::process::Command::from(user.command(&dir.join("postgres")));
    command.arg("--version").kill_on_drop(true);
    let output = tokio::time::timeout(VERSION_TIMEOUT, command.output())
        .await
        .map_err(|_| "`postgres --version` does not answer".to_owned())?
        .map_err(|error| format!("`postgres` cannot be run by user `{}`: {error}", user.name))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_major(&text).ok_or_else(|| {
        format!("`postgres --version` says {:?} {}", text.trim(), String::from_utf8_lossy(&output.stderr).trim())
    })
}

/// `postgres (PostgreSQL) 17.6 (Debian 17.6-1)` is 17, `postgres (PostgreSQL) 18beta1` is 18.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split("(PostgreSQL) ").nth(1)?;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_releases_and_betas() {
        assert_eq!(parse_major("postgres (PostgreSQL) 17.6 (Debian 17.6-1)\n"), Some(17));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(parse_major("bash 5.2"), None);
    }

    #[test]
    fn pg_bin_goes_before_everything_else() {
        let found = candidates(Some("/elsewhere/bin".into()), OsStr::new("/nowhere:relative"));
        assert_eq!(found[0], Path::new("/elsewhere/bin"));
        assert!(!found.contains(&PathBuf::from("/nowhere")));
    }

    #[tokio::test]
    async fn without_an_installation_the_error_says_what_to_install() {
        let user = OsUser::choose(Path::new("/nonexistent")).unwrap();
        let error =
            Binaries::first_fitting(vec!["/elsewhere/bin".into()], &user, Some(12)).await.unwrap_err().to_string();
        for part in
            ["version 12", "/elsewhere/bin: no `initdb` there", "apt-get install postgresql", "PG_BIN", "DATABASE_URL"]
        {
            assert!(error.contains(part), "{part:?} is missing in {error}");
        }
    }
}
