//! A [`Step`]: one thing that happens to a wallet, as it is told to whoever writes it down.
//!
//! Indexes are into the wallet's lots as they are when the step is told, and good for no longer.

use crate::credits::Credits;
use crate::ids::{FeatureKey, SubscriptionId};
use crate::ledger::block::{Lot, Reschedule};
use crate::ledger::hold::Hold;
use crate::ledger::wallet::{Leaving, Settlement};
use crate::subscription::machine::Happening;
use crate::subscription::state::Subscription;

/// Something that has happened to a wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A hold expired, with what it gave back.
    HoldExpired(Hold),
    /// What came back to refunded lots paid their claw-back.
    ClawedBack(Vec<Settlement>),
    /// A subscription was made, or moved from one state to another.
    Moved {
        /// As it was; `None` = it was made.
        before: Option<Box<Subscription>>,
        /// As it is.
        after: Box<Subscription>,
        /// What happened to it; `None` = it was made.
        happening: Option<Happening>,
    },
    /// Something in a subscription moved on that nobody is told.
    Turned(Box<Subscription>),
    /// The term of a subscription's contract will end.
    TermEnding {
        /// Its state.
        subscription: Box<Subscription>,
        /// Whether another term follows.
        renews: bool,
    },
    /// The end of lots of a subscription has moved.
    Rescheduled {
        /// The subscription.
        subscription_id: SubscriptionId,
        /// The lots.
        lots: Vec<usize>,
        /// How.
        how: Reschedule,
    },
    /// Credit was taken back from lots of a subscription.
    Withdrawn {
        /// The subscription.
        subscription_id: SubscriptionId,
        /// The lots, and what was taken from each.
        parts: Vec<(usize, Credits)>,
        /// Whether the lots are over.
        ends: bool,
    },
    /// Debts of usage went onto an invoice.
    Billed {
        /// The subscription.
        subscription_id: SubscriptionId,
        /// What was owed.
        debts: Vec<(FeatureKey, Credits)>,
    },
    /// Credit of lots that are over moved on.
    Rolled(Vec<Rolled>),
    /// Credit left lots that are over.
    Left(Vec<Leaving>),
    /// Lots began, and what they add to the balance.
    Started(Vec<(usize, Credits)>),
    /// A subscription gave credit.
    Granted {
        /// The subscription.
        subscription_id: SubscriptionId,
        /// The lots, in order of granting.
        lots: Vec<NewLot>,
    },
    /// Free credit paid debts.
    Settled(Vec<Settlement>),
}

/// Credit that moved from a lot that is over into another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rolled {
    /// The lot that is over.
    pub from: usize,
    /// The lot that has it now.
    pub to: usize,
    /// How much.
    pub amount: Credits,
    /// Whether that lot was made for it.
    pub is_new: bool,
}

/// A lot that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLot {
    /// Where it is; `None` where its cap trimmed it to nothing.
    pub place: Option<usize>,
    /// As it was granted.
    pub lot: Lot,
    /// What its cap took off.
    pub trimmed: Credits,
}
