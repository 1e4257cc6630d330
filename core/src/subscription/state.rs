//! A [`Subscription`] as it stands, and what time will do to it next. Source: docs/subscriptions.md, "States".

use serde::{Deserialize, Serialize};

use crate::catalogue::{PlanKind, Variant};
use crate::credits::Credits;
use crate::ids::{PlanId, SubscriptionId, VariantId};
use crate::subscription::allowance::{Allowance, Intervals};
use crate::subscription::machine::Happening;
use crate::subscription::order::EndCredits;
use crate::time::{Interval, Series, Timestamp};

/// Where a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// It starts later.
    Scheduled,
    /// Its trial runs.
    Trialing,
    /// Its period runs.
    Active,
    /// It was not paid for, and may still be.
    PastDue,
    /// Its clock stands.
    Paused,
    /// It was ended.
    Canceled,
    /// It has ended.
    Expired,
}

impl SubscriptionStatus {
    /// Every status.
    pub const ALL: [Self; 7] =
        [Self::Scheduled, Self::Trialing, Self::Active, Self::PastDue, Self::Paused, Self::Canceled, Self::Expired];

    /// Whether nothing can happen to it any more.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Canceled | Self::Expired)
    }

    /// Its name, as its JSON form has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Paused => "paused",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
        }
    }
}

/// Which version of which variant, for how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The variant.
    pub variant_id: VariantId,
    /// Its version.
    pub variant_version: u32,
    /// Seats; multiplies grants.
    pub quantity: u32,
}

/// Why a subscription is past due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overdue {
    /// Whether a period ended without a renewal, so that none runs; otherwise a payment failed, and periods go on.
    pub is_unrenewed: bool,
    /// When it is over.
    pub grace_ends: Timestamp,
}

/// A pause that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Since when.
    pub since: Timestamp,
    /// When it ends by itself; `None` = not.
    pub resume_at: Option<Timestamp>,
    /// Of an add-on: whether it sleeps because its base is paused.
    pub with_base: bool,
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
    /// Whether it is what the end user fell back to.
    pub is_fallback: bool,
    /// Where it stands.
    pub status: SubscriptionStatus,
    /// Seats; multiplies grants.
    pub quantity: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// The billing period that runs; in a trial the trial; of a scheduled one the first.
    pub current_period: Interval,
    /// By how much pauses have made it longer, in microseconds.
    pub stretched_micros: i64,
    /// Where its billing periods stand.
    pub series: Series,
    /// The intervals of templates' own.
    pub intervals: Intervals,
    /// When it began.
    pub started_at: Timestamp,
    /// When its trial ends or has ended.
    pub trial_end: Option<Timestamp>,
    /// Whether the trial was asked to convert at its end, whatever its variant says.
    pub asked_to_convert: bool,
    /// Whether the next period is paid for.
    pub renewed: bool,
    /// When it will be canceled.
    pub cancel_at: Option<Timestamp>,
    /// What becomes of its credit then.
    pub cancel_credits: EndCredits,
    /// When it will pause.
    pub pause_at: Option<Timestamp>,
    /// When that pause will end.
    pub pause_until: Option<Timestamp>,
    /// The pause that runs.
    pub paused: Option<Paused>,
    /// Why it is past due.
    pub overdue: Option<Overdue>,
    /// When the contract's term ends.
    pub contract_end: Option<Timestamp>,
    /// When that is announced; `None` = it was, or it is not.
    pub contract_notice: Option<Timestamp>,
    /// What it will be from the end of the period on.
    pub pending_change: Option<Target>,
    /// What its recurring templates give in the intervals that run.
    pub allowances: Vec<Allowance>,
    /// What changes could not take back in this period: later grants of changes are less by it.
    pub owed: Credits,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// What ended it.
    pub ended_by: Option<Happening>,
}

/// What time will do to a subscription, in order of precedence at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Occurrence {
    /// It is canceled.
    Cancel,
    /// The trial ends.
    TrialEnd,
    /// The grace period ends.
    GraceEnd,
    /// The contract's term ends.
    ContractEnd,
    /// It pauses.
    Pause,
    /// It goes on after a pause.
    Resume,
    /// The period ends.
    PeriodEnd,
    /// The end of the contract's term is announced.
    ContractNotice,
    /// It starts.
    Start,
    /// An interval of a grant template ends.
    IntervalEnd,
}

impl Subscription {
    /// A scheduled subscription whose first period is to begin at `start`.
    pub fn scheduled(id: SubscriptionId, target: Target, variant: &Variant, now: Timestamp, start: Timestamp) -> Self {
        let (current_period, series) = Series::begin(start, variant.billing_period);
        Self {
            id,
            plan_id: variant.plan_id,
            plan_kind: variant.plan_kind,
            variant_id: target.variant_id,
            variant_version: target.variant_version,
            is_fallback: variant.fallback,
            status: SubscriptionStatus::Scheduled,
            quantity: target.quantity,
            created_at: now,
            current_period,
            stretched_micros: 0,
            series,
            intervals: Intervals::begin(start),
            started_at: start,
            trial_end: None,
            asked_to_convert: false,
            renewed: false,
            cancel_at: None,
            cancel_credits: EndCredits::Keep,
            pause_at: None,
            pause_until: None,
            paused: None,
            overdue: None,
            contract_end: None,
            contract_notice: None,
            pending_change: None,
            allowances: Vec::new(),
            owed: Credits::ZERO,
            ended_at: None,
            ended_by: None,
        }
    }

