//! A replica on demand follows a bounded number of accounts: the least recently used ones are forgotten, but never
//! one with pending usage.

use std::time::Duration;

use quotastack_core::ids::EndUserId;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;

const INTERVAL: Duration = Duration::from_secs(1);
/// Beyond the excess this share of the bound goes too, so that not every new account costs a search.
const SLACK_SHARE: usize = 16;

/// Looks once a second whether there are too many.
pub(crate) async fn run(engine: &Engine, stop: CancellationToken) {
    let mut tick = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => evict(engine),
        }
    }
}

fn evict(engine: &Engine) {
    let accounts_max = engine.limits.accounts_max;
    let mut candidates: Vec<(u64, EndUserId)> = {
        let stored = engine.stored.lock();
        if stored.len() <= accounts_max {
            return;
        }
        // What is not in memory was last used before everything that is.
        stored.iter().map(|id| (engine.memory.last_used(id), id.clone())).collect()
    };
    let count = candidates.len() - accounts_max + accounts_max / SLACK_SHARE;
    candidates.sort_unstable();
    for (_, end_user_id) in candidates.into_iter().take(count) {
        let mut core = engine.lock();
        if core.machine.forget(&end_user_id) {
            engine.memory.remove(&end_user_id);
        }
        drop(core);
    }
    engine.replica_signal.set();
}
