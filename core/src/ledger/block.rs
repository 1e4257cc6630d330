//! A block of credit, and the [`Lot`] inside it: the part that burning and time look at.
//!
//! A block is one grant, never merged. What is published of blocks is a [`Tranche`](super::tranche::Tranche). Source:
//! docs/ledger.md, "Block".

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::ids::{BlockId, CapGroup, FeatureKey, SubscriptionId, VariantId, uuid_v7};
use crate::ledger::debt::DebtOf;
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
    /// What was left of a plan's block at the end of its interval.
    Rollover,
}

/// The grant template that a plan's block came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The subscription.
    pub subscription_id: SubscriptionId,
    /// Its variant.
    pub variant_id: VariantId,
    /// Index of the template in its variant.
    pub template: u16,
}

/// What of a lot moves on at its end, if its subscription goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloverRule {
    /// Which part, 1 to 100.
    pub percent: u8,
    /// The most that moves; `None` = no limit.
    pub cap: Option<Credits>,
    /// When what has moved ends.
    pub until: Timestamp,
}

/// How a block was ended before its time. What a hold or a void gives back to it later meets the same fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// A person, or a change or the end of its subscription, voided it.
    Voided,
    /// Its payment was refunded.
    Refunded,
}

/// How credit leaves a block that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It expired.
    Expired,
    /// The block was voided.
    Voided,
    /// The block's payment was refunded.
    Refunded,
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
    /// Whose accumulation cap it counts against, beside those of its own template.
    pub cap_group: Option<CapGroup>,
    /// How it was ended before its time.
    pub ended: Option<Ending>,
    /// What refunds made owed for credit of it that was spent or held. What comes back to it pays that first.
    pub claw_back: Credits,
    /// Whether it does not expire for now, because its subscription is paused. Its stored end still orders it.
    pub frozen: bool,
    /// What of it moves on at its end.
    pub rollover: Option<RolloverRule>,
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

    /// Whether it is over by `now`: expired, or ended before.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.ended.is_some() || self.has_expired(now)
    }

    /// Whether its time is over by `now`.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        !self.frozen && self.expires_at.is_some_and(|end| end <= now)
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

    /// Whether it counts against the same accumulation cap: the same group, or without one the same template.
    pub fn shares_cap(&self, other: &Self) -> bool {
        match (&self.cap_group, &other.cap_group) {
            (None, None) => match (&self.origin, &other.origin) {
                (Some(one), Some(other)) => (one.variant_id, one.template) == (other.variant_id, other.template),
                _ => false,
            },
            (one, other) => one == other,
        }
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

    /// Whether the two are, or become by a move of their ends, equal in burn order up to the order of granting.
    pub(super) fn may_tie(&self, other: &Self) -> bool {
        (self.priority, self.paid, self.effective_at) == (other.priority, other.paid, other.effective_at)
            && self.scope == other.scope
    }

    /// Whether no rule tells the two apart but for their amounts.
    pub fn is_like(&self, other: &Self) -> bool {
        self.burn_order(other) == Ordering::Equal
            && self.kind == other.kind
            && self.settles_debt == other.settles_debt
            && self.origin == other.origin
            && self.cap_group == other.cap_group
            && self.ended == other.ended
            && self.frozen == other.frozen
            && self.rollover == other.rollover
            && self.claw_back.is_zero()
            && other.claw_back.is_zero()
    }

    /// Whether the subscription gave it: in its plan's blocks, or in what rolled over from them.
    pub fn is_of(&self, subscription_id: SubscriptionId) -> bool {
        self.origin.is_some_and(|origin| origin.subscription_id == subscription_id)
    }

    /// Moves its end.
    pub(crate) fn reschedule(&mut self, how: Reschedule) {
        match how {
            Reschedule::Frozen => self.frozen = true,
            Reschedule::EndsAt(end) => self.expires_at = Some(end),
            Reschedule::MovedBy(micros) => {
                self.frozen = false;
                self.expires_at = self.expires_at.map(|end| end.saturating_add_micros(micros));
                if let Some(rule) = &mut self.rollover {
                    rule.until = rule.until.saturating_add_micros(micros);
                }
            }
        }
    }

    /// Pays `amount` of a debt out of its free credit.
    pub(super) fn pay(&mut self, of: &DebtOf, amount: Credits) {
        self.remaining -= amount;
        if *of == DebtOf::Correction {
            self.claw_back -= amount.min(self.claw_back);
        }
    }
}

/// How the end of blocks moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reschedule {
    /// They do not expire until further notice: their subscription is paused.
    Frozen,
    /// Their subscription goes on: they end this many microseconds later than they would have.
    MovedBy(i64),
    /// They end at this instant.
    EndsAt(Timestamp),
}

/// A place in the order of granting: `seq` of the grant's entry, and the place in it.
pub type Granting = (u64, u16);

