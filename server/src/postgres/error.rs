//! What can go wrong with the embedded Postgres. Every message tells an operator what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// Why the embedded Postgres could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No installation of a usable version was found.
    #[error(
        "no usable Postgres found ({wanted}).\nLooked at:\n{looked_at}\n\
         Install one (Debian and Ubuntu: `apt-get install postgresql`; macOS: `brew install postgresql@17`), set \
         PG_BIN to the directory that holds `postgres` and `initdb`, or set DATABASE_URL to use a Postgres of your own"
    )]
    NoBinaries {
        /// The version that was looked for.
        wanted: String,
        /// One line per place, with the reason it did not fit.
        looked_at: String,
    },
    /// Another server process uses this directory.
    #[error(
        "{} is in use by another quotastack-server (process {holder}): stop that one or choose \
         another directory",
        .data_dir.display()
    )]
    InUse {
        /// The directory that is locked.
        data_dir: PathBuf,
        /// Process id written by the holder of the lock, as it stands in the lock file.
        holder: String,
    },
    /// The server runs as root and there is no unprivileged user for Postgres.
    #[error(
        "Postgres refuses to run as root and this machine has neither a user `postgres` nor `nobody`: create one, \
         or start the server as an ordinary user"
    )]
    NoOsUser,
    /// The cluster was put elsewhere and is no longer there.
    #[error(
        "{} says that the data are in {}, which does not exist: bring it back, or delete that file to begin with \
         an empty database",
        .file.display(), .target.display()
    )]
    Moved {
        /// The file that names the place.
        file: PathBuf,
        /// The place that is missing.
        target: PathBuf,
    },
    /// The user that runs Postgres cannot enter the directory, not even the one under `/var/lib`.
    #[error(
        "user `{user}`, which runs Postgres, cannot enter {}: allow it (`chmod o+x` on that directory and those \
         above it)",
        .path.display()
    )]
    Unreachable {
        /// Operating-system user name.
        user: String,
        /// The directory it cannot enter.
        path: PathBuf,
    },
    /// The short directory for the socket exists and belongs to somebody else.
    #[error(
        "{} is not a directory that only the user of Postgres can enter: remove it, or use a data directory with \
         a shorter path",
        .path.display()
    )]
    ForeignSocketDir {
        /// The directory.
        path: PathBuf,
    },
    /// `initdb` or the first set-up failed.
    #[error("creating the database cluster failed ({step}):\n{output}")]
    Init {
        /// The step that failed.
        step: &'static str,
        /// What the program wrote.
        output: String,
    },
    /// Postgres ended before it answered.
    #[error("Postgres ended while it was starting; its last words:\n{log}")]
    Exited {
        /// The end of each log file it may have written to.
        log: String,
    },
    /// Postgres runs but has not answered on its socket for too long.
    #[error("Postgres (process {pid}) has not answered on its socket for {waited_s} s")]
    Silent {
        /// Process id.
        pid: i32,
        /// How long it was waited for, in seconds.
        waited_s: u64,
    },
    /// Postgres did not end, not even after an immediate shutdown.
    #[error("Postgres (process {pid}) does not end")]
    StillRunning {
        /// Process id.
        pid: i32,
    },
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err` on file operations: `Error::io("create", &path)`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }
}
