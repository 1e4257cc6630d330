//! What has rolled over: per grant template and end, so that what comes back to an ended block later follows.
//!
//! Rolled in all = min(floor((unheld at the end + come back since) * percent / 100), cap). Kept while the rollover
//! block lives. Source: docs/subscriptions.md, "Rollover".

use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::ids::SubscriptionId;
use crate::ledger::block::{BlockKind, Lot, Origin, RolloverRule};
use crate::time::Timestamp;

/// What rolls over from the blocks of one template that end together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollover {
    /// Where the blocks came from.
    pub origin: Origin,
    /// When they ended.
    pub from: Timestamp,
    /// How much of them moves, and until when.
    pub rule: RolloverRule,
    /// What was free at the end, and what has come back since.
    pub base: Credits,
    /// What has moved so far.
    pub moved: Credits,
}

impl Rollover {
    /// Counts `free` as come free; how much more is to move.
    fn follow(&mut self, free: Credits) -> Credits {
        self.base += free;
        let part = i128::from(self.base.get()) * i128::from(self.rule.percent) / 100;
        let part =
            Credits::new(i64::try_from(part).expect("a part of an amount is one")).expect("the base is an amount");
        let total = self.rule.cap.map_or(part, |cap| part.min(cap));
        let more = total - self.moved;
        self.moved = total;
        more
    }
}

/// The rollovers of a wallet that more may follow.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rollovers(Vec<Rollover>);

impl Rollovers {
    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Blocks of `origin` that end at `from` roll over.
    pub(crate) fn open(&mut self, origin: Origin, from: Timestamp, rule: RolloverRule) {
        if self.0.iter().all(|known| (known.origin, known.from) != (origin, from)) {
            self.0.push(Rollover { origin, from, rule, base: Credits::ZERO, moved: Credits::ZERO });
        }
    }

    /// Forgets those whose rollover blocks are over. Those of a subscription that is paused live on.
    pub(super) fn forget_over(&mut self, now: Timestamp, is_paused: impl Fn(SubscriptionId) -> bool) {
        self.0.retain(|known| known.rule.until > now || is_paused(known.origin.subscription_id));
    }

    /// A subscription goes on after a pause: its rollover blocks live this much longer.
    pub(crate) fn move_by(&mut self, subscription_id: SubscriptionId, micros: i64) {
        for known in self.0.iter_mut().filter(|known| known.origin.subscription_id == subscription_id) {
            known.rule.until = known.rule.until.saturating_add_micros(micros);
        }
    }

    /// What of the free credit of `lot`, which is over, moves on: as a lot of its own.
    pub(super) fn roll(&mut self, lot: &Lot, is_paused: impl Fn(SubscriptionId) -> bool) -> Option<Lot> {
        // What has rolled over before has no rule of its own.
        let (origin, from, _) = (lot.origin?, lot.expires_at?, lot.rollover?);
        let known = self.0.iter_mut().find(|known| (known.origin, known.from) == (origin, from))?;
        let remaining = known.follow(lot.free());
        remaining.is_positive().then(|| Lot {
            kind: BlockKind::Rollover,
            expires_at: Some(known.rule.until),
            remaining,
            held: Credits::ZERO,
            frozen: is_paused(origin.subscription_id),
            rollover: None,
            ..lot.clone()
        })
    }
}
