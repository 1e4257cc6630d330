//! A [`Price`]: a model, and rules by event property that pick another; and what a price must satisfy.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::credits::{Credits, Units};
use crate::limits::{PAIR_KEY_BYTES_MAX, PAIR_VALUE_BYTES_MAX, PAIRS_MAX, PRICE_RULES_MAX, TIERS_MAX};
use crate::pricing::{PriceModel, Tiered};

/// What a feature costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// For events that no rule is for.
    pub model: PriceModel,
    /// By event property, in the order in which they were given.
    pub rules: Vec<PriceRule>,
}

/// Another model for events with these properties.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceRule {
    /// Properties that an event must have, with these values; at least one.
    pub matches: BTreeMap<String, String>,
    /// What such events cost.
    pub model: PriceModel,
}

/// Why a price is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct InvalidPrice {
    /// Where: a JSON pointer into the price.
    pub pointer: String,
    /// What to do.
    pub detail: &'static str,
}

impl Price {
    /// A price without rules.
    pub const fn plain(model: PriceModel) -> Self {
        Self { model, rules: Vec::new() }
    }

    /// The rule for an event with these properties, and its index: the one with the most matching properties, of
    /// several the first.
    pub fn rule_for(&self, properties: &BTreeMap<String, String>) -> Option<(u16, &PriceRule)> {
        let has = |(name, value): (&String, &String)| properties.get(name) == Some(value);
        let matching = (0..).zip(&self.rules).filter(|(_, rule)| rule.matches.iter().all(has));
        matching.min_by_key(|(index, rule)| (std::cmp::Reverse(rule.matches.len()), *index))
    }

    /// This price, if it satisfies all that a price must.
    pub fn checked(self) -> Result<Self, InvalidPrice> {
        self.check()?;
        Ok(self)
    }

    fn check(&self) -> Result<(), InvalidPrice> {
        check_model(&self.model, "")?;
        if self.rules.len() > PRICE_RULES_MAX {
            return invalid("/dimensions".to_owned(), "has at most 50 rules");
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let at = format!("/dimensions/{index}");
            let fits = |(name, value): (&String, &String)| {
                (1..=PAIR_KEY_BYTES_MAX).contains(&name.len()) && value.len() <= PAIR_VALUE_BYTES_MAX
            };
            if rule.matches.is_empty() || rule.matches.len() > PAIRS_MAX || !rule.matches.iter().all(fits) {
                let detail = "names 1 to 50 properties, each of 1 to 64 bytes with a value of at most 512 bytes";
                return invalid(format!("{at}/match"), detail);
            }
            if self.rules[..index].iter().any(|other| other.matches == rule.matches) {
                return invalid(format!("{at}/match"), "another rule matches the same properties; merge the two");
            }
            check_model(&rule.model, &format!("{at}/price"))?;
        }
        Ok(())
    }
}

fn check_model(model: &PriceModel, at: &str) -> Result<(), InvalidPrice> {
    let check_cost = |cost: &Credits| {
        if *cost < Credits::ZERO { invalid(format!("{at}/cost"), "must be 0 or more") } else { Ok(()) }
    };
    let check_divisor = |units: &Units, name: &str| {
        if *units < Units::ONE { invalid(format!("{at}/{name}"), "must be at least 1") } else { Ok(()) }
    };
    match model {
        PriceModel::PerUnit { cost, per_units } => {
            check_cost(cost)?;
            check_divisor(per_units, "per_units")
        }
        PriceModel::Flat { cost } => check_cost(cost),
        PriceModel::Package { cost, size } => {
            check_cost(cost)?;
            check_divisor(size, "size")
        }
        PriceModel::Tiered(tiered) => {
            check_divisor(&tiered.per_units, "per_units")?;
            check_tiers(tiered, at)
        }
    }
}

fn check_tiers(tiered: &Tiered, at: &str) -> Result<(), InvalidPrice> {
    let tiers = &tiered.tiers;
    if tiers.is_empty() || tiers.len() > TIERS_MAX {
        return invalid(format!("{at}/tiers"), "has 1 to 50 tiers");
    }
    let mut before = Units::default();
    for (index, tier) in tiers.iter().enumerate() {
        if tier.cost < Credits::ZERO {
            return invalid(format!("{at}/tiers/{index}/cost"), "must be 0 or more");
        }
        let pointer = || format!("{at}/tiers/{index}/up_to");
        match tier.up_to {
            None if index + 1 < tiers.len() => return invalid(pointer(), "only the last tier is open (null)"),
            Some(_) if index + 1 == tiers.len() => return invalid(pointer(), "the last tier must be open (null)"),
            Some(up_to) if up_to <= before => {
                return invalid(pointer(), "must be more than 0 and than the tier before");
            }
            Some(up_to) => before = up_to,
            None => {}
        }
    }
    Ok(())
}

fn invalid(pointer: String, detail: &'static str) -> Result<(), InvalidPrice> {
    Err(InvalidPrice { pointer, detail })
}
