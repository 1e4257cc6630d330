//! One Postgres process: our child, or one that a killed server left behind.
//!
//! Signals: SIGINT is Postgres's fast shutdown (open transactions are rolled back, a checkpoint is written), SIGQUIT
//! its immediate one (the next start recovers). Dropping a [`Postmaster`] asks for a fast shutdown without waiting, so
//! that no path loses a running Postgres.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use super::Error;
use super::process::{is_postgres_of, recorded_pid};

/// A fast shutdown writes a checkpoint, which takes its time on slow disks.
const FAST_STOP_MAX: Duration = Duration::from_secs(60);
const IMMEDIATE_STOP_MAX: Duration = Duration::from_secs(10);
/// How soon the end of a process that is not our child is seen.
const FOREIGN_POLL: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Postmaster {
    pid: Pid,
    data: PathBuf,
    /// None for one that was adopted.
    child: Option<Child>,
    ended: bool,
}

impl Postmaster {
    pub(super) fn of_child(child: Child, data: PathBuf) -> Self {
        let raw =
            child.id().and_then(|id| i32::try_from(id).ok()).expect("a child that was just spawned has a process id");
        Self { pid: Pid::from_raw(raw).expect("process ids are positive"), data, child: Some(child), ended: false }
    }

    /// The living Postgres that `postmaster.pid` names, if it does.
    pub(super) fn left_behind(data: &Path) -> Option<Self> {
        let pid = recorded_pid(data).filter(|pid| is_postgres_of(*pid, data))?;
        Some(Self { pid, data: data.to_owned(), child: None, ended: false })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Returns when the process has ended. Cancelling it loses nothing.
    pub(super) async fn ended(&mut self) {
        match &mut self.child {
            Some(child) => {
                // An error means that somebody else reaped it: it has ended just the same.
                let _ = child.wait().await;
            }
            None => {
                while is_postgres_of(self.pid, &self.data) {
                    tokio::time::sleep(FOREIGN_POLL).await;
                }
            }
        }
        self.ended = true;
    }

    /// Shuts Postgres down and waits for its end.
    pub(super) async fn stop(&mut self) -> Result<(), Error> {
        for (signal, wait) in [(Signal::INT, FAST_STOP_MAX), (Signal::QUIT, IMMEDIATE_STOP_MAX)] {
            self.send(signal);
            if tokio::time::timeout(wait, self.ended()).await.is_ok() {
                return Ok(());
            }
            tracing::warn!(pid = self.pid(), ?signal, "Postgres does not end");
        }
        Err(Error::StillRunning { pid: self.pid() })
    }

    fn send(&self, signal: Signal) {
        let is_ours = self.child.is_some() || is_postgres_of(self.pid, &self.data);
        if !self.ended && is_ours {
            // The only possible answers are "no such process", which is what we want, and "not allowed", which the wait
            // will show.
            let _ = kill_process(self.pid, signal);
        }
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        self.send(Signal::INT);
    }
}
