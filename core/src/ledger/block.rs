//! A block of credit, and the [`Lot`] inside it: the part that burning and time look at.
//!
//! A block is one grant, never merged. A published *tranche* is a bare lot: neighbours in burn order that no rule
//! can tell apart, summed. Source: docs/ledger.md, "Block".

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::ids::{BlockId, FeatureKey, SubscriptionId};
use crate::time::Timestamp;

/// Where credit came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockKind {
    /// Given by a plan.
    Plan,
    /// Bought.
    Topup,
    /// A present.
    Promo,
    /// A correction by a person.
    Adjustment,
}

/// The grant template that a plan's block came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The subscription.
    pub subscription_id: SubscriptionId,
    /// Index of the template in its variant.
    pub template: u16,
}

/// What burn order, expiry and debt need to know about some credit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lot {
    /// Where it came from.
    pub kind: BlockKind,
    /// 0 burns first.
    pub priority: u8,
    /// Whether something was paid for it.
    pub paid: bool,
    /// Whether it pays debts when it becomes free.
    pub settles_debt: bool,
    /// Usable from this instant on.
    pub effective_at: Timestamp,
    /// Unusable from this instant on; `None` = never.
    pub expires_at: Option<Timestamp>,
    /// Sorted and distinct; empty = pays for any feature.
    pub scope: Vec<FeatureKey>,
    /// What has not left the block.
    pub remaining: Credits,
    /// The part of `remaining` that open holds have set aside.
    pub held: Credits,
    /// The plan's template, for plan blocks.
    pub origin: Option<Origin>,
}

impl Lot {
    /// `remaining` less `held`.
    pub fn free(&self) -> Credits {
        self.remaining - self.held
    }

    /// Whether it has begun by `now`.
    pub fn has_started(&self, now: Timestamp) -> bool {
        self.effective_at <= now
    }

    /// Whether it is over by `now`.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether its free part may be spent at `now`.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.has_started(now) && !self.has_ended(now)
    }

    /// What counts towards the balance at `now`: all that remains, and after the end what holds still protect.
    pub fn counted(&self, now: Timestamp) -> Credits {
        if !self.has_started(now) {
            Credits::ZERO
        } else if self.has_ended(now) {
            self.held
        } else {
            self.remaining
        }
    }

    /// Whether it may pay for `feature`.
    pub fn pays_for(&self, feature: &FeatureKey) -> bool {
        self.scope.is_empty() || self.scope.binary_search(feature).is_ok()
    }

    /// Whether it may pay a debt of `feature` (`None`: a debt without feature, paid by credit without scope).
    pub fn pays_debt_of(&self, feature: Option<&FeatureKey>) -> bool {
        self.settles_debt && feature.map_or(self.scope.is_empty(), |feature| self.pays_for(feature))
    }

    /// Burn order, up to the order of granting.
    pub fn burn_order(&self, other: &Self) -> Ordering {
        let never_last = |lot: &Self| lot.expires_at.unwrap_or(Timestamp::MAX);
        self.priority
            .cmp(&other.priority)
            .then_with(|| never_last(self).cmp(&never_last(other)))
            .then_with(|| self.expires_at.is_none().cmp(&other.expires_at.is_none()))
            .then_with(|| self.paid.cmp(&other.paid))
            .then_with(|| self.effective_at.cmp(&other.effective_at))
            .then_with(|| self.scope.is_empty().cmp(&other.scope.is_empty()))
            .then_with(|| self.scope.cmp(&other.scope))
    }

    /// Whether no rule tells the two apart but for their amounts.
    pub fn is_like(&self, other: &Self) -> bool {
        self.burn_order(other) == Ordering::Equal
            && self.kind == other.kind
            && self.settles_debt == other.settles_debt
            && self.origin == other.origin
    }
}

/// Anything with a [`Lot`] inside: a block of the ledger, or a published tranche.
pub trait HasLot {
    /// The lot.
    fn lot(&self) -> &Lot;
    /// The lot, to take from it.
    fn lot_mut(&mut self) -> &mut Lot;
}

impl HasLot for Lot {
    fn lot(&self) -> &Lot {
        self
    }
    fn lot_mut(&mut self) -> &mut Lot {
        self
    }
}

/// One grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Its id.
    pub id: BlockId,
    /// `seq` of its grant entry and place in it: the order of granting.
    pub granted: (u64, u16),
    /// What was granted, after trimming.
    pub original: Credits,
    /// What expired.
    pub expired: Credits,
    /// The credit itself.
    pub lot: Lot,
}

impl HasLot for Block {
    fn lot(&self) -> &Lot {
        &self.lot
    }
    fn lot_mut(&mut self) -> &mut Lot {
        &mut self.lot
    }
}
