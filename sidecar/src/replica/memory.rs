//! The map that checks read: effective states of the accounts used lately.
//!
//! Sharded, so that checks do not meet at one lock; a reader holds a shard's lock for one look-up and leaves with
//! its own reference. All writers hold the engine's mutex, so a newer state is never replaced by an older one.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use quotastack_core::ids::EndUserId;
use quotastack_core::state::AccountState;

const SHARDS: usize = 64;
/// A full shard makes room for this share of it at once, so that looking for the oldest is rarely needed.
const EVICTED_SHARE: usize = 8;

#[derive(Debug)]
struct Entry {
    state: Arc<AccountState>,
    used: AtomicU64,
}

/// A bounded map from end user to effective state.
#[derive(Debug)]
pub(crate) struct Memory {
    shards: Box<[RwLock<HashMap<EndUserId, Entry>>]>,
    hasher: RandomState,
    shard_entries_max: usize,
    /// Counts insertions; an entry remembers how many there had been when it was last looked at. Looks only read it,
    /// so that they do not pass one counter from core to core.
    ticks: AtomicU64,
}

impl Memory {
    /// A map of about `entries_max` accounts.
    pub(crate) fn new(entries_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            shard_entries_max: entries_max.div_ceil(SHARDS).max(1),
            ticks: AtomicU64::new(1),
        }
    }

    fn shard(&self, end_user_id: &EndUserId) -> &RwLock<HashMap<EndUserId, Entry>> {
        let hash = self.hasher.hash_one(end_user_id);
        &self.shards[usize::try_from(hash % SHARDS as u64).expect("a number below 64")]
    }

    /// The state of an account, which counts as a use.
    pub(crate) fn get(&self, end_user_id: &EndUserId) -> Option<Arc<AccountState>> {
        let shard = self.shard(end_user_id).read();
        let entry = shard.get(end_user_id)?;
        entry.used.store(self.ticks.load(Ordering::Relaxed), Ordering::Relaxed);
        Some(Arc::clone(&entry.state))
    }

    /// The state of an account, without counting as a use.
    pub(crate) fn peek(&self, end_user_id: &EndUserId) -> Option<Arc<AccountState>> {
        self.shard(end_user_id).read().get(end_user_id).map(|entry| Arc::clone(&entry.state))
    }

    /// When the account was last used, in ticks; 0 = it is not here.
    pub(crate) fn last_used(&self, end_user_id: &EndUserId) -> u64 {
        self.shard(end_user_id).read().get(end_user_id).map_or(0, |entry| entry.used.load(Ordering::Relaxed))
    }

    /// Puts in an account that was asked for.
    pub(crate) fn insert(&self, state: Arc<AccountState>) {
        let used = AtomicU64::new(self.ticks.fetch_add(1, Ordering::Relaxed) + 1);
        let mut shard = self.shard(&state.end_user_id).write();
        shard.insert(state.end_user_id.clone(), Entry { state, used });
        if shard.len() > self.shard_entries_max {
            evict(&mut shard, self.shard_entries_max);
        }
    }

    /// Replaces the state of an account that is here; one that nobody asked for stays on disk.
    pub(crate) fn update(&self, state: Arc<AccountState>) {
        if let Some(entry) = self.shard(&state.end_user_id).write().get_mut(&state.end_user_id) {
            entry.state = state;
        }
    }

    pub(crate) fn remove(&self, end_user_id: &EndUserId) {
        self.shard(end_user_id).write().remove(end_user_id);
    }

    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            shard.write().clear();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }
}

fn evict(shard: &mut HashMap<EndUserId, Entry>, entries_max: usize) {
    let mut used: Vec<u64> = shard.values().map(|entry| entry.used.load(Ordering::Relaxed)).collect();
    let count = shard.len() - entries_max + entries_max / EVICTED_SHARE;
    let (_, threshold, _) = used.select_nth_unstable(count.min(shard.len()) - 1);
    let threshold = *threshold;
    shard.retain(|_, entry| entry.used.load(Ordering::Relaxed) > threshold);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(name: &str, stamp: u64) -> Arc<AccountState> {
        Arc::new(AccountState { stamp, ..AccountState::unknown(EndUserId::new(name).unwrap()) })
    }

    #[test]
    fn it_keeps_what_was_used_lately() {
        let memory = Memory::new(SHARDS * 8);
        let kept = state("kept", 1);
        memory.insert(Arc::clone(&kept));
        for n in 0..10_000 {
            memory.insert(state(&format!("user_{n}"), 1));
            assert!(memory.get(&kept.end_user_id).is_some());
        }
        assert!(memory.len() <= SHARDS * 8, "{}", memory.len());
        assert!(memory.peek(&state("user_9999", 1).end_user_id).is_some());
        assert_eq!(memory.last_used(&state("user_0", 1).end_user_id), 0);
    }

    #[test]
    fn an_update_does_not_bring_in_what_nobody_asked_for() {
        let memory = Memory::new(10);
        memory.update(state("a", 1));
        assert_eq!(memory.len(), 0);
        memory.insert(state("a", 1));
        memory.update(state("a", 2));
        assert_eq!(memory.get(&state("a", 0).end_user_id).unwrap().stamp, 2);
        memory.remove(&state("a", 0).end_user_id);
        assert_eq!(memory.len(), 0);
    }
}
