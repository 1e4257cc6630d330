//! What callers can ask of subscriptions. Source: docs/subscriptions.md, "States".

use serde::{Deserialize, Serialize};

use crate::ids::{SubscriptionId, VariantId};
use crate::time::Timestamp;

/// Subscribe to the latest version of a variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// The variant.
    pub variant_id: VariantId,
    /// Seats, at least 1.
    pub quantity: u32,
    /// From when on; `None` = now.
    pub start_at: Option<Timestamp>,
    /// Takes over a customer whose period runs already.
    pub import: Option<Import>,
}

impl Subscribe {
    /// From now on.
    pub const fn now(variant_id: VariantId, quantity: u32) -> Self {
        Self { variant_id, quantity, start_at: None, import: None }
    }
}

/// A customer of another system whose period runs already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// When it began: up to one period back.
    pub period_start: Timestamp,
    /// What of its grants is given here.
    pub grants: ImportGrants,
}

/// What an imported period grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportGrants {
    /// As if it began now.
    Full,
    /// For what is left of it.
    Prorated,
    /// Nothing: it was given elsewhere.
    None,
}

/// Something asked of one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionOrder {
    /// The subscription.
    pub id: SubscriptionId,
    /// What.
    pub action: Action,
}

/// What can be asked of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// The next period is paid for.
    Renew,
    /// A payment that was missing arrived.
    MarkPaid,
    /// A payment failed.
    MarkOverdue,
    /// The trial becomes a subscription.
    Convert(When),
    /// Another variant, at its latest version.
    Change {
        /// The variant; the subscription's own is allowed for a change of quantity.
        variant_id: VariantId,
        /// Seats; `None` = as many as now.
        quantity: Option<u32>,
        /// When.
        at: When,
        /// What becomes of the credit of a change now.
        credits: ChangeCredits,
    },
    /// Another number of seats, now; prorated.
    SetQuantity(u32),
    /// The latest version of its own variant.
    Migrate {
        /// When.
        at: When,
        /// What becomes of the credit of a change now.
        credits: ChangeCredits,
    },
    /// Its clock stops.
    Pause {
        /// When.
        at: When,
        /// When it goes on by itself; `None` = not.
        resume_at: Option<Timestamp>,
    },
    /// Its clock goes on.
    Resume,
    /// It ends.
    Cancel {
        /// When.
        at: When,
        /// What becomes of its credit.
        credits: EndCredits,
    },
    /// What was asked for the end of the period is taken back.
    Uncancel(Uncancel),
}

/// Now, or at the end of what runs: the period, or the trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Now.
    Now,
    /// At the end of the period or trial.
    PeriodEnd,
}

/// What becomes of credit at a change now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeCredits {
    /// What is not earned is taken back, and the new plan gives what is left of its interval.
    #[default]
    Prorate,
    /// The old plan's blocks end, and a new period begins.
    Reset,
    /// What is there stays, and the new plan gives all.
    KeepAndAdd,
}

/// What becomes of a subscription's credit at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCredits {
    /// It lives to its expiry.
    #[default]
    Keep,
    /// It ends with the subscription.
    Void,
}

/// What is taken back of what was asked for the end of the period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uncancel {
    /// All of it.
    #[default]
    All,
    /// The cancellation.
    CancelAt,
    /// The pause.
    PauseAt,
    /// The change.
    PendingChange,
}
