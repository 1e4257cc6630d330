//! The replica: states by stamp, the catalogue they are read with, how far the feed was heard, and what of this is
//! not yet on disk. Everything in it can be thrown away and fetched again. Used by [`super::machine`] only.
//!
//! Invariant: what is handed out to be stored names a cursor only if every state up to it is stored with it or was
//! before; states that wait hold the cursor back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::ids::EndUserId;
use crate::state::AccountState;
use crate::sync::catalogue::CatalogueParts;
use crate::sync::handover::{ReplicaWrites, SyncError};
use crate::sync::record::Meta;
use crate::time::Timestamp;
use crate::wire::Mode;

/// States that may wait for a newer catalogue.
const BEHIND_MAX: usize = 10_000;

/// Reads a state that the glue holds in memory or on disk.
pub type Held<'a> = &'a dyn Fn(&EndUserId) -> Option<Arc<AccountState>>;

#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) mode: Mode,
    pub(crate) epoch: Option<[u8; 16]>,
    pub(crate) cursor: Vec<u64>,
    pub(crate) as_of: Option<Timestamp>,
    /// The last `as_of` at which nothing held the stored cursor back.
    stored_as_of: Option<Timestamp>,
    pub(crate) catalogue: Option<Arc<Catalogue>>,
    parts: CatalogueParts,
    /// States that need a newer catalogue, the newest per account.
    behind: BTreeMap<EndUserId, Arc<AccountState>>,
    /// Ids that are being fetched: their states are wanted although none is held.
    pub(crate) fetching: HashSet<EndUserId>,
    /// Changes to be stored; `None` = to be removed.
    dirty: HashMap<EndUserId, Option<Arc<AccountState>>>,
    /// Changes that are being stored.
    committing: HashMap<EndUserId, Option<Arc<AccountState>>>,
    is_committing: bool,
    generation: u64,
    /// Generation of the last change of each account that is not durable yet.
    unsafe_since: HashMap<EndUserId, u64>,
    /// What is on disk is of another history or mode, until this generation is stored.
    detached_until: Option<u64>,
    reset_due: bool,
    meta_due: bool,
    catalogue_due: bool,
}

impl Replica {
    pub(crate) fn open(mode: Mode, meta: Option<Meta>, catalogue: Option<Arc<Catalogue>>) -> Self {
        // What a replica on demand has heard says nothing of the accounts that it did not follow.
        let lacks_accounts = meta.as_ref().is_some_and(|meta| (meta.mode, mode) == (Mode::OnDemand, Mode::All));
        let (meta, catalogue) = if lacks_accounts { (None, None) } else { (meta, catalogue) };
        let (epoch, cursor, as_of) = match meta {
            Some(meta) => (Some(meta.epoch), meta.lanes, meta.as_of),
            None => (None, Vec::new(), None),
        };
        Self {
            mode,
            epoch,
            cursor,
            as_of,
            stored_as_of: as_of,
            catalogue,
            parts: CatalogueParts::default(),
            behind: BTreeMap::new(),
            fetching: HashSet::new(),
            dirty: HashMap::new(),
            committing: HashMap::new(),
            is_committing: false,
            generation: 0,
            unsafe_since: HashMap::new(),
            detached_until: lacks_accounts.then_some(1),
            reset_due: false,
            meta_due: false,
            catalogue_due: false,
        }
    }

    /// Drops everything and begins at nothing in another history.
    pub(crate) fn reset(&mut self, epoch: [u8; 16], lanes: usize) {
        let fetching = std::mem::take(&mut self.fetching);
        let (generation, is_committing) = (self.generation, self.is_committing);
        *self = Self { generation, is_committing, fetching, ..Self::open(self.mode, None, None) };
        self.epoch = Some(epoch);
        self.cursor = vec![0; lanes];
        self.detached_until = Some(generation + 1);
        self.reset_due = true;
        self.meta_due = true;
    }

    pub(crate) fn catalogue_version(&self) -> u64 {
        self.catalogue.as_ref().map_or(0, |catalogue| catalogue.version)
    }

    /// The state that was last applied, wherever it is.
    pub(crate) fn state(&self, id: &EndUserId, held: Held<'_>) -> Option<Arc<AccountState>> {
        if let Some(change) = self.dirty.get(id).or_else(|| self.committing.get(id)) {
            return change.clone();
        }
        if self.detached_until.is_some() { None } else { held(id) }
    }

    /// Whether an end user of whom nothing is held, and nothing waits here, is known not to exist.
    pub(crate) fn knows_nobody(&self, id: &EndUserId) -> bool {
        self.mode == Mode::All && self.as_of.is_some() && !self.behind.contains_key(id)
    }