/// Anything with a [`Lot`] inside: a block of the ledger, or a published tranche.
pub trait HasLot {
    /// The lot.
    fn lot(&self) -> &Lot;
    /// The lot, to take from it.
    fn lot_mut(&mut self) -> &mut Lot;
    /// What it has lost to expiry; late usage may still have it. A tranche does not say.
    fn expired(&self) -> Credits {
        Credits::ZERO
    }
    /// Its place in the order of granting, among those of its wallet.
    fn granting(&self) -> Granting;
    /// A new one, which nobody has written down yet, made out of `lot` at `at`. `latest` is the last place that is
    /// taken in the order of granting.
    fn made(lot: Lot, at: Timestamp, latest: Option<Granting>) -> Self;
    /// Burn order, total: no two of a wallet are equal in it.
    fn full_order(&self, other: &Self) -> Ordering {
        self.lot().burn_order(other.lot()).then_with(|| self.granting().cmp(&other.granting()))
    }
    /// Notes that `amount` of the lot moved on into another one.
    fn note_rolled(&mut self, _amount: Credits) {}
    /// Notes that `amount` came in from another lot that ended.
    fn note_received(&mut self, _amount: Credits) {}
    /// Notes that `amount` was taken back.
    fn note_withdrawn(&mut self, _amount: Credits) {}
    /// Notes that `amount` left because the lot is over, or (below 0) that expired credit came back for late usage.
    fn note_exit(&mut self, _exit: Exit, _amount: Credits) {}
}

/// One grant. `original` = `remaining` + `expired` + `rolled` + `withdrawn` + what was consumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Its id.
    pub id: BlockId,
    /// Where it stands in the order of granting.
    pub granted: Granting,
    /// What was granted, after trimming; of a rollover block, all that has moved into it.
    pub original: Credits,
    /// What expired.
    pub expired: Credits,
    /// What moved on into rollover blocks.
    pub rolled: Credits,
    /// What was taken out: void, refund, adjustment, change or end of the subscription.
    pub withdrawn: Credits,
    /// The credit itself.
    pub lot: Lot,
}

/// Blocks that are not written yet are granted from here on: after all that are, each in its turn.
const UNWRITTEN: u64 = 1 << 63;

impl Block {
    /// A block as it is granted.
    pub const fn new(id: BlockId, granted: Granting, lot: Lot) -> Self {
        let original = lot.remaining;
        Self { id, granted, original, expired: Credits::ZERO, rolled: Credits::ZERO, withdrawn: Credits::ZERO, lot }
    }

    /// Whether time made it and nobody has written it down yet.
    pub fn is_unwritten(&self) -> bool {
        self.granted.0 >= UNWRITTEN
    }

    /// Whether it is kept at hand as of `now`: it has credit, or its subscription may still move its end, which then
    /// holds for what comes back to it.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.lot.remaining.is_positive() || (self.lot.origin.is_some() && !self.lot.has_ended(now))
    }

    /// What usage, commits and debts took.
    pub fn consumed(&self) -> Credits {
        self.original - self.lot.remaining - self.expired - self.rolled - self.withdrawn
    }
}

impl HasLot for Block {
    fn lot(&self) -> &Lot {
        &self.lot
    }
    fn lot_mut(&mut self) -> &mut Lot {
        &mut self.lot
    }
    fn granting(&self) -> Granting {
        self.granted
    }
    fn made(lot: Lot, at: Timestamp, latest: Option<Granting>) -> Self {
        let seq = latest.map_or(UNWRITTEN, |(seq, _)| UNWRITTEN.max(seq + 1));
        Self::new(id_of_made(&lot, at), (seq, 0), lot)
    }
    fn expired(&self) -> Credits {
        self.expired
    }
    fn note_rolled(&mut self, amount: Credits) {
        self.rolled += amount;
    }
    fn note_received(&mut self, amount: Credits) {
        self.original += amount;
    }
    fn note_withdrawn(&mut self, amount: Credits) {
        self.withdrawn += amount;
    }
    fn note_exit(&mut self, exit: Exit, amount: Credits) {
        match exit {
            Exit::Expired => self.expired += amount,
            Exit::Voided | Exit::Refunded => self.withdrawn += amount,
        }
    }
}

/// The id of a block that time makes: whoever reads it before it is written, and whoever writes it, say the same.
pub(super) fn id_of_made(lot: &Lot, at: Timestamp) -> BlockId {
    let origin = lot.origin.expect("time makes blocks for subscriptions");
    let mut random = [0; 10];
    let made_by = (lot.kind, origin, at, lot.effective_at, lot.expires_at);
    let bytes = postcard::to_stdvec(&made_by).expect("an origin has no form that postcard refuses");
    random.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..10]);
    BlockId::from_uuid(uuid_v7(at, random, Some(origin.subscription_id.bucket())))
}
