//! The answer to a check. Source: docs/entitlements.md, "Reasons".

use serde::{Deserialize, Serialize};

use crate::catalogue::OveragePolicy;
use crate::credits::{Credits, Units};
use crate::subscription::SubscriptionStatus;

/// Why a check was answered as it was: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Allowed.
    Ok,
    /// Allowed, and some of it would become debt.
    WithinOverdraft,
    /// Not enough credit.
    InsufficientCredits,
    /// The end user has a plan, and it does not give the feature.
    FeatureNotInPlan,
    /// The end user has no plan, and the feature needs one.
    NoSubscription,
    /// What would give the feature is paused.
    SubscriptionPaused,
    /// What would give the feature is past due.
    SubscriptionPastDue,
    /// The feature has no price and cannot be charged.
    FeatureUnpriced,
    /// There is no such feature.
    FeatureUnknown,
    /// Debt would pass the feature's limit.
    OverdraftLimit,
    /// The sidecar's copy is too old, and the server is out of reach.
    StaleReplica,
}

/// The answer to a check, without where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether the end user may.
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// The units that were asked for.
    pub units: Units,
    /// Of the credit that may pay for the feature.
    pub balance: Credits,
    /// Of the credit that may pay for the feature.
    pub reserved: Credits,
    /// Of the credit that may pay for the feature.
    pub available: Credits,
    /// What the units would cost; metered features with a price.
    pub estimated_cost: Option<Credits>,
    /// The balance with that cost, if that is still an amount; metered features with a price.
    pub balance_after: Option<Credits>,
    /// The most units that would be allowed now; `None` = no limit, or not metered.
    pub units_affordable: Option<Units>,
    /// JSON text; `config` features that are given.
    pub value: Option<String>,
    /// What happens on a shortfall; metered features.
    pub overage_policy: Option<OveragePolicy>,
    /// Of the base subscription.
    pub subscription_status: Option<SubscriptionStatus>,
    /// Of the state it was read from.
    pub version: u64,
}
