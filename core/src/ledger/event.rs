//! Events: what the ledger announces. They are stored in the transaction of the change that caused them.

use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::ids::{BlockId, EventId, FeatureKey};
use crate::subscription::Subscription;
use crate::time::Timestamp;

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
        /// Whose debt.
        feature_key: FeatureKey,
        /// How much.
        debt: Credits,
        /// Whether the feature asks for a notice of its own (policy `notify`).
        notify: bool,
    },
    /// A subscription began.
    #[serde(rename = "subscription.created")]
    SubscriptionCreated {
        /// Its state.
        subscription: Subscription,
    },
    /// A subscription is over.
    #[serde(rename = "subscription.expired")]
    SubscriptionExpired {
        /// Its last state.
        subscription: Subscription,
    },
}
