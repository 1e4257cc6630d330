//! What can be subscribed to: variants of plans, and the credit that they grant.
//!
//! Source: docs/subscriptions.md, "Catalogue".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalogue::Entitlement;
use crate::credits::Credits;
use crate::ids::{CapGroup, FeatureKey, PlanId};
use crate::time::{MICROS_PER_SECOND, Period};

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanKind {
    /// At most one live subscription per end user.
    Base,
    /// Any number beside a base.
    Addon,
}

/// When a period is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BillingMode {
    /// Before it begins: without a renewal the subscription is past due.
    #[default]
    Prepaid,
    /// After it has ended: periods follow each other, and usage debt goes onto the invoice.
    Postpaid,
}

/// What becomes of a trial at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialEnd {
    /// The first period opens.
    Convert,
    /// The subscription is over.
    Expire,
}

/// For how long a subscriber is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contract {
    /// Billing periods of one term, at least 1.
    pub periods: u32,
    /// Whether another term follows.
    pub auto_renew: bool,
    /// How many days before its end a term is announced to end, at most half of the term; 0 = not at all.
    #[serde(default = "default_notice_days")]
    pub notice_days: u16,
}

impl Contract {
    /// Terms of so many periods that are announced to end 30 days before.
    pub const fn new(periods: u32, auto_renew: bool) -> Self {
        Self { periods, auto_renew, notice_days: default_notice_days() }
    }
}

/// What a period costs, for people and for whether anything has to be paid: payment is not ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantPrice {
    /// In the currency's smallest unit; 0 = free.
    pub amount: Credits,
    /// ISO 4217.
    pub currency: String,
}

/// How the `config` value of an add-on joins the base's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// Both added up, where both are whole numbers.
    Sum,
    /// The greater of the two, where both are whole numbers.
    Max,
}

/// How often a grant template gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantInterval {
    /// Once per end user and template.
    Once,
    /// At each start of a billing period (of the trial).
    BillingPeriod,
    /// Every so long from the subscription's start, across periods.
    Every(Period),
}

/// While what a template gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantOn {
    /// While periods run.
    #[default]
    Period,
    /// During the trial.
    Trial,
}

/// Credit that a variant gives its subscribers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantTemplate {
    /// Credits per subscription and unit of quantity; more than 0.
    pub amount: Credits,
    /// How often.
    pub interval: GrantInterval,
    /// While what.
    #[serde(default)]
    pub on: GrantOn,
    /// Burn priority of the block, 0 first.
    pub priority: u8,
    /// When the block ends, counted from the grant; `None` = with its interval, for `once` never.
    #[serde(default)]
    pub expires_after: Option<Period>,
    /// Which part of what is left at the end moves into the next interval, 0 to 100.
    #[serde(default)]
    pub rollover_percent: u8,
    /// The most that moves; `None` = no limit.
    #[serde(default)]
    pub rollover_cap: Option<Credits>,
    /// Sorted; empty = any feature.
    pub feature_keys: Vec<FeatureKey>,
    /// What the usable blocks of this template, or of its cap group, may have in all.
    pub accumulation_cap: Option<Credits>,
    /// Templates and grants that share one accumulation cap.
    pub cap_group: Option<CapGroup>,
    /// Whether the block pays debts.
    pub settles_debt: bool,
}

impl GrantTemplate {
    /// A template for any feature, without rollover and caps.
    pub const fn new(amount: Credits, interval: GrantInterval) -> Self {
        Self {
            amount,
            interval,
            on: GrantOn::Period,
            priority: 100,
            expires_after: None,
            rollover_percent: 0,
            rollover_cap: None,
            feature_keys: Vec::new(),
            accumulation_cap: None,
            cap_group: None,
            settles_debt: true,
        }
    }
}

/// One version of a variant of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// The plan it belongs to.
    pub plan_id: PlanId,
    /// The plan's kind.
    pub plan_kind: PlanKind,
    /// Counts edits, from 1.
    pub version: u32,
    /// Length of a billing period.
    pub billing_period: Period,
    /// When a period is paid for.
    #[serde(default)]
    pub billing_mode: BillingMode,
    /// Days of the trial; 0 = none.
    #[serde(default)]
    pub trial_days: u16,
    /// What becomes of the trial; `None` = postpaid converts, prepaid expires.
    #[serde(default)]
    pub trial_end: Option<TrialEnd>,
    /// For how many days before its end a period can be renewed.
    #[serde(default = "default_days")]
    pub renewal_due_days: u16,
    /// For how many days a subscription that was not paid for is past due before it is over.
    #[serde(default = "default_days")]
    pub grace_period_days: u16,
    /// Whether the subscriber can go on while past due.
    #[serde(default = "default_true")]
    pub allow_usage_while_overdue: bool,
    /// For how long a subscriber is bound.
    #[serde(default)]
    pub contract: Option<Contract>,
    /// What a period costs; `None` = not known here.
    #[serde(default)]
    pub price: Option<VariantPrice>,
    /// Whether the debt of usage stays with the end user when a postpaid period closes.
    #[serde(default)]
    pub carry_debt: bool,
    /// How many minutes after the end of a postpaid period its usage is summed up; what arrives later is late.
    #[serde(default = "default_summary_delay")]
    pub summary_delay_minutes: u16,
    /// Whether end users fall back to it when their base subscription ends.
    #[serde(default)]
    pub fallback: bool,
    /// Whether it takes no new subscribers.
    #[serde(default)]
    pub archived: bool,
    /// What subscribers are given.
    pub grants: Vec<GrantTemplate>,
    /// What subscribers may do.
    pub entitlements: BTreeMap<FeatureKey, Entitlement>,
}

const fn default_days() -> u16 {
    3
}

const fn default_notice_days() -> u16 {
    30
}

const fn default_summary_delay() -> u16 {
    60
}

const fn default_true() -> bool {
    true
}

impl Variant {
    /// The first version of a prepaid variant that gives nothing yet.
    pub const fn new(plan_id: PlanId, plan_kind: PlanKind, billing_period: Period) -> Self {
        Self {
            plan_id,
            plan_kind,
            version: 1,
            billing_period,
            billing_mode: BillingMode::Prepaid,
            trial_days: 0,
            trial_end: None,
            renewal_due_days: default_days(),
            grace_period_days: default_days(),
            allow_usage_while_overdue: default_true(),
            contract: None,
            price: None,
            carry_debt: false,
            summary_delay_minutes: default_summary_delay(),
            fallback: false,
            archived: false,
            grants: Vec::new(),
            entitlements: BTreeMap::new(),
        }
    }

    /// Whether its periods follow each other without a renewal: postpaid, free, or the fallback. A price that is not
    /// given is unknown, not 0.
    pub fn advances_by_itself(&self) -> bool {
        self.billing_mode == BillingMode::Postpaid
            || self.fallback
            || self.price.as_ref().is_some_and(|price| price.amount.is_zero())
    }

    /// Whether a trial converts at its end if nobody says otherwise.
    pub const fn trial_converts(&self) -> bool {
        match (self.trial_end, self.billing_mode) {
            (Some(end), _) => matches!(end, TrialEnd::Convert),
            (None, mode) => matches!(mode, BillingMode::Postpaid),
        }
    }

    /// How long after the end of a period its usage is summed up, in microseconds.
    pub const fn summary_delay_micros(&self) -> i64 {
        self.summary_delay_minutes as i64 * 60 * MICROS_PER_SECOND
    }

    /// Whether usage debt goes onto an invoice when a period closes.
    pub fn bills_debt(&self) -> bool {
        self.billing_mode == BillingMode::Postpaid && !self.carry_debt
    }
}
