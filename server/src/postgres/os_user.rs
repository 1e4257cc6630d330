//! The operating-system user Postgres runs as.
//!
//! Postgres refuses root. Started by an ordinary user it runs as that user; started by root it runs as the owner of the
//! existing cluster, else as `postgres`, else as `nobody`. Every program of Postgres is run through
//! [`OsUser::command`], so that files inside the cluster are only ever written by that user.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Error;

const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

#[derive(Debug, Clone)]
pub(super) struct OsUser {
    pub(super) name: String,
    pub(super) uid: u32,
    gid: u32,
    /// This process is root and must change to that user.
    change: bool,
}

impl OsUser {
    /// The user for the cluster in `cluster_dir`, which need not exist yet.
    pub(super) fn choose(cluster_dir: &Path) -> Result<Self, Error> {
        let euid = rustix::process::geteuid();
        if !euid.is_root() {
            let gid = rustix::process::getegid().as_raw();
            return Ok(Self { name: format!("uid {}", euid.as_raw()), uid: euid.as_raw(), gid, change: false });
        }
        if let Ok(owner) = fs::metadata(cluster_dir)
            && owner.uid() != 0
        {
            return Ok(Self { name: format!("uid {}", owner.uid()), uid: owner.uid(), gid: owner.gid(), change: true });
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        CANDIDATES.iter().find_map(|name| in_passwd(&passwd, name)).ok_or(Error::NoOsUser)
    }

    /// A command that runs as this user, away from any directory it may not enter and without the caller's Postgres
    /// settings.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
        if self.change {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Whether this user can enter `dir`. It is tried rather than computed: access lists and security modules count
    /// too.
    pub(super) fn can_enter(&self, dir: &Path) -> bool {
        if !self.change {
            return true;
        }
        let mut shell = self.command(Path::new("/bin/sh"));
        shell.args(["-c", r#"cd -- "$0""#]).arg(dir).stdout(Stdio::null()).stderr(Stdio::null());
        shell.status().is_ok_and(|status| status.success())
    }

    /// Creates `dir` for this user alone, or leaves an existing one as it is.
    pub(super) fn create_private_dir(&self, dir: &Path) -> Result<(), Error> {
        use std::os::unix::fs::DirBuilderExt;
        match fs::DirBuilder::new().mode(0o700).create(dir) {
            Err(exists) if exists.kind() == std::io::ErrorKind::AlreadyExists => {}
            created => created.map_err(Error::io("create", dir))?,
        }
        let still_of_root = fs::symlink_metadata(dir).is_ok_and(|found| found.uid() == 0);
        if self.change && still_of_root {
            // Not `chown`: the parent may belong to that user, who must not be able to point root elsewhere.
            lchown(dir, Some(self.uid), Some(self.gid)).map_err(Error::io("change the owner of", dir))?;
        }
        Ok(())
    }
}

fn in_passwd(passwd: &str, wanted: &str) -> Option<OsUser> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| *name == wanted)?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(OsUser { name: name.to_owned(), uid, gid, change: true })
    })
}

#[cfg(test)]
mod tests {
    use super::in_passwd;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres2:x:7:8::/:/bin/sh\npostgres:x:101:104:,,,:/:/bin/sh\n";
        let user = in_passwd(passwd, "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert!(in_passwd(passwd, "nobody").is_none());
    }
}
