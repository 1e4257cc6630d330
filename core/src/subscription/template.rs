//! Grant templates: what one gives in the interval that runs, how intervals of its own turn, and what rolls over.
//!
//! Source: docs/subscriptions.md, "Catalogue" and docs/subscriptions.md, "Rollover".

use crate::catalogue::{GrantInterval, GrantOn, GrantTemplate, Variant};
use crate::credits::Credits;
use crate::ids::SubscriptionId;
use crate::ledger::block::{BlockKind, HasLot, Lot, Origin, RolloverRule};
use crate::ledger::motion::{LotOrder, Motion};
use crate::subscription::allowance::{Allowance, portion, times};
use crate::subscription::given::FallbackPeriods;
use crate::subscription::state::{Subscription, SubscriptionStatus};
use crate::time::{Interval, Period, Timestamp};

/// Which part of their interval's amount the templates give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// All of it.
    Full,
    /// Of a period that opens all, of intervals of their own what is left.
    Opening,
    /// What is left of the interval.
    Left,
    /// Nothing.
    Nothing,
}

/// The interval of a template that runs, and what comes after it.
struct Running {
    interval: Interval,
    /// How long it is without pauses, in microseconds.
    micros: i64,
    every: Option<Period>,
    next_end: Timestamp,
}

impl<L: HasLot> Motion<'_, L> {
    /// Has the templates that `which` names give their share for the intervals that run now. What one falls back to gives
    /// once per interval.
    pub(super) fn give(
        &mut self,
        own: &mut Subscription,
        variant: &Variant,
        share: Share,
        which: impl Fn(&GrantTemplate) -> bool,
    ) {
        let phase = if own.status == SubscriptionStatus::Trialing { GrantOn::Trial } else { GrantOn::Period };
        let mut orders = Vec::new();
        let templates = (0..).zip(&variant.grants).filter(|(_, template)| template.on == phase && which(template));
        for (index, template) in templates {
            let whole = times(template.amount, own.quantity);
            self.was_cut |= whole == Credits::MAX;
            let Some(running) = running(own, variant, template, self.at) else {
                if self.wallet.given.once.insert((own.variant_id, index)) && share != Share::Nothing {
                    let expires_at = template.expires_after.map(|after| after.end(self.at, 0));
                    orders.push(order(own, index, template, whole, self.at, expires_at, None));
                }
                continue;
            };
            let Running { interval, micros, every, next_end } = running;
            let left = interval.end.micros_since(self.at);
            let of_left = (portion(whole, left, micros), left);
            // Noted whether or not it makes a difference now.
            let is_first = !variant.fallback || self.is_first_on_fallback(index, interval.end);
            let (mut amount, mut span_micros) = match share {
                Share::Full => (whole, left),
                Share::Opening if every.is_none() => (whole, left),
                Share::Opening | Share::Left | Share::Nothing => of_left,
            };
            if !is_first {
                amount = Credits::ZERO;
            }
            span_micros = span_micros.max(1);
            let owed = own.owed.min(amount);
            own.owed -= owed;
            let (granted_at, until) = (self.at, interval.end);
            own.allowances.push(Allowance { template: index, amount, granted_at, until, span_micros, every });
            // What was given elsewhere is worth what is left of it, in case of a change, and makes no block here.
            let here = if share == Share::Nothing { Credits::ZERO } else { amount - owed };
            let lot = (here, granted_at, Some((until, next_end)));
            orders.extend(recurring(own, variant, index, template, lot));
        }
        self.order(own.id, orders);
    }

    /// Whether the end user was not yet given what a template of the fallback gives up to `until`. Notes that they are.
    fn is_first_on_fallback(&mut self, template: u16, until: Timestamp) -> bool {
        let at = self.at;
        let first = || FallbackPeriods { anchor: at, granted_until: Default::default() };
        let periods = self.wallet.given.fallback.get_or_insert_with(first);
        let before = periods.granted_until.get(&template).copied();
        // Never less: an import or a change may come with an interval that ends earlier.
        periods.granted_until.insert(template, before.map_or(until, |before| before.max(until)));
        before.is_none_or(|before| before <= at)
    }

    /// What the fallback has given for the intervals that run gives way to what it gives after a change.
    pub(super) fn forget_given(&mut self, own: &Subscription) {
        let Some(periods) = &mut self.wallet.given.fallback else { return };
        for allowance in own.allowances.iter().filter(|allowance| allowance.amount.is_positive()) {
            periods.granted_until.remove(&allowance.template);
        }
    }

    /// Intervals of templates' own that are over turn; only `lazy` ones, or only the others.
    pub(super) fn turn_intervals(&mut self, id: SubscriptionId, lazy: bool) {
        let mut own = self.subscription(id).clone();
        let Some(variant) = self.variant(own.target()) else {
            own.allowances.retain(|allowance| allowance.every.is_none());
            return self.replace(own);
        };
        let at = self.at;
        let mut orders = Vec::new();
        let mut allowances = std::mem::take(&mut own.allowances);
        self.note_rolling_of(&own, variant, allowances.iter().filter(|it| it.is_over(at) && it.is_lazy() == lazy));
        for allowance in allowances.iter_mut().filter(|it| it.is_over(at) && it.is_lazy() == lazy) {
            let length = allowance.every.expect("only intervals of its own are over by themselves");
            let (interval, next_end) = own.intervals.running(length, at);
            let template = &variant.grants[usize::from(allowance.template)];
            let mut amount = times(template.amount, own.quantity);
            if variant.fallback && !self.is_first_on_fallback(allowance.template, interval.end) {
                amount = Credits::ZERO;
            }
            allowance.amount = amount;
            (allowance.granted_at, allowance.until) = (interval.start, interval.end);
            allowance.span_micros = interval.micros().max(1);
            let lot = (amount, interval.start, Some((interval.end, next_end)));
            orders.extend(recurring(&own, variant, allowance.template, template, lot));
        }
        own.allowances = allowances;
        self.order(id, orders);
        self.replace(own);
    }

    /// Intervals that nobody is woken for turn, for whoever is there now.
    pub(crate) fn turn_what_lags(&mut self) {
        let lagging = self.wallet.subscriptions.iter().filter(|own| own.lags(self.at)).map(|own| own.id);
        for id in lagging.collect::<Vec<_>>() {
            self.turn_intervals(id, true);
        }
    }

    /// What comes back to blocks of the period, which is over, moves on.
    pub(super) fn note_rolling(&mut self, own: &Subscription, variant: &Variant) {
        let with_period = own.allowances.iter().filter(|allowance| allowance.every.is_none());
        self.note_rolling_of(own, variant, with_period);
    }

    /// What comes back to blocks of these intervals, which are over, moves on: also where nothing was left at the end.
    fn note_rolling_of<'b>(
        &mut self,
        own: &Subscription,
        variant: &Variant,
        over: impl Iterator<Item = &'b Allowance>,
    ) {
        for allowance in over {
            let template = variant.grants.get(usize::from(allowance.template));
            let Some(template) = template.filter(|template| template.expires_after.is_none()) else { continue };
            let next_end = match allowance.every {
                Some(length) => own.intervals.running(length, allowance.until).0.end,
                None => own.series.next_end(variant.billing_period),
            };
            if let Some(rule) = rollover_rule(template, next_end)
                && rule.until > self.at
                && allowance.until <= self.at
            {
                self.wallet.rollovers.open(origin(own, allowance.template), allowance.until, rule);
            }
        }
    }
}

