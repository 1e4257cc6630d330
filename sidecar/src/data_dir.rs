//! The data directory: one process at a time, and an identity that lasts as long as the directory.
//!
//! The lock is the operating system's, on a file that is never removed: it goes with the process, however it ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use quotastack_core::ids::{SidecarId, uuid_v7};
use quotastack_core::time::Timestamp;

use crate::random::random;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("another sidecar is running on {0}; give each its own --data-dir")]
    InUse(PathBuf),
    /// The identity file holds something else.
    #[error("{0} does not hold a sidecar id; restore it, or start with an empty --data-dir")]
    NoIdentity(PathBuf),
    /// The file system refused.
    #[error("cannot use the data directory {path}: {source}")]
    Io {
        /// Which path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A directory that this process has to itself.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    sidecar_id: SidecarId,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it is missing, locks it and reads its identity, or mints one.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, DataDirError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::Io { path, source }
        };
        fs::create_dir_all(path).map_err(failed(path))?;
        let lock_path = path.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(&lock_path)(source)),
        }
        let sidecar_id = identity(path, now)?;
        Ok(Self { path: path.to_owned(), sidecar_id, _lock: lock })
    }

    /// A file of the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Minted once per directory.
    pub fn sidecar_id(&self) -> SidecarId {
        self.sidecar_id
    }
}

fn identity(dir: &Path, now: Timestamp) -> Result<SidecarId, DataDirError> {
    let path = dir.join("sidecar_id");
    let failed = |source| DataDirError::Io { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| DataDirError::NoIdentity(path.clone())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = SidecarId::from_uuid(uuid_v7(now, random(), None));
            // Renamed into place, so that a crash leaves the whole id or none.
            let unfinished = dir.join("sidecar_id.new");
            let mut file = File::create(&unfinished).map_err(failed)?;
            writeln!(file, "{id}").and_then(|()| file.sync_all()).map_err(failed)?;
            fs::rename(&unfinished, &path).map_err(failed)?;
            Ok(id)
        }
        Err(error) => Err(failed(error)),
    }
}
