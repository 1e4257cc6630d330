//! What comes of a command that was carried out.

use serde::{Deserialize, Serialize};

use crate::credits::{Credits, Units};
use crate::entitlement::terms::Override;
use crate::ids::{FeatureKey, IdempotencyKey, ReservationId, UsageId};
use crate::ledger::block::Block;
use crate::ledger::command::{Fingerprint, Properties};
use crate::ledger::counter::CounterKey;
use crate::ledger::entry::Allocation;
use crate::ledger::quote::PricedBy;
use crate::ledger::reservation::Reservation;
use crate::ledger::topup::Topup;
use crate::ledger::wallet::Totals;
use crate::subscription::Subscription;
use crate::time::Timestamp;

/// The account as a command left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its totals.
    pub totals: Totals,
    /// Its version.
    pub version: u64,
    /// The instant of the command.
    pub now: Timestamp,
}

/// A recorded usage event, and all that its first answer said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// Its id.
    pub id: UsageId,
    /// Its key.
    pub key: IdempotencyKey,
    /// Of the first payload.
    pub fingerprint: Fingerprint,
    /// What was used.
    pub feature_key: FeatureKey,
    /// How much.
    pub units: Units,
    /// Properties of the event.
    pub properties: Properties,
    /// Its price.
    pub cost: Credits,
    /// What was taken or is owed; less than `cost` only where it was capped.
    pub charged: Credits,
    /// The part of that which is owed.
    pub owed: Credits,
    /// Which price it was given.
    pub priced_by: PricedBy,
    /// The tier counter that it moved.
    pub counter: Option<CounterKey>,
    /// The reservation that it came from.
    pub reservation_id: Option<ReservationId>,
    /// When it counts.
    pub effective_at: Timestamp,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// `seq` of its `usage` or `commit` entry.
    pub seq: u64,
    /// The account's totals with it.
    pub totals: Totals,
    /// The account's version with it.
    pub version: u64,
    /// Which blocks paid, as amounts taken.
    pub allocations: Vec<Allocation>,
}

/// Usage that was undone, and all that the first answer said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoidRecord {
    /// The event.
    pub usage_id: UsageId,
    /// Why, in the caller's words.
    pub reason: Option<String>,
    /// What came back to blocks, also to those that are over.
    pub returned: Credits,
    /// Open debt that was taken away.
    pub debt_undone: Credits,
    /// `seq` of its `void` entry.
    pub seq: u64,
    /// The account with it; its `now` is when it was voided.
    pub standing: Standing,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Credit was granted.
    Granted {
        /// The block, after it has paid the debts it may pay; `None` where a cap trimmed it to nothing.
        block: Option<Block>,
        /// What a cap took off.
        trimmed: Credits,
        /// The account.
        standing: Standing,
    },
    /// Usage was recorded, now or (`replayed`) before.
    Used {
        /// The record.
        record: UsageRecord,
        /// Whether this is a repeat of an event already recorded.
        replayed: bool,
    },
    /// A subscription was created.
    Subscribed {
        /// Its state.
        subscription: Subscription,
    },
    /// A subscription was changed, or what it will be.
    SubscriptionChanged {
        /// Its state.
        subscription: Subscription,
        /// The account.
        standing: Standing,
    },
    /// Usage was undone, now or (`replayed`) before.
    Voided {
        /// The record.
        record: VoidRecord,
        /// Whether it had been undone before.
        replayed: bool,
    },
    /// A reservation was made, released, or extended.
    Reserved {
        /// Its state.
        reservation: Reservation,
        /// The account.
        standing: Standing,
    },
    /// A reservation was committed.
    Committed {
        /// Its state.
        reservation: Reservation,
        /// The usage.
        record: UsageRecord,
    },
    /// The balance was corrected.
    Adjusted {
        /// By how much.
        amount: Credits,
        /// Below 0: what was taken from blocks.
        taken: Credits,
        /// Below 0: what became debt.
        owed: Credits,
        /// Above 0: the new block.
        block: Option<Block>,
        /// The account.
        standing: Standing,
    },
    /// A block was voided, now or before.
    BlockVoided {
        /// Its state.
        block: Block,
        /// What was taken out of it.
        withdrawn: Credits,
        /// The account.
        standing: Standing,
    },
    /// Credit was bought, now or (`replayed`) before.
    ToppedUp {
        /// The top-up.
        topup: Topup,
        /// Its block.
        block: Option<Block>,
        /// The account.
        standing: Standing,
        /// Whether this payment had been booked before.
        replayed: bool,
    },
    /// Bought credit was taken back.
    Refunded {
        /// The top-up.
        topup: Topup,
        /// What was taken out of its block.
        withdrawn: Credits,
        /// What is owed for what had been spent.
        owed: Credits,
        /// The account.
        standing: Standing,
    },
    /// The end user has terms of their own.
    OverrideSet {
        /// The terms.
        terms: Override,
    },
    /// The end user has none for a feature any more.
    OverrideRemoved {},
    /// What time alone has done is written.
    Advanced {},
}

impl Outcome {
    /// Notes the account's version, which is known only when the command is over.
    pub(super) fn stamp_version(&mut self, version: u64) {
        match self {
            Self::Granted { standing, .. }
            | Self::Reserved { standing, .. }
            | Self::Adjusted { standing, .. }
            | Self::BlockVoided { standing, .. }
            | Self::ToppedUp { standing, .. }
            | Self::SubscriptionChanged { standing, .. }
            | Self::Refunded { standing, .. } => standing.version = version,
            Self::Used { record, replayed: false } | Self::Committed { record, .. } => {
                record.version = version;
            }
            Self::Voided { record, replayed: false } => record.standing.version = version,
            Self::Used { .. }
            | Self::Voided { .. }
            | Self::Subscribed { .. }
            | Self::OverrideSet { .. }
            | Self::OverrideRemoved {}
            | Self::Advanced {} => {}
        }
    }
}