/// The interval of a template that runs at `at`; `None` for what is given once.
fn running(own: &Subscription, variant: &Variant, template: &GrantTemplate, at: Timestamp) -> Option<Running> {
    match template.interval {
        GrantInterval::Once => None,
        GrantInterval::BillingPeriod => {
            let next_end = match own.status {
                SubscriptionStatus::Trialing => variant.billing_period.end(own.current_period.end, 0),
                _ => own.series.next_end(variant.billing_period),
            };
            let micros = own.tier_window().micros();
            Some(Running { interval: own.current_period, micros, every: None, next_end })
        }
        GrantInterval::Every(length) => {
            let (interval, next_end) = own.intervals.running(length, at);
            Some(Running { interval, micros: interval.micros(), every: Some(length), next_end })
        }
    }
}

const fn origin(own: &Subscription, template: u16) -> Origin {
    Origin { subscription_id: own.id, variant_id: own.variant_id, template }
}

fn rollover_rule(template: &GrantTemplate, until: Timestamp) -> Option<RolloverRule> {
    let rule = RolloverRule { percent: template.rollover_percent, cap: template.rollover_cap, until };
    (rule.percent > 0).then_some(rule)
}

/// The grant of an interval: amount, since when, and the ends of the interval and of the one after it.
fn recurring(
    own: &Subscription,
    variant: &Variant,
    index: u16,
    template: &GrantTemplate,
    (amount, since, ends): (Credits, Timestamp, Option<(Timestamp, Timestamp)>),
) -> Option<LotOrder> {
    let (until, next_end) = ends?;
    let length = match template.interval {
        GrantInterval::Every(length) => length,
        GrantInterval::Once | GrantInterval::BillingPeriod => variant.billing_period,
    };
    let (expires_at, rolls_until) = match template.expires_after {
        None => (until, next_end),
        Some(after) => (after.end(since, 0), length.end(after.end(since, 0), 0)),
    };
    let rollover = rollover_rule(template, rolls_until);
    let gives = amount.is_positive() && expires_at > since;
    gives.then(|| order(own, index, template, amount, since, Some(expires_at), rollover))
}

fn order(
    own: &Subscription,
    index: u16,
    template: &GrantTemplate,
    amount: Credits,
    effective_at: Timestamp,
    expires_at: Option<Timestamp>,
    rollover: Option<RolloverRule>,
) -> LotOrder {
    let lot = Lot {
        kind: BlockKind::Plan,
        priority: template.priority,
        paid: false,
        settles_debt: template.settles_debt,
        effective_at,
        expires_at,
        scope: template.feature_keys.clone(),
        remaining: amount,
        held: Credits::ZERO,
        origin: Some(origin(own, index)),
        cap_group: template.cap_group.clone(),
        ended: None,
        claw_back: Credits::ZERO,
        frozen: false,
        rollover,
    };
    LotOrder { lot, accumulation_cap: template.accumulation_cap }
}
