//! A [`Session`]: one sidecar's way through the rings. Cursor and filter, nothing queued.
//!
//! The server's glue asks for [`Session::next`], writes the frame, and asks again when the stream has taken it: a slow
//! sidecar only makes its own cursor lag. Deltas come in this order: the catalogue if the sidecar's is older, states
//! lane by lane, and progress once it covers them, at least every [`PROGRESS_INTERVAL_MICROS`].

use std::sync::Arc;

use crate::sync::catalogue::EncodedCatalogue;
use crate::sync::ring::{BatchLimits, Filter, Published, Ring, Since};
use crate::time::Timestamp;
use crate::wire::{Cursor, Delta, Mode, WireError, encode, frame};

/// How often a session hears of progress, also when nothing changes.
pub const PROGRESS_INTERVAL_MICROS: i64 = 500_000;

const FRAME_LIMITS: BatchLimits = BatchLimits { states_max: 512, bytes_max: 256 << 10 };

/// The place of [`Delta::States`] in its enum, as the first byte of the body.
const STATES_TAG: u8 = 0;

/// The rings of an environment.
pub trait Rings {
    /// Looks at the ring of a lane.
    fn read<R>(&self, lane: usize, look: impl FnOnce(&Ring) -> R) -> R;
}

impl Rings for [Ring] {
    fn read<R>(&self, lane: usize, look: impl FnOnce(&Ring) -> R) -> R {
        look(&self[lane])
    }
}

/// What to do next for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Write this frame to the stream of deltas, then ask again.
    Send(Vec<u8>),
    /// Read the states of this lane after `cursor` that pass [`Session::filter`] from the database, in feed order, and
    /// hand them to [`Session::backfill`].
    Read {
        /// The lane.
        lane: usize,
        /// After what.
        cursor: u64,
    },
    /// Nothing until a ring or the catalogue changes, or this instant.
    Wait {
        /// When progress is due.
        until: Timestamp,
    },
}

/// One sidecar's cursor and filter.
#[derive(Debug)]
pub struct Session {
    filter: Filter,
    /// Whether all that it follows is known.
    complete: bool,
    cursor: Vec<u64>,
    /// By lane: a page of the database lacks what was superseded behind its end. Until a ring has come to where the
    /// lane ended when the page was read, its instant says nothing of this session.
    superseded_by: Vec<u64>,
    next_lane: usize,
    catalogue_version: u64,
    /// The catalogue being sent, and the part that is next.
    sending: Option<(EncodedCatalogue, u32)>,
    as_of: Option<Timestamp>,
    moved: bool,
    progress_due: Timestamp,
}

/// Whether a cursor can be resumed in this history: same epoch, same lanes, and not ahead of any lane.
pub fn can_resume(cursor: &Cursor, epoch: [u8; 16], heads: &[u64]) -> bool {
    cursor.epoch == epoch
        && cursor.lanes.len() == heads.len()
        && cursor.lanes.iter().zip(heads).all(|(cursor, head)| cursor <= head)
}

impl Session {
    /// A session from `resumed` (checked with [`can_resume`]), or from nothing. `heads` are the lanes' `feed_seq`.
    pub fn new(mode: Mode, resumed: Option<Vec<u64>>, heads: &[u64], catalogue_version: u64, now: Timestamp) -> Self {
        let (filter, from) = match mode {
            Mode::All => (Filter::All, vec![0; heads.len()]),
            // Who holds nothing has missed nothing.
            Mode::OnDemand => (Filter::Only(std::collections::HashSet::new()), heads.to_vec()),
        };
        Self {
            complete: matches!(filter, Filter::All),
            filter,
            cursor: resumed.unwrap_or(from),
            superseded_by: vec![0; heads.len()],
            next_lane: 0,
            catalogue_version,
            sending: None,
            as_of: None,
            moved: true,
            progress_due: now,
        }
    }

    /// Which accounts it is sent.
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// How far it has come, by lane.
    pub fn cursor(&self) -> &[u64] {
        &self.cursor
    }

    /// Adds an account to the filter: before it is read for a fetch, and before its usage is recorded.
    pub fn follow(&mut self, hash: u64) {
        if let Filter::Only(hashes) = &mut self.filter {
            hashes.insert(hash);
        }
    }

