//! Wakes a writer's thread: there is work, or it is over.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

#[derive(Debug, Default)]
struct Flags {
    work: bool,
    stop: bool,
}

/// Set by many, waited for by one.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    flags: Mutex<Flags>,
    changed: Condvar,
}

/// Why a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// There may be work.
    Work,
    /// The deadline came first.
    Deadline,
    /// No more work will come: do what is left, and end.
    Stop,
}

impl Signal {
    /// There is work.
    pub(crate) fn set(&self) {
        self.flags.lock().work = true;
        self.changed.notify_one();
    }

    /// There will be none after what is there now.
    pub(crate) fn stop(&self) {
        self.flags.lock().stop = true;
        self.changed.notify_one();
    }

    /// Waits for work, a stop, or `deadline`.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Woken {
        let mut flags = self.flags.lock();
        loop {
            if flags.stop {
                return Woken::Stop;
            }
            if std::mem::take(&mut flags.work) {
                return Woken::Work;
            }
            match deadline {
                Some(deadline) => {
                    if self.changed.wait_until(&mut flags, deadline).timed_out() && !flags.work && !flags.stop {
                        return Woken::Deadline;
                    }
                }
                None => self.changed.wait(&mut flags),
            }
        }
    }
}