    /// Which variant it is on, for how many.
    pub const fn target(&self) -> Target {
        Target { variant_id: self.variant_id, variant_version: self.variant_version, quantity: self.quantity }
    }

    /// Whether its periods run: it gives its grants, and what is left of them at their end rolls over.
    pub const fn carries_on(&self) -> bool {
        match self.status {
            SubscriptionStatus::Trialing | SubscriptionStatus::Active => true,
            SubscriptionStatus::PastDue => matches!(self.overdue, Some(Overdue { is_unrenewed: false, .. })),
            SubscriptionStatus::Scheduled
            | SubscriptionStatus::Paused
            | SubscriptionStatus::Canceled
            | SubscriptionStatus::Expired => false,
        }
    }

    /// Whether it has begun and is not over.
    pub const fn is_running(&self) -> bool {
        !self.status.is_over() && !matches!(self.status, SubscriptionStatus::Scheduled)
    }

    /// Whether a period has ended and nobody has paid for the next one.
    pub(super) fn is_unrenewed(&self) -> bool {
        self.overdue.is_some_and(|overdue| overdue.is_unrenewed)
    }

    /// A pause whose instant has passed while nothing was paid does not come.
    pub(super) fn forget_missed_pause(&mut self, now: Timestamp) {
        if self.pause_at.is_some_and(|at| at <= now) {
            (self.pause_at, self.pause_until) = (None, None);
        }
    }

    /// Opens the next period of the series.
    pub(super) const fn open(&mut self, period: Interval, series: Series) {
        (self.current_period, self.series, self.stretched_micros) = (period, series, 0);
    }

    /// Opens the first period of another series.
    pub(super) const fn open_series(&mut self, period: Interval, series: Series) {
        self.open(period, series);
        self.intervals = Intervals::begin(series.anchor);
    }

    /// Where tiers by billing period count: the period that runs, as long as it was without pauses, so that those count on.
    pub const fn tier_window(&self) -> Interval {
        let Interval { start, end } = self.current_period;
        Interval { start, end: end.saturating_add_micros(-self.stretched_micros) }
    }

    /// The billing period that it is in, also in a pause; `None` in a trial, where nobody paid for it, and before and
    /// after all.
    pub fn billing_period(&self) -> Option<Interval> {
        let has_one = match self.status {
            SubscriptionStatus::Active | SubscriptionStatus::Paused => true,
            SubscriptionStatus::PastDue => !self.is_unrenewed(),
            SubscriptionStatus::Scheduled
            | SubscriptionStatus::Trialing
            | SubscriptionStatus::Canceled
            | SubscriptionStatus::Expired => false,
        };
        has_one.then_some(self.current_period)
    }

    /// What time will do next, and when: the first at the earliest instant, by precedence.
    pub fn next_occurrence(&self) -> Option<(Timestamp, Occurrence)> {
        let runs = self.carries_on();
        let has_period = runs && self.status != SubscriptionStatus::Trialing;
        let period_end = Some(self.current_period.end).filter(|end| *end < Timestamp::MAX);
        let interval_ends = self.allowances.iter().filter(|own| own.every.is_some() && !own.is_lazy());
        let interval_end = interval_ends.map(|own| own.until).min().filter(|end| *end < Timestamp::MAX);
        let when = |holds: bool, at: Option<Timestamp>| at.filter(|_| holds);
        let is = |status| self.status == status;
        let candidates = [
            (when(runs, self.cancel_at), Occurrence::Cancel),
            (when(is(SubscriptionStatus::Trialing), self.trial_end), Occurrence::TrialEnd),
            (when(is(SubscriptionStatus::PastDue), self.overdue.map(|due| due.grace_ends)), Occurrence::GraceEnd),
            (when(has_period, self.contract_end), Occurrence::ContractEnd),
            (when(is(SubscriptionStatus::Active), self.pause_at), Occurrence::Pause),
            (when(is(SubscriptionStatus::Paused), self.paused.and_then(|pause| pause.resume_at)), Occurrence::Resume),
            (when(has_period, period_end), Occurrence::PeriodEnd),
            (when(has_period && !self.is_canceled_by_term_end(), self.contract_notice), Occurrence::ContractNotice),
            (when(is(SubscriptionStatus::Scheduled), Some(self.current_period.start)), Occurrence::Start),
            (when(runs, interval_end), Occurrence::IntervalEnd),
        ];
        candidates.into_iter().filter_map(|(at, occurrence)| Some((at?, occurrence))).min()
    }

    /// Whether an interval that nobody is woken for has ended by `now`.
    pub fn lags(&self, now: Timestamp) -> bool {
        self.carries_on() && self.allowances.iter().any(|own| own.is_lazy() && own.is_over(now))
    }
}
