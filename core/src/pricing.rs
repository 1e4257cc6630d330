//! What an event costs. Source: docs/ledger.md, "Price of a feature".
//!
//! A price is an integer `cost` per integer `per_units`; an event's price is rounded up once, at the event.

use serde::{Deserialize, Serialize};

use crate::credits::{AmountOutOfRange, Credits, Units};
use crate::time::Timestamp;

/// How units become credits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Price {
    /// ceil(units * cost / per_units).
    PerUnit {
        /// Credits per `per_units` units; 0 or more.
        cost: Credits,
        /// At least 1.
        per_units: Units,
    },
}

/// A price and the instant from which it is in force, until the next one's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceVersion {
    /// In force from this instant on.
    pub effective_from: Timestamp,
    /// The price.
    pub price: Price,
}

impl Price {
    /// What `units` cost in one event.
    pub fn cost_of(&self, units: Units) -> Result<Credits, AmountOutOfRange> {
        let Self::PerUnit { cost, per_units } = self;
        let product = i128::from(units.get()) * i128::from(cost.get());
        let per_units = i128::from(per_units.get().max(1));
        let rounded_up = product.div_euclid(per_units) + i128::from(product.rem_euclid(per_units) != 0);
        Credits::new(i64::try_from(rounded_up).map_err(|_| AmountOutOfRange)?)
    }

    /// The largest count of units whose price is at most `credits`; `None` where units cost nothing.
    pub fn units_for(&self, credits: Credits) -> Option<Units> {
        let Self::PerUnit { cost, per_units } = self;
        if cost.is_zero() {
            return None;
        }
        let credits = i128::from(credits.get().max(0));
        let units = credits * i128::from(per_units.get()) / i128::from(cost.get());
        Some(i64::try_from(units).ok().and_then(|units| Units::new(units).ok()).unwrap_or(Units::MAX))
    }
}

/// The price in force at `at`, from versions in ascending order of `effective_from`.
pub fn price_at(versions: &[PriceVersion], at: Timestamp) -> Option<&Price> {
    let after = versions.partition_point(|version| version.effective_from <= at);
    after.checked_sub(1).map(|index| &versions[index].price)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn per_unit(cost: i64, per_units: i64) -> Price {
        Price::PerUnit { cost: Credits::new(cost).unwrap(), per_units: Units::new(per_units).unwrap() }
    }

    #[test]
    fn an_event_is_rounded_up_once() {
        let price = per_unit(15, 1_000);
        let cost = |units| price.cost_of(Units::new(units).unwrap()).unwrap().get();
        assert_eq!([cost(0), cost(1), cost(1_000), cost(1_001)], [0, 1, 15, 16]);
    }

    #[test]
    fn a_price_beyond_the_range_is_refused() {
        assert_eq!(per_unit(2, 1).cost_of(Units::MAX), Err(AmountOutOfRange));
        assert_eq!(per_unit(1, 1).cost_of(Units::MAX), Ok(Credits::MAX));
    }

    #[test]
    fn the_price_in_force_is_the_latest_begun() {
        let at = |micros| Timestamp::from_micros(micros).unwrap();
        let versions = [10, 20].map(|from| PriceVersion { effective_from: at(from), price: per_unit(from, 1) });
        assert_eq!(price_at(&versions, at(9)), None);
        assert_eq!(price_at(&versions, at(10)), Some(&per_unit(10, 1)));
        assert_eq!(price_at(&versions, at(20)), Some(&per_unit(20, 1)));
    }

    proptest! {
        #[test]
        fn units_for_is_the_largest_affordable_count(cost in 1i64..100_000, per_units in 1i64..100_000, credits in 0i64..1_000_000_000) {
            let price = per_unit(cost, per_units);
            let credits = Credits::new(credits).unwrap();
            let units = price.units_for(credits).unwrap();
            prop_assert!(price.cost_of(units).unwrap() <= credits);
            prop_assert!(price.cost_of(Units::new(units.get() + 1).unwrap()).unwrap() > credits);
        }
    }
}
