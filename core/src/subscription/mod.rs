//! Subscriptions of an end user to a variant of a plan. Source: docs/subscriptions.md.
//!
//! A subscription lives for the billing period it was created with; at the end of that period it is over.

pub(crate) mod create;

use serde::{Deserialize, Serialize};

use crate::catalogue::PlanKind;
use crate::ids::{PlanId, SubscriptionId, VariantId};
use crate::time::Timestamp;

/// Where a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// Its period runs.
    Active,
    /// Its period is over.
    Expired,
}

/// A half-open interval `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// First instant inside.
    pub start: Timestamp,
    /// First instant outside.
    pub end: Timestamp,
}

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Its id.
    pub id: SubscriptionId,
    /// The plan.
    pub plan_id: PlanId,
    /// Base or add-on.
    pub plan_kind: PlanKind,
    /// The variant.
    pub variant_id: VariantId,
    /// The variant's version that it keeps.
    pub variant_version: u32,
    /// Where it stands.
    pub status: SubscriptionStatus,
    /// Seats; multiplies grants.
    pub quantity: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// The billing period that runs.
    pub current_period: Interval,
}

impl Subscription {
    /// Whether its last period is over by `now`.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.current_period.end <= now
    }

    /// As it stands at `now`, also if its end has not been written yet.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        if self.is_over(now) { Self { status: SubscriptionStatus::Expired, ..self } } else { self }
    }
}