    /// Puts a state aside if its catalogue is not here yet.
    pub(crate) fn is_behind(&mut self, state: &Arc<AccountState>, lane: usize) -> Result<bool, SyncError> {
        if state.catalogue_version <= self.catalogue_version() {
            return Ok(false);
        }
        if self.behind.len() >= BEHIND_MAX && !self.behind.contains_key(&state.end_user_id) {
            // It is not kept, so the feed must be heard again from before it.
            self.cursor[lane] = self.cursor[lane].min(state.stamp.saturating_sub(1));
            return Err(SyncError::CatalogueMissing);
        }
        let waiting = self.behind.entry(state.end_user_id.clone()).or_insert_with(|| Arc::clone(state));
        if waiting.stamp < state.stamp {
            *waiting = Arc::clone(state);
        }
        Ok(true)
    }

    pub(crate) fn store(&mut self, state: &Arc<AccountState>) {
        self.change(state.end_user_id.clone(), Some(Arc::clone(state)));
    }

    pub(crate) fn remove(&mut self, id: &EndUserId) {
        self.change(id.clone(), None);
    }

    fn change(&mut self, id: EndUserId, state: Option<Arc<AccountState>>) {
        self.unsafe_since.insert(id.clone(), self.generation + 1);
        self.dirty.insert(id, state);
    }

    pub(crate) fn progress(&mut self, lanes: &[u64], as_of: Option<Timestamp>) -> Result<(), SyncError> {
        if lanes.len() != self.cursor.len() {
            return Err(SyncError::Protocol("progress with another number of lanes"));
        }
        for (cursor, reached) in self.cursor.iter_mut().zip(lanes) {
            *cursor = (*cursor).max(*reached);
        }
        self.as_of = self.as_of.max(as_of);
        self.meta_due = true;
        Ok(())
    }

    /// Takes a part of a catalogue; with the last one, the states that can now be read.
    pub(crate) fn catalogue_part(
        &mut self,
        place: (u64, u32, u32),
        bytes: &[u8],
    ) -> Result<Option<Vec<Arc<AccountState>>>, SyncError> {
        let Some(catalogue) = self.parts.push(place, bytes)? else { return Ok(None) };
        if catalogue.version <= self.catalogue_version() {
            return Ok(None);
        }
        self.catalogue = Some(Arc::new(catalogue));
        self.catalogue_due = true;
        Ok(Some(std::mem::take(&mut self.behind).into_values().collect()))
    }

    /// The cursor up to which everything may be stored, given (lane, stamp) of the states that wait.
    fn storable_cursor(&self, waiting: impl Iterator<Item = (usize, u64)>) -> Vec<u64> {
        let mut lanes = self.cursor.clone();
        for (lane, stamp) in waiting {
            if let Some(cursor) = lanes.get_mut(lane) {
                *cursor = (*cursor).min(stamp.saturating_sub(1));
            }
        }
        lanes
    }

    /// What is to be stored next; `lane_of` places the states that wait here and in `waiting`.
    pub(crate) fn take_writes<'a>(
        &mut self,
        waiting: impl Iterator<Item = &'a Arc<AccountState>>,
        lane_of: impl Fn(&EndUserId) -> usize,
    ) -> Option<ReplicaWrites> {
        let epoch = self.epoch?;
        let is_due = self.meta_due || self.catalogue_due || self.reset_due || !self.dirty.is_empty();
        if self.is_committing || !is_due {
            return None;
        }
        let place = |state: &Arc<AccountState>| (lane_of(&state.end_user_id), state.stamp);
        let lanes = self.storable_cursor(waiting.map(place).chain(self.behind.values().map(place)));
        if lanes == self.cursor {
            self.stored_as_of = self.as_of;
        }
        self.is_committing = true;
        self.generation += 1;
        self.committing = std::mem::take(&mut self.dirty);
        self.meta_due = false;
        Some(ReplicaWrites {
            generation: self.generation,
            reset: std::mem::take(&mut self.reset_due),
            accounts: self.committing.iter().map(|(id, state)| (id.clone(), state.clone())).collect(),
            catalogue: if std::mem::take(&mut self.catalogue_due) { self.catalogue.clone() } else { None },
            meta: Meta { epoch, lanes, as_of: self.stored_as_of, mode: self.mode },
        })
    }

    pub(crate) fn committed(&mut self, generation: u64, durable: bool) {
        self.is_committing = false;
        self.committing.clear();
        if self.detached_until.is_some_and(|until| until <= generation) {
            self.detached_until = None;
        }
        if durable {
            self.unsafe_since.retain(|_, since| *since > generation);
        }
    }

    /// Whether the state last applied to the account survives a crash.
    pub(crate) fn is_durable(&self, id: &EndUserId) -> bool {
        !self.unsafe_since.contains_key(id)
    }

    /// Ids with a state that may not be on disk yet.
    pub(crate) fn unstored(&self) -> impl Iterator<Item = &EndUserId> {
        let changes = self.dirty.iter().chain(&self.committing);
        let states = changes.filter(|(_, state)| state.is_some()).map(|(id, _)| id);
        states.chain(&self.fetching).chain(self.behind.keys())
    }

    pub(crate) fn backlog(&self) -> usize {
        self.dirty.len() + self.committing.len()
    }
}
