//! What a feature costs and what happens when credit runs out, as configuration of the model.
//!
//! After docs/ledger.md, "Price of a feature": an event is rounded up once, tiers count from 1, and the unit that reaches
//! a tier's end still belongs to it. Read by `counter` and by the operations that charge.

use std::collections::BTreeMap;

use super::{Code, MAX_AMOUNT};

/// Properties of an event, and what a dimension rule asks of them.
pub(crate) type Properties = BTreeMap<String, String>;

/// A metered feature. Its price is in force at every instant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Feature {
    pub(crate) policy: Policy,
    /// How far debt may go under `Overdraft` and `Notify`; `None` is without limit.
    pub(crate) overdraft_limit: Option<i64>,
    /// `None`: only what a rule prices can be charged.
    pub(crate) price: Option<Price>,
    pub(crate) rules: Vec<Rule>,
}

/// The feature's `overage_policy`, and what a call may ask for instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Block,
    Cap,
    Overdraft,
    Notify,
}

/// A price for events that carry all of `matches`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    pub(crate) matches: Properties,
    pub(crate) price: Price,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Price {
    PerUnit { cost: i64, per_units: i64 },
    Flat { cost: i64 },
    Package { size: i64, cost: i64 },
    Graduated { tiers: Vec<Tier>, per_units: i64, window: Window },
    Volume { tiers: Vec<Tier>, per_units: i64, window: Window },
}

/// From the end of the tier before, up to and with unit number `up_to`; the last one has no end.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tier {
    pub(crate) up_to: Option<i64>,
    pub(crate) cost: i64,
}

/// Where the counting of units begins anew. (`billing_period` is the calendar month: there is no subscription here.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Window {
    Event,
    CalendarMonth,
    Lifetime,
}

impl Feature {
    /// The price of an event with these properties and the number of the rule that gives it: the most properties
    /// matched win, then the order of the list.
    pub(crate) fn price_for(&self, properties: &Properties) -> Result<(Option<usize>, &Price), Code> {
        let mut best: Option<usize> = None;
        for (number, rule) in self.rules.iter().enumerate() {
            let matched = rule.matches.iter().all(|(name, value)| properties.get(name) == Some(value));
            if matched && best.is_none_or(|other| rule.matches.len() > self.rules[other].matches.len()) {
                best = Some(number);
            }
        }
        match best {
            Some(number) => Ok((Some(number), &self.rules[number].price)),
            None => self.price.as_ref().map(|price| (None, price)).ok_or("feature_unpriced"),
        }
    }

    /// The price that rule number `rule` gives, or the feature's own.
    pub(crate) fn price_of(&self, rule: Option<usize>) -> &Price {
        match rule {
            Some(number) => &self.rules[number].price,
            None => self.price.as_ref().unwrap(),
        }
    }
}

impl Price {
    /// What `units` cost that stand behind `place` units of the same window.
    pub(crate) fn cost(&self, place: i64, units: i64) -> Result<i64, Code> {
        let units = i128::from(units);
        let exact = match self {
            Self::PerUnit { cost, per_units } => rounded_up(units * i128::from(*cost), *per_units),
            Self::Flat { cost } => i128::from(*cost),
            Self::Package { size, cost } => rounded_up(units, *size) * i128::from(*cost),
            Self::Graduated { tiers, per_units, .. } => {
                let (first, last) = (i128::from(place) + 1, i128::from(place) + units);
                let mut sum = 0;
                let mut begin = 1;
                for tier in tiers {
                    let end = tier.up_to.map_or(i128::MAX, i128::from);
                    let inside = (last.min(end) - first.max(begin) + 1).max(0);
                    sum += inside * i128::from(tier.cost);
                    begin = end.saturating_add(1);
                }
                rounded_up(sum, *per_units)
            }
            Self::Volume { tiers, per_units, .. } => {
                let reached = i128::from(place) + units;
                let tier = tiers.iter().find(|tier| tier.up_to.is_none_or(|end| reached <= i128::from(end))).unwrap();
                rounded_up(units * i128::from(tier.cost), *per_units)
            }
        };
        i64::try_from(exact).ok().filter(|cost| *cost <= MAX_AMOUNT).ok_or("amount_out_of_range")
    }

    /// The window in which units are counted, for the prices that count.
    pub(crate) fn window(&self) -> Window {
        match self {
            Self::Graduated { window, .. } | Self::Volume { window, .. } => *window,
            Self::PerUnit { .. } | Self::Flat { .. } | Self::Package { .. } => Window::Event,
        }
    }
}

fn rounded_up(amount: i128, per: i64) -> i128 {
    let per = i128::from(per);
    let rest = i128::from(amount % per != 0);
    amount / per + rest
}
