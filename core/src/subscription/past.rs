//! [`Past`]: what an end user was subscribed to before, for as long as usage that counts then can arrive.
//!
//! Source: docs/ledger.md, "Price of a feature".

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::catalogue::PlanKind;
use crate::ids::{SubscriptionId, VariantId};
use crate::ledger::wallet::Wallet;
use crate::limits::{LATE_WINDOW_MICROS, PAST_STRETCHES_MAX};
use crate::subscription::state::{Subscription, SubscriptionStatus};
use crate::time::{Interval, Timestamp};

/// What prices and tiers go by, of a subscription that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// Which subscription.
    pub id: SubscriptionId,
    /// Base or add-on.
    pub plan_kind: PlanKind,
    /// Its variant,
    pub variant_id: VariantId,
    /// in this version.
    pub variant_version: u32,
    /// The billing period that ran; in a pause without an end, for nobody knew it.
    pub period: Interval,
    /// Where tiers by billing period count.
    pub tier_window: Interval,
}

/// Until when an end user was subscribed to these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stretch {
    until: Timestamp,
    subscribed: Vec<Subscribed>,
}

/// In order of time, up to what holds now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Past(Vec<Stretch>);

impl Past {
    /// Whether nothing has changed as far back as is remembered.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn iter(&self) -> impl Iterator<Item = &Subscribed> {
        self.0.iter().flat_map(|stretch| &stretch.subscribed)
    }

    /// What held at `at`, in order of precedence; `None` = what holds now.
    pub fn at(&self, at: Timestamp) -> Option<&[Subscribed]> {
        let place = self.0.partition_point(|stretch| stretch.until <= at);
        self.0.get(place).map(|stretch| stretch.subscribed.as_slice())
    }

    /// What holds now has held since `since`; before it did these. Forgets what usage can no longer count in at `now`.
    pub(crate) fn note(&mut self, subscribed: Vec<Subscribed>, since: Timestamp, now: Timestamp) {
        if self.0.last().is_none_or(|last| last.until < since) {
            self.0.push(Stretch { until: since, subscribed });
        }
        let oldest = now.saturating_add_micros(-LATE_WINDOW_MICROS);
        let forgotten = self.0.partition_point(|stretch| stretch.until <= oldest);
        self.0.drain(..forgotten.max(self.0.len().saturating_sub(PAST_STRETCHES_MAX)));
    }
}

impl Subscribed {
    fn of(own: &Subscription) -> Self {
        let Interval { start, end } = own.current_period;
        let end = if own.status == SubscriptionStatus::Paused { Timestamp::MAX } else { end };
        let period = Interval { start, end };
        Self {
            id: own.id,
            plan_kind: own.plan_kind,
            variant_id: own.variant_id,
            variant_version: own.variant_version,
            period,
            tier_window: own.tier_window(),
        }
    }

    /// Whether prices and tiers are the same under both. A period that only became longer is the same.
    fn is_like(&self, other: &Self) -> bool {
        let place = |own: &Self| {
            let period_start = (own.plan_kind == PlanKind::Base).then_some(own.period.start);
            (own.id, own.variant_id, own.variant_version, period_start)
        };
        place(self) == place(other)
    }
}

/// Whether prices and tiers are the same under all of them.
pub(crate) fn are_alike(some: &[Subscribed], others: &[Subscribed]) -> bool {
    some.len() == others.len() && some.iter().zip(others).all(|(own, other)| own.is_like(other))
}

impl<L> Wallet<L> {
    /// The subscriptions that run, in order of precedence: add-ons, the latest started first, then the base.
    pub fn running(&self) -> Vec<&Subscription> {
        let mut running: Vec<_> = self.subscriptions.iter().filter(|own| own.is_running()).collect();
        running.sort_by_key(|own| (own.plan_kind == PlanKind::Base, Reverse((own.started_at, own.created_at, own.id))));
        running
    }

    /// Where tiers by billing period count, in the period that runs and those before that are remembered.
    pub fn tier_windows(&self) -> Vec<Interval> {
        let now = self.base().map(Subscription::tier_window);
        let before = self.past.iter().filter(|own| own.plan_kind == PlanKind::Base).map(|own| own.tier_window);
        now.into_iter().chain(before).collect()
    }

    /// What holds now, in order of precedence.
    pub(crate) fn subscribed(&self) -> Vec<Subscribed> {
        self.running().into_iter().map(Subscribed::of).collect()
    }
}