    /// Takes a part of what the sidecar holds; deltas begin when it is `complete`.
    pub fn follow_all(&mut self, hashes: impl IntoIterator<Item = u64>, complete: bool) {
        hashes.into_iter().for_each(|hash| self.follow(hash));
        self.complete |= complete;
    }

    /// What to do at `now`.
    pub fn next(
        &mut self,
        rings: &(impl Rings + ?Sized),
        catalogue: &EncodedCatalogue,
        now: Timestamp,
    ) -> Result<Next, WireError> {
        if !self.complete {
            return Ok(Next::Wait { until: now.saturating_add_micros(PROGRESS_INTERVAL_MICROS) });
        }
        if let Some(part) = self.next_part(catalogue) {
            return Ok(Next::Send(encode(&part)?));
        }
        if self.moved && self.progress_due <= now {
            return self.progress(now);
        }
        let lanes = self.cursor.len();
        let mut confirmed = Some(Timestamp::MAX);
        for lane in (self.next_lane..lanes).chain(0..self.next_lane) {
            let cursor = self.cursor[lane];
            let (since, head, as_of) =
                rings.read(lane, |ring| (ring.since(cursor, &self.filter, FRAME_LIMITS), ring.head(), ring.as_of()));
            let Since::Batch { states, cursor: reached } = since else {
                return Ok(Next::Read { lane, cursor });
            };
            confirmed = confirmed.min(as_of.filter(|_| head >= self.superseded_by[lane].max(reached)));
            self.moved |= reached != cursor;
            self.cursor[lane] = reached;
            if !states.is_empty() {
                self.next_lane = (lane + 1) % lanes;
                return Ok(Next::Send(encode_states(&states)?));
            }
        }
        // Every lane was found at its head just now, so the oldest confirmation of a head holds for all.
        if self.moved || self.progress_due <= now {
            self.as_of = self.as_of.max(confirmed);
            self.moved = false;
            return self.progress(now);
        }
        Ok(Next::Wait { until: self.progress_due })
    }

    fn progress(&mut self, now: Timestamp) -> Result<Next, WireError> {
        self.progress_due = now.saturating_add_micros(PROGRESS_INTERVAL_MICROS);
        Ok(Next::Send(encode(&Delta::Progress { lanes: self.cursor.clone(), as_of: self.as_of })?))
    }

    /// Takes what was read for [`Next::Read`], in one snapshot: the states after the cursor that pass the filter, in feed
    /// order; the stamp up to which these are all of them (the last one's, or `head` at the end); and the lane's
    /// `feed_seq`. Returns the frames to write.
    pub fn backfill(
        &mut self,
        lane: usize,
        states: &[Arc<Published>],
        reached: u64,
        head: u64,
    ) -> Result<Vec<Vec<u8>>, WireError> {
        let mut frames = Vec::new();
        let mut rest = states;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take(FRAME_LIMITS.states_max).take_while(|state| {
                bytes += state.bytes.len();
                bytes <= FRAME_LIMITS.bytes_max
            });
            let (part, after) = rest.split_at(fits.count().max(1));
            frames.push(encode_states(part)?);
            rest = after;
        }
        self.cursor[lane] = self.cursor[lane].max(reached);
        self.superseded_by[lane] = self.superseded_by[lane].max(head);
        self.moved = true;
        Ok(frames)
    }

    fn next_part(&mut self, catalogue: &EncodedCatalogue) -> Option<Delta> {
        if self.sending.is_none() && catalogue.version() > self.catalogue_version {
            self.sending = Some((catalogue.clone(), 0));
        }
        let (sending, index) = self.sending.as_mut()?;
        let part = sending.part(*index);
        *index += 1;
        if *index == sending.parts() {
            self.catalogue_version = sending.version();
            self.sending = None;
        }
        Some(part)
    }
}

/// The frame of [`Delta::States`] with these states, which are encoded already.
fn encode_states(states: &[Arc<Published>]) -> Result<Vec<u8>, WireError> {
    let mut body = frame::begin();
    body.push(STATES_TAG);
    let mut body = postcard::to_extend(&states.len(), body).map_err(|_| WireError::Malformed)?;
    states.iter().for_each(|state| body.extend_from_slice(&state.bytes));
    frame::finish(body)
}
