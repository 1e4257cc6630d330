//! Checkpoints: a [`Refold`] kept between two entries, so that an account is rebuilt from there and not from its first.
//!
//! A checkpoint costs what the account's live blocks come to, not what its history comes to. Blocks with nothing left
//! are taken out, each kept by itself with the checkpoint by which it was used up: a void or late usage may give to
//! one again, and then it is brought back. Source: docs/ledger.md, "Looking back".

use std::collections::BTreeSet;

use crate::ids::BlockId;
use crate::ledger::block::Block;
use crate::ledger::entry::Entry;
use crate::ledger::refold::{FoldedBlock, Refold};
use crate::time::Timestamp;

/// The version of a checkpoint's bytes. One of another version is as good as none.
pub const CHECKPOINT_FORMAT: u8 = 2;

/// What is kept of a refold after an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The entry's `seq`.
    pub seq: u64,
    /// When it was written.
    pub recorded_at: Timestamp,
    /// The refold without blocks that have nothing left.
    pub state: Vec<u8>,
    /// The blocks that had credit since the checkpoint before, and have nothing left, in order of their ids.
    pub used_up: Vec<Block>,
}

/// Bytes that are no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not a checkpoint")]
pub struct Unreadable;

impl Refold {
    /// What to keep of it. Blocks with nothing left are not known to it any more.
    pub fn checkpoint(&mut self) -> Checkpoint {
        let used_up = self.blocks.extract_if(.., |_, folded| folded.block.lot.remaining.is_zero());
        let used_up = used_up.map(|(_, folded)| folded.block).collect();
        let state = postcard::to_stdvec(self).expect("a refold has no form that postcard refuses");
        Checkpoint { seq: self.seq, recorded_at: self.recorded_at, state, used_up }
    }

    /// Goes on from a checkpoint.
    pub fn resume(state: &[u8]) -> Result<Self, Unreadable> {
        postcard::from_bytes(state).map_err(|_| Unreadable)
    }

    /// The blocks that `entries` change and that are not known: granted by them, or used up by an earlier checkpoint.
    pub fn missing(&self, entries: &[Entry]) -> BTreeSet<BlockId> {
        let changed = entries.iter().flat_map(|entry| &entry.body.allocations).map(|part| part.block_id);
        changed.filter(|id| !self.blocks.contains_key(id)).collect()
    }

    /// Brings back blocks that were used up.
    pub fn bring(&mut self, used_up: impl IntoIterator<Item = Block>) {
        for block in used_up {
            let counts = block.lot.has_started(self.time);
            self.blocks.entry(block.id).or_insert(FoldedBlock { block, counts });
        }
    }
}
