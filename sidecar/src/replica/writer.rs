//! The replica's only writer. Its commits are cheap ones that a crash undoes; at least every second one is durable.

use std::time::{Duration, Instant};

use quotastack_core::sync::machine::ReplicaWrites;
use quotastack_core::wire::Mode;

use crate::engine::Engine;
use crate::replica::store::ReplicaWrite;
use crate::signal::Woken;

/// Long chains of commits that are not durable make the file grow.
const DURABLE_INTERVAL: Duration = Duration::from_secs(1);
/// Changes gather for this long: checks read memory, so the file may be a little behind.
const GATHER: Duration = Duration::from_millis(20);

/// Stores until the signal says stop, or the disk fails.
pub(crate) fn run(engine: &Engine) {
    if let Err(error) = store_until_stopped(engine) {
        engine.fail(format!("the replica cannot be written: {error}"));
    }
}

fn store_until_stopped(engine: &Engine) -> Result<(), redb::Error> {
    // When the oldest commit that is not durable must become so.
    let mut durable_due: Option<Instant> = None;
    let mut generation = 0;
    loop {
        let woken = engine.replica_signal.wait(durable_due);
        if woken == Woken::Work {
            std::thread::sleep(GATHER);
        }
        let writes = engine.lock().machine.take_replica_writes();
        // A catalogue is rare, and without one a restart cannot answer anything.
        let has_catalogue = writes.as_ref().is_some_and(|writes| writes.catalogue.is_some());
        let is_due = durable_due.is_some_and(|due| due <= Instant::now());
        let durable = woken == Woken::Stop || has_catalogue || is_due;
        if let Some(writes) = &writes {
            generation = writes.generation;
            store(engine, writes, durable)?;
        } else if durable && durable_due.is_some() {
            engine.store.commit(&[], true)?;
        } else if woken == Woken::Stop {
            // The next start goes on from here, even if the server is not heard of until then.
            let mark: Vec<_> = engine.clock.mark().map(ReplicaWrite::Clock).into_iter().collect();
            engine.store.commit(&mark, true)?;
        } else {
            continue;
        }
        engine.lock().machine.replica_committed(generation, durable);
        engine.changed.notify_waiters();
        durable_due = match durable {
            true => None,
            false => durable_due.or(Some(Instant::now() + DURABLE_INTERVAL)),
        };
        if woken == Woken::Stop {
            return Ok(());
        }
    }
}

fn store(engine: &Engine, writes: &ReplicaWrites, durable: bool) -> Result<(), redb::Error> {
    let mut rows = Vec::with_capacity(writes.accounts.len() + 3);
    if writes.reset {
        rows.push(ReplicaWrite::Clear);
    }
    rows.extend(writes.accounts.iter().map(|(id, state)| match state {
        Some(state) => ReplicaWrite::State(state),
        None => ReplicaWrite::Remove(id),
    }));
    rows.extend(writes.catalogue.as_deref().map(ReplicaWrite::Catalogue));
    rows.push(ReplicaWrite::Meta(&writes.meta));
    rows.extend(engine.clock.mark().map(ReplicaWrite::Clock));
    engine.store.commit(&rows, durable)?;

    if engine.mode == Mode::OnDemand {
        let mut stored = engine.stored.lock();
        if writes.reset {
            stored.clear();
        }
        for (id, state) in &writes.accounts {
            if state.is_some() {
                stored.insert(id.clone());
            } else {
                stored.remove(id);
            }
        }
    }
    Ok(())
}
