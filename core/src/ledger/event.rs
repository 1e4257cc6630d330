//! Events: what the ledger announces. They are stored in the transaction of the change that caused them.

use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::ids::{BlockId, EventId, FeatureKey, ReservationId, SidecarId, SubscriptionId, TopupId, UsageId};
use crate::ledger::tally::FeatureUsage;
use crate::subscription::Subscription;
use crate::subscription::machine::Happening;
use crate::time::{Interval, Timestamp};

/// One announcement about one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// When what it announces happened.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What can be announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum EventKind {
    /// The first write of an end user.
    #[serde(rename = "end_user.created")]
    EndUserCreated {},
    /// A block was granted.
    #[serde(rename = "credits.granted")]
    CreditsGranted {
        /// The block.
        block_id: BlockId,
        /// Its credit.
        amount: Credits,
    },
    /// A block ended with credit left.
    #[serde(rename = "credits.expired")]
    CreditsExpired {
        /// The block.
        block_id: BlockId,
        /// What expired.
        amount: Credits,
    },
    /// A debt rose from 0.
    #[serde(rename = "credits.overdrawn")]
    CreditsOverdrawn {
        /// Whose debt; `None` for a debt from a correction or a claw-back.
        feature_key: Option<FeatureKey>,
        /// How much.
        debt: Credits,
        /// Whether the feature asks for a notice of its own (policy `notify`).
        notify: bool,
    },
    /// Usage was undone.
    #[serde(rename = "usage.voided")]
    UsageVoided {
        /// The event.
        usage_id: UsageId,
        /// What came back, and what is not owed any more.
        amount: Credits,
    },
    /// A reservation's time ran out with credit held.
    #[serde(rename = "reservation.expired")]
    ReservationExpired {
        /// The reservation.
        reservation_id: ReservationId,
        /// What it gave back.
        amount: Credits,
    },
    /// A person corrected the balance.
    #[serde(rename = "credits.adjusted")]
    CreditsAdjusted {
        /// By how much.
        amount: Credits,
    },
    /// A block was voided, or credit came back to one that is.
    #[serde(rename = "credits.withdrawn")]
    CreditsWithdrawn {
        /// The block.
        block_id: BlockId,
        /// What was taken out of it.
        amount: Credits,
    },
    /// A top-up was refunded.
    #[serde(rename = "credits.refunded")]
    CreditsRefunded {
        /// The top-up.
        topup_id: TopupId,
        /// Its block.
        block_id: BlockId,
        /// What was taken out of it.
        withdrawn: Credits,
        /// What is owed for what had been spent.
        owed: Credits,
    },
    /// The end user was given terms of their own for a feature, or lost them.
    #[serde(rename = "end_user.override_changed")]
    OverrideChanged {
        /// The feature.
        feature_key: FeatureKey,
        /// Whether there are any now.
        is_set: bool,
    },
    /// A subscription began.
    #[serde(rename = "subscription.created")]
    SubscriptionCreated {
        /// Its state.
        subscription: Box<Subscription>,
    },
    /// A subscription, or what it will be, has changed.
    #[serde(rename = "subscription.updated")]
    SubscriptionUpdated {
        /// Its state.
        subscription: Box<Subscription>,
        /// Its state before.
        before: Box<Subscription>,
        /// What happened.
        happening: Happening,
    },
    /// A subscription was ended.
    #[serde(rename = "subscription.canceled")]
    SubscriptionCanceled {
        /// Its last state.
        subscription: Box<Subscription>,
        /// Its state before.
        before: Box<Subscription>,
        /// What happened.
        happening: Happening,
    },
    /// A subscription has ended.
    #[serde(rename = "subscription.expired")]
    SubscriptionExpired {
        /// Its last state.
        subscription: Box<Subscription>,
        /// Its state before.
        before: Box<Subscription>,
        /// What happened.
        happening: Happening,
    },
    /// The term of a subscription's contract will end: at `contract_end`.
    #[serde(rename = "subscription.contract_ending")]
    ContractEnding {
        /// Its state.
        subscription: Box<Subscription>,
        /// Whether another term follows.
        renews: bool,
    },
    /// What was used in a postpaid period that is over.
    #[serde(rename = "subscription.usage_summary")]
    UsageSummary {
        /// The subscription.
        subscription_id: SubscriptionId,
        /// The period, as far as it was postpaid.
        period: Interval,
        /// What was used in it, per feature.
        features: Vec<FeatureUsage>,
        /// What arrived of earlier periods, or was undone, since the summary before.
        late: Vec<FeatureUsage>,
    },
    /// What a lease held came back at its end, without a word of its holder.
    #[serde(rename = "lease.abandoned")]
    LeaseAbandoned {
        /// The lease.
        lease_id: ReservationId,
        /// Whose it was.
        sidecar_id: SidecarId,
        /// What came back.
        amount: Credits,
    },
    /// Usage that was admitted under a lease was reported after its credit had gone back.
    #[serde(rename = "lease.late")]
    LeaseLate {
        /// The lease.
        lease_id: ReservationId,
        /// The usage.
        usage_id: UsageId,
        /// What it cost.
        cost: Credits,
    },
    /// Debts of usage went onto the invoice of a period.
    #[serde(rename = "subscription.debt_billed")]
    DebtBilled {
        /// The subscription.
        subscription_id: SubscriptionId,
        /// What was owed, per feature.
        debts: Vec<(FeatureKey, Credits)>,
    },
}
