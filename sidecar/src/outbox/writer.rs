//! The outbox's only writer. While one commit is under way, what is admitted meanwhile gathers for the next: a busy
//! sidecar makes bigger commits, not more of them.

use std::time::Instant;

use metrics::histogram;
use quotastack_core::sync::record::OutboxWrite;

use crate::engine::Engine;
use crate::metrics::{COMMIT_EVENTS, COMMIT_SECONDS};
use crate::outbox::OutboxStore;
use crate::signal::Woken;

/// Commits until the signal says stop, or a commit fails: then it is not known what is on disk, nothing more is
/// acknowledged, and only opening the file again will tell.
pub(crate) fn run(engine: &Engine, store: &OutboxStore) {
    loop {
        let woken = engine.outbox_signal.wait(None);
        if let Err(error) = commit_all(engine, store) {
            engine.fail(format!("the outbox cannot be written: {error}"));
            return;
        }
        if woken == Woken::Stop {
            return;
        }
    }
}

fn commit_all(engine: &Engine, store: &OutboxStore) -> Result<(), redb::Error> {
    loop {
        let Some((ticket, writes)) = engine.lock().machine.take_outbox_writes() else { return Ok(()) };
        let begun = Instant::now();
        store.commit(&writes)?;
        histogram!(COMMIT_SECONDS).record(begun.elapsed());
        let puts = writes.iter().filter(|write| matches!(write, OutboxWrite::Put(_))).count();
        histogram!(COMMIT_EVENTS).record(u32::try_from(puts).unwrap_or(u32::MAX));
        engine.lock().machine.outbox_committed(ticket);
        engine.committed.send_replace(ticket);
        engine.batches_due.notify_one();
        // Some changes of the replica may only be stored after these.
        engine.replica_signal.set();
    }
}
