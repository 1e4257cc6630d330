//! Prices as the API has them: one flat object per model, so that a field that does not belong is refused by name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::fields;
use crate::api::problem::Problem;
use crate::credits::{Credits, Units};
use crate::pricing::{Price, PriceModel, PriceRule, Tier, TierMode, TierWindow, Tiered};

/// A price, with its rules by event property.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PriceJson {
    #[serde(rename = "type")]
    kind: PriceKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_units: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<TierMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<TierWindow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tiers: Option<Vec<TierJson>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<Vec<RuleJson>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum PriceKind {
    PerUnit,
    Flat,
    Package,
    Tiered,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct TierJson {
    up_to: Option<i64>,
    cost: i64,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RuleJson {
    r#match: BTreeMap<String, String>,
    price: Box<PriceJson>,
}

impl PriceJson {
    /// The price, if it is one; `pointer` is where it stands in the request.
    pub fn into_price(self, pointer: &str) -> Result<Price, Problem> {
        let mut rules = Vec::new();
        for (index, rule) in self.dimensions.iter().flatten().enumerate() {
            let at = format!("{pointer}/dimensions/{index}/price");
            if rule.price.dimensions.is_some() {
                return Err(Problem::invalid(
                    format!("{at}/dimensions"),
                    "a rule's price has no dimensions of its own",
                ));
            }
            rules.push(PriceRule { matches: rule.r#match.clone(), model: rule.price.model(&at)? });
        }
        let price = Price { model: self.model(pointer)?, rules };
        price.checked().map_err(|error| Problem::invalid(format!("{pointer}{}", error.pointer), error.detail))
    }

    /// The API's form of a price.
    pub fn of(price: &Price) -> Self {
        let rules = price.rules.iter().map(|rule| {
            let price = Box::new(Self::of_model(&rule.model));
            RuleJson { r#match: rule.matches.clone(), price }
        });
        let rules: Vec<RuleJson> = rules.collect();
        Self { dimensions: (!rules.is_empty()).then_some(rules), ..Self::of_model(&price.model) }
    }

    fn empty(kind: PriceKind) -> Self {
        let (cost, per_units, size, mode) = (None, None, None, None);
        Self { kind, cost, per_units, size, mode, window: None, tiers: None, dimensions: None }
    }

    fn of_model(model: &PriceModel) -> Self {
        match model {
            PriceModel::PerUnit { cost, per_units } => {
                Self { cost: Some(cost.get()), per_units: Some(per_units.get()), ..Self::empty(PriceKind::PerUnit) }
            }
            PriceModel::Flat { cost } => Self { cost: Some(cost.get()), ..Self::empty(PriceKind::Flat) },
            PriceModel::Package { cost, size } => {
                Self { cost: Some(cost.get()), size: Some(size.get()), ..Self::empty(PriceKind::Package) }
            }
            PriceModel::Tiered(tiered) => {
                let tiers = tiered.tiers.iter();
                let tiers = tiers.map(|tier| TierJson { up_to: tier.up_to.map(Units::get), cost: tier.cost.get() });
                Self {
                    per_units: Some(tiered.per_units.get()),
                    mode: Some(tiered.mode),
                    window: Some(tiered.window),
                    tiers: Some(tiers.collect()),
                    ..Self::empty(PriceKind::Tiered)
                }
            }
        }
    }

    fn model(&self, at: &str) -> Result<PriceModel, Problem> {
        let cost = || {
            let cost = self.cost.ok_or_else(|| Problem::invalid(format!("{at}/cost"), "is required"))?;
            fields::amount(cost, &format!("{at}/cost"))
        };
        let per_units = || fields::units(self.per_units.unwrap_or(1), &format!("{at}/per_units"));
        self.refuse_foreign_fields(at)?;
        Ok(match self.kind {
            PriceKind::PerUnit => PriceModel::PerUnit { cost: cost()?, per_units: per_units()? },
            PriceKind::Flat => PriceModel::Flat { cost: cost()? },
            PriceKind::Package => {
                let size = self.size.ok_or_else(|| Problem::invalid(format!("{at}/size"), "is required"))?;
                PriceModel::Package { cost: cost()?, size: fields::units(size, &format!("{at}/size"))? }
            }
            PriceKind::Tiered => PriceModel::Tiered(Tiered {
                mode: self.mode.ok_or_else(|| Problem::invalid(format!("{at}/mode"), "is required"))?,
                per_units: per_units()?,
                window: self.window.unwrap_or(TierWindow::BillingPeriod),
                tiers: self.tiers(at)?,
            }),
        })
    }

    fn tiers(&self, at: &str) -> Result<Vec<Tier>, Problem> {
        let tiers = self.tiers.as_deref().unwrap_or_default().iter().enumerate();
        let tiers = tiers.map(|(index, tier)| {
            let at = format!("{at}/tiers/{index}");
            let cost: Credits = fields::amount(tier.cost, &format!("{at}/cost"))?;
            let up_to = tier.up_to.map(|up_to| fields::units(up_to, &format!("{at}/up_to")));
            Ok(Tier { up_to: up_to.transpose()?, cost })
        });
        tiers.collect()
    }

    /// A field that the price's type does not have is a mistake, and must not be silent.
    fn refuse_foreign_fields(&self, at: &str) -> Result<(), Problem> {
        use PriceKind::{Flat, Package, PerUnit, Tiered};
        let given = [
            ("cost", self.cost.is_some(), &[PerUnit, Flat, Package][..]),
            ("per_units", self.per_units.is_some(), &[PerUnit, Tiered]),
            ("size", self.size.is_some(), &[Package]),
            ("mode", self.mode.is_some(), &[Tiered]),
            ("window", self.window.is_some(), &[Tiered]),
            ("tiers", self.tiers.is_some(), &[Tiered]),
        ];
        let foreign = given.iter().find(|(_, is_given, kinds)| *is_given && !kinds.contains(&self.kind));
        foreign.map_or(Ok(()), |(name, ..)| {
            Err(Problem::invalid(format!("{at}/{name}"), "does not belong to a price of this type; leave it out"))
        })
    }
}
