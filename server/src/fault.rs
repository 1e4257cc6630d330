//! Named points around a commit at which a debug build can be made to die: what the crash tests walk.
//!
//! `QUOTASTACK_FAULT=after_load:3` ends the process with SIGKILL the third time it passes that point: nothing
//! unwinds, nothing is flushed, no connection is closed in order. With `QUOTASTACK_FAULT_VICTIM`, a file that holds a
//! process id, it is that process which dies instead, at every third time that there is such a file; the file is then
//! removed. A release build has no such points: [`reach`] is empty there. Source: docs/architecture.md, "How it is tested".

/// Declares the points and [`Point::ALL`], so that none can be forgotten there.
macro_rules! points {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A place in the code that a write passes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point {
            $($(#[$doc])* $name,)*
        }

        impl Point {
            /// All of them, in the order of the code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As it is written in `QUOTASTACK_FAULT`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

points! {
    /// A command waits; the transaction of its batch has not begun.
    BeforeBegin = "before_begin",
    /// Begin and lock were sent; their answer is not there.
    LockUnderway = "lock_underway",
    /// The lane is locked.
    AfterLock = "after_lock",
    /// What the commands need was read.
    AfterLoad = "after_load",
    /// The rules have decided.
    AfterDecide = "after_decide",
    /// The statement that writes it all was sent; its answer is not there.
    WriteUnderway = "write_underway",
    /// All is written; COMMIT is next.
    BeforeCommit = "before_commit",
    /// COMMIT was sent; its answer is not there.
    CommitUnderway = "commit_underway",
    /// It is committed; the feed does not know.
    AfterCommit = "after_commit",
    /// The feed knows; the callers have no answer.
    BeforeReply = "before_reply",
    /// The callers were answered; the answers may still be on their way.
    AfterReply = "after_reply",
    /// A change of the catalogue has locked its environment.
    CatalogueLocked = "catalogue_locked",
    /// The change was written.
    CatalogueChanged = "catalogue_changed",
    /// Its request was written; COMMIT is next.
    CatalogueBeforeCommit = "catalogue_before_commit",
    /// COMMIT was sent; its answer is not there.
    CatalogueCommitUnderway = "catalogue_commit_underway",
    /// It is committed; the caller has no answer.
    CatalogueAfterCommit = "catalogue_after_commit",
}

/// Passes a point.
#[cfg(debug_assertions)]
pub fn reach(point: Point) {
    armed::reach(point);
}

/// Passes a point: nothing at all in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn reach(_: Point) {}

/// Awaits `future`, and passes the point while its answer is outstanding.
#[cfg(debug_assertions)]
pub async fn underway<F: Future>(point: Point, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        let polled = future.as_mut().poll(context);
        if polled.is_pending() {
            reach(point);
        }
        polled
    })
    .await
}

/// Awaits `future`.
#[cfg(not(debug_assertions))]
pub async fn underway<F: Future>(_: Point, future: F) -> F::Output {
    future.await
}

/// What the environment asks for.
#[cfg(debug_assertions)]
mod armed {
    use std::path::PathBuf;
    use std::process;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Pid, Signal, getpid, kill_process};

    use super::Point;

    struct Fault {
        point: Point,
        every: u32,
        passed: AtomicU32,
        /// `None`: this process.
        victim: Option<PathBuf>,
    }

    pub(super) fn reach(point: Point) {
        static FAULT: OnceLock<Option<Fault>> = OnceLock::new();
        let Some(fault) = FAULT.get_or_init(from_environment).as_ref().filter(|fault| fault.point == point) else {
            return;
        };
        if (fault.passed.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(fault.every) {
            fault.strike();
        }
    }

    fn from_environment() -> Option<Fault> {
        let text = std::env::var("QUOTASTACK_FAULT").ok()?;
        let victim = std::env::var_os("QUOTASTACK_FAULT_VICTIM").map(PathBuf::from);
        let parsed = text.split_once(':').and_then(|(name, every)| {
            let point = Point::ALL.iter().copied().find(|point| point.name() == name)?;
            Some((point, every.parse().ok().filter(|every| *every > 0)?))
        });
        let Some((point, every)) = parsed else {
            // Whoever asks for a fault that there is not would wait for it in vain.
            eprintln!("quotastack-server: QUOTASTACK_FAULT={text}: write POINT:COUNT, such as after_load:3");
            process::abort();
        };
        Some(Fault { point, every, passed: AtomicU32::new(0), victim })
    }

    impl Fault {
        fn strike(&self) {
            let Some(file) = &self.victim else {
                let _ = kill_process(getpid(), Signal::KILL);
                // Never reached: the signal is delivered before the call returns.
                process::abort();
            };
            // No file: nobody is to die.
            let text = std::fs::read_to_string(file).unwrap_or_default();
            if let Some(pid) = text.parse().ok().and_then(Pid::from_raw) {
                let _ = std::fs::remove_file(file);
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}
