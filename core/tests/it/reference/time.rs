//! What time alone does, one instant after the other.
//!
//! At one instant: holds end (each its own entry, and what came back to ended blocks leaves at once), then blocks end,
//! then blocks start, then debt is settled, once.

use super::command::Micros;
use super::entry::EntryKind;
use super::model::{Block, Fate, Hold, HoldState, Model};

impl Model {
    /// Does everything that is due up to and at `now`. An earlier `now` is the present.
    pub(crate) fn advance(&mut self, now: Micros) {
        while let Some(instant) = self.next_due().filter(|instant| *instant <= now) {
            self.now = instant;
            self.at_instant(instant);
        }
        self.now = self.now.max(now);
    }

    /// The next instant at which something happens by itself.
    pub(crate) fn next_due(&self) -> Option<Micros> {
        let holds = self.holds.iter().filter(|hold| hold.state == HoldState::Active).map(|hold| hold.expires_at);
        let unended = || self.blocks.iter().filter(|block| block.ended.is_none());
        let ends = unended().filter_map(|block| block.expires_at);
        let starts = unended().filter(|block| !block.started).map(|block| block.effective_at);
        holds.chain(ends).chain(starts).min()
    }

    fn at_instant(&mut self, instant: Micros) {
        let due = |hold: &&Hold| hold.state == HoldState::Active && hold.expires_at == instant;
        let holds: Vec<_> = self.holds.iter().filter(due).map(|hold| hold.id).collect();
        for hold in holds {
            let returned = self.give_back(hold, HoldState::Expired);
            self.seal(EntryKind::HoldExpired, instant);
            self.meet_fates(&returned, instant);
        }

        let mut expired = 0;
        for block in self.blocks.iter_mut().filter(|block| block.ended.is_none() && block.expires_at == Some(instant)) {
            expired += block.end(Fate::Expire, instant);
        }
        if expired > 0 {
            self.seal(EntryKind::Expire, instant);
        }

        let mut started = false;
        for block in self.blocks.iter_mut().filter(|block| !block.started && block.ended.is_none()) {
            if block.effective_at == instant {
                block.started = true;
                started = true;
            }
        }
        if started {
            self.seal(EntryKind::Start, instant);
        }

        self.settle(instant);
    }
}

impl Block {
    /// Takes what is not held, which is the answer. A block ends once: its first end is its fate.
    pub(super) fn end(&mut self, fate: Fate, at: Micros) -> i64 {
        let fate = self.ended.get_or_insert((fate, at)).0;
        let taken = self.free();
        self.remaining -= taken;
        match fate {
            Fate::Expire => self.expired += taken,
            Fate::Refund | Fate::Withdraw => self.withdrawn += taken,
        }
        taken
    }
}
