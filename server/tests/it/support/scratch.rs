//! Temporary directories for servers under test.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

/// A directory that is removed when dropped. Other users may pass through it: with a closed one, a server that runs as
/// root puts its cluster under `/var/lib`, where nobody would clean up.
pub(crate) fn scratch_dir() -> TempDir {
    let dir =
        tempfile::Builder::new().prefix("quotastack-test-").tempdir().expect("the temporary directory is writable");
    set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("a directory we created can be changed");
    dir
}
