//! Whether a process id belongs to the Postgres of a data directory.
//!
//! Ids are reused: the number in a `postmaster.pid` that survived a crash may by now be any process, or a Postgres of
//! somebody else. A process that has ended but was not reaped yet (no init in the container) counts as ended.

use std::fs;
use std::path::Path;

use rustix::process::Pid;

/// The process in the first line of `postmaster.pid`, whatever it is now.
pub(super) fn recorded_pid(data: &Path) -> Option<Pid> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
}

/// Whether `pid` is a living Postgres that works on `data`.
#[cfg(target_os = "linux")]
pub(super) fn is_postgres_of(pid: Pid, data: &Path) -> bool {
    let proc = std::path::PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let Ok(stat) = fs::read_to_string(proc.join("stat")) else { return false };
    let Some((name, after)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") ")) else { return false };
    if !name.starts_with("post") || after.starts_with(['Z', 'X']) {
        return false;
    }
    match fs::read_link(proc.join("cwd")) {
        Ok(cwd) => cwd == data,
        // Root in a container may not look there; the arguments are open to all.
        Err(_) => names(&fs::read(proc.join("cmdline")).unwrap_or_default(), data),
    }
}

/// Whether `pid` is a living Postgres that works on `data`.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_postgres_of(pid: Pid, data: &Path) -> bool {
    let pid = pid.as_raw_nonzero().to_string();
    let Ok(ps) = std::process::Command::new("ps").args(["-ww", "-o", "stat=,command=", "-p", &pid]).output() else {
        return false;
    };
    !ps.stdout.trim_ascii_start().starts_with(b"Z") && names(&ps.stdout, data)
}

fn names(arguments: &[u8], data: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let data = data.as_os_str().as_bytes();
    arguments.windows(data.len()).any(|part| part == data)
}
