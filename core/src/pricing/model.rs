//! How units become credits: integers in, 128 bits in between, rounded up once.

use serde::{Deserialize, Serialize};

use crate::credits::{AMOUNT_MAX, AmountOutOfRange, Credits, Units};

/// How the units of one event become credits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PriceModel {
    /// ceil(units * cost / per_units).
    PerUnit {
        /// Credits per `per_units` units; 0 or more.
        cost: Credits,
        /// At least 1.
        per_units: Units,
    },
    /// The same for every event, also one of 0 units.
    Flat {
        /// Credits per event; 0 or more.
        cost: Credits,
    },
    /// ceil(units / size) * cost.
    Package {
        /// Credits per package begun; 0 or more.
        cost: Credits,
        /// Units of a package; at least 1.
        size: Units,
    },
    /// By tiers of units counted in a window.
    Tiered(Tiered),
}

/// Tiers of units counted in a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tiered {
    /// How an event that reaches several tiers is priced.
    pub mode: TierMode,
    /// A tier's cost is for so many units; at least 1.
    pub per_units: Units,
    /// In which window units are counted.
    pub window: TierWindow,
    /// In ascending order; the last one, and only it, is open.
    pub tiers: Vec<Tier>,
}

/// How an event that reaches several tiers is priced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TierMode {
    /// Each unit at its own tier.
    Graduated,
    /// All of the event's units at the tier that it reaches.
    Volume,
}

/// In which window units are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TierWindow {
    /// Within the event alone.
    Event,
    /// The base subscription's billing period; without one, the calendar month.
    BillingPeriod,
    /// The calendar month, in UTC.
    CalendarMonth,
    /// For ever.
    Lifetime,
}

/// One tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// The last unit of the window that it is for; `None` = all that follow.
    pub up_to: Option<Units>,
    /// Credits per `per_units` units; 0 or more.
    pub cost: Credits,
}

impl PriceModel {
    /// What an event of `units` costs where `place` units were counted before it in the window.
    pub fn cost_of(&self, place: Units, units: Units) -> Result<Credits, AmountOutOfRange> {
        let (place, units) = (i128::from(place.get()), i128::from(units.get()));
        let cost = match self {
            Self::PerUnit { cost, per_units } => divided_up(units * amount(*cost), *per_units),
            Self::Flat { cost } => amount(*cost),
            Self::Package { cost, size } => divided_up(units, *size) * amount(*cost),
            Self::Tiered(tiered) => tiered.cost_of(place, units),
        };
        Credits::new(i64::try_from(cost).map_err(|_| AmountOutOfRange)?)
    }

    /// The largest count of units whose cost from `place` on is at most `credits`; `None` where every count is. (By
    /// volume more units may cost less: the answer is the largest of all counts that can be paid.)
    pub fn units_for(&self, place: Units, credits: Credits) -> Option<Units> {
        let credits = amount(credits).max(0);
        let units = match self {
            Self::PerUnit { cost, .. } | Self::Package { cost, .. } if cost.is_zero() => return None,
            Self::PerUnit { cost, per_units } => credits * i128::from(per_units.get()) / amount(*cost),
            Self::Flat { cost } if amount(*cost) <= credits => return None,
            Self::Flat { .. } => 0,
            Self::Package { cost, size } => credits / amount(*cost) * i128::from(size.get()),
            Self::Tiered(tiered) => tiered.units_for(i128::from(place.get()), credits)?,
        };
        let units = i64::try_from(units.min(i128::from(AMOUNT_MAX))).expect("the count was limited");
        Some(Units::new(units).expect("the count was limited"))
    }

    /// The window in which units are counted; `None` where it makes no difference what was counted before.
    pub fn window(&self) -> Option<TierWindow> {
        match self {
            Self::Tiered(tiered) if tiered.window != TierWindow::Event => Some(tiered.window),
            _ => None,
        }
    }
}

impl Tiered {
    /// Each tier with the first and the last unit of the window that it is for, as (units before it, last unit).
    fn spans(&self) -> impl Iterator<Item = (i128, i128, i128)> {
        let ends = self.tiers.iter().map(|tier| tier.up_to.map_or(i128::MAX, |up_to| i128::from(up_to.get())));
        let starts = std::iter::once(0).chain(ends.clone());
        starts.zip(ends).zip(&self.tiers).map(|((before, last), tier)| (before, last, amount(tier.cost)))
    }

    fn cost_of(&self, place: i128, units: i128) -> i128 {
        let reached = place.saturating_add(units);
        let times_cost = match self.mode {
            TierMode::Graduated => {
                let parts = self.spans().map(|(before, last, cost)| {
                    let inside = reached.min(last) - place.max(before);
                    inside.max(0) * cost
                });
                parts.sum()
            }
            TierMode::Volume => units * self.spans().find(|(_, last, _)| reached <= *last).map_or(0, |span| span.2),
        };
        divided_up(times_cost, self.per_units)
    }

    fn units_for(&self, place: i128, credits: i128) -> Option<i128> {
        let per_units = i128::from(self.per_units.get());
        // ceil(x / per_units) <= credits where x <= credits * per_units.
        let budget = credits * per_units;
        match self.mode {
            TierMode::Graduated => {
                let (mut units, mut left) = (0, budget);
                for (before, last, cost) in self.spans().filter(|(_, last, _)| *last > place) {
                    let room = last.saturating_sub(place.max(before));
                    let affordable = if cost == 0 { room } else { (left / cost).min(room) };
                    if affordable == i128::MAX || (cost == 0 && last == i128::MAX) {
                        return None;
                    }
                    units += affordable;
                    left -= affordable * cost;
                    if affordable < room {
                        break;
                    }
                }
                Some(units)
            }
            TierMode::Volume => {
                let mut most = 0;
                for (before, last, cost) in self.spans().filter(|(_, last, _)| *last > place) {
                    // Counts of units that reach this tier and no further.
                    let (fewest, room) = ((before - place).max(0) + 1, last.saturating_sub(place));
                    if cost == 0 && last == i128::MAX {
                        return None;
                    }
                    let affordable = if cost == 0 { room } else { (budget / cost).min(room) };
                    if affordable >= fewest {
                        most = affordable;
                    }
                }
                Some(most)
            }
        }
    }
}

fn amount(credits: Credits) -> i128 {
    i128::from(credits.get())
}

fn divided_up(dividend: i128, divisor: Units) -> i128 {
    let divisor = i128::from(divisor.get().max(1));
    dividend.div_euclid(divisor) + i128::from(dividend.rem_euclid(divisor) != 0)
}
