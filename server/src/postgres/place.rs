//! Where a private cluster lies, and the lock that makes one server its owner.
//!
//! ```text
//! <base>/lock          held by the server process (flock), says its process id
//! <base>/startup.log   what Postgres wrote before its own log was open
//! <base>/location      instead of the rest: the base is elsewhere (see `base_for`)
//! <base>/cluster/      0700, of the user of Postgres: data/ log/ run/ (the socket)
//! ```
//! The server writes beside `cluster/`, Postgres inside: a server that runs as root never writes where
//! an unprivileged user could lead it astray.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Error;
use super::os_user::OsUser;

/// A socket's path ends at 107 bytes on Linux and at 103 on macOS.
const SOCKET_PATH_BYTES_MAX: usize = 103;
/// Postgres names its socket after its port.
const SOCKET_NAME: &str = ".s.PGSQL.5432";
/// Where clusters lie whose directory the user of Postgres cannot reach.
const SYSTEM_DIR: &str = "/var/lib/quotastack";
/// Where sockets lie whose own directory cannot hold them. Not `TMPDIR`: the next start must find the same place.
const SHORT_DIR: &str = "/tmp";

#[derive(Debug)]
pub(super) struct Place {
    base: PathBuf,
    pub(super) user: OsUser,
    /// Plain characters only.
    pub(super) socket_dir: PathBuf,
    /// Closed, and with it released, when the place is dropped.
    _lock: File,
}

impl Place {
    /// Creates the directories and takes the lock.
    pub(super) fn claim(data_dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(data_dir).map_err(Error::io("create", data_dir))?;
        let data_dir = fs::canonicalize(data_dir).map_err(Error::io("find", data_dir))?;
        let (base, user) = base_for(&data_dir)?;
        let lock = take_lock(&base)?;
        let cluster_dir = base.join("cluster");
        user.create_private_dir(&cluster_dir)?;
        let socket_dir = socket_dir(&cluster_dir, &user)?;
        Ok(Self { base, user, socket_dir, _lock: lock })
    }

    pub(super) fn cluster_dir(&self) -> PathBuf {
        self.base.join("cluster")
    }

    pub(super) fn data(&self) -> PathBuf {
        self.base.join("cluster/data")
    }

    pub(super) fn log_dir(&self) -> PathBuf {
        self.base.join("cluster/log")
    }

    pub(super) fn startup_log(&self) -> PathBuf {
        self.base.join("startup.log")
    }

    /// The lock file that Postgres keeps beside its socket.
    pub(super) fn socket_lock(&self) -> PathBuf {
        self.socket_dir.join(format!("{SOCKET_NAME}.lock"))
    }

    /// Major version of the existing data, if there are any.
    pub(super) fn existing_major(&self) -> Result<Option<u32>, Error> {
        let file = self.data().join("PG_VERSION");
        match fs::read_to_string(&file) {
            Ok(text) => {
                text.trim().parse().map(Some).map_err(|error| Error::io("read", &file)(std::io::Error::other(error)))
            }
            Err(missing) if missing.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &file)(error)),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.socket_dir.starts_with(&self.base) {
            // Succeeds only when it is empty, that is when Postgres has ended; the next start would reuse it anyway.
            let _ = fs::remove_dir(&self.socket_dir);
        }
    }
}

/// The data directory itself, or the place that its `location` file names. The file is written on first use when the
/// user of Postgres cannot reach the directory (root's home is closed to others).
fn base_for(data_dir: &Path) -> Result<(PathBuf, OsUser), Error> {
    let location = data_dir.join("location");
    match fs::read_to_string(&location) {
        Ok(text) => {
            let target = PathBuf::from(text.trim_end_matches('\n'));
            if !target.is_dir() {
                return Err(Error::Moved { file: location, target });
            }
            let user = OsUser::choose(&target.join("cluster"))?;
            return Ok((target, user));
        }
        Err(missing) if missing.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("read", &location)(error)),
    }
    let user = OsUser::choose(&data_dir.join("cluster"))?;
    if user.can_enter(data_dir) {
        return Ok((data_dir.to_owned(), user));
    }
    if data_dir.join("cluster").exists() {
        // Its data are here: going elsewhere would begin with an empty database.
        return Err(Error::Unreachable { user: user.name, path: data_dir.to_owned() });
    }
    let base = Path::new(SYSTEM_DIR).join(short_hash(data_dir));
    for dir in [Path::new(SYSTEM_DIR), &base] {
        fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        // Whatever the umask says: the user of Postgres passes through here.
        fs::set_permissions(dir, Permissions::from_mode(0o711)).map_err(Error::io("change the mode of", dir))?;
    }
    if !user.can_enter(&base) {
        return Err(Error::Unreachable { user: user.name, path: base });
    }
    let draft = data_dir.join("location.new");
    fs::write(&draft, format!("{}\n", base.display())).map_err(Error::io("write", &draft))?;
    fs::rename(&draft, &location).map_err(Error::io("write", &location))?;
    Ok((base, user))
}

fn take_lock(base: &Path) -> Result<File, Error> {
    let path = base.join("lock");
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .read(true)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
            return Err(Error::InUse { data_dir: base.to_owned(), holder });
        }
        Err(fs::TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(Error::io("write", &path))?;
    Ok(file)
}

/// `<cluster>/run`, or a short directory when the socket's path would be too long or not plain: Postgres and libpq take
/// a comma for the end of a path, and in a URL most characters would need an escape that not every client undoes.
fn socket_dir(cluster_dir: &Path, user: &OsUser) -> Result<PathBuf, Error> {
    let beside_data = cluster_dir.join("run");
    let fits = beside_data.join(SOCKET_NAME).as_os_str().len() <= SOCKET_PATH_BYTES_MAX;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-".contains(byte);
    let is_plain = beside_data.as_os_str().as_bytes().iter().all(plain);
    let dir = if fits && is_plain {
        beside_data
    } else {
        Path::new(SHORT_DIR).join(format!("quotastack-{}", short_hash(cluster_dir)))
    };
    user.create_private_dir(&dir)?;
    // Anybody may have created the name under /tmp before us.
    let found = fs::symlink_metadata(&dir).map_err(Error::io("look at", &dir))?;
    if !found.is_dir() || found.uid() != user.uid || found.mode() & 0o077 != 0 {
        return Err(Error::ForeignSocketDir { path: dir });
    }
    Ok(dir)
}

fn short_hash(path: &Path) -> String {
    blake3::hash(path.as_os_str().as_bytes()).to_hex()[..16].to_owned()
}
