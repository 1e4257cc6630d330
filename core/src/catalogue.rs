//! The catalogue of one environment: features, prices, and what each variant of a plan grants and allows.
//!
//! It is one document with its own version, replicated whole. States name the version they need. Source:
//! docs/subscriptions.md, "Catalogue"; docs/sync.md, "What is published".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::ids::{FeatureKey, VariantId};
use crate::pricing::{Price, PriceVersion, version_at};
use crate::time::{Period, Timestamp};

pub use crate::catalogue::plan::{
    BillingMode, Contract, GrantInterval, GrantOn, GrantTemplate, Merge, PlanKind, TrialEnd, Variant, VariantPrice,
};

mod plan;

/// What a feature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// Paid with credits.
    Metered,
    /// On or off.
    Boolean,
    /// A JSON value, for example a limit.
    Config,
}

/// What happens when usage costs more than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OveragePolicy {
    /// The event is refused and nothing is recorded.
    Block,
    /// Takes what is there.
    Cap,
    /// The rest becomes debt, down to the overdraft limit.
    Overdraft,
    /// As overdraft, with an event of its own.
    Notify,
}

impl OveragePolicy {
    /// Whether a shortfall becomes debt.
    pub const fn allows_debt(self) -> bool {
        matches!(self, Self::Overdraft | Self::Notify)
    }
}

/// How sidecars admit usage of a metered feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// By what their replica shows: several of them can together admit more than there is.
    #[default]
    Advisory,
    /// Only what was set aside for them, or what the server says.
    Strict,
}

/// What a sidecar answers for a metered feature while the server is out of reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfflinePolicy {
    /// Go on, however old the state is, also without a state.
    Allow,
    /// Deny as soon as the link is down.
    Deny,
    /// Go on until the state is older than the staleness limit.
    AllowUntilStale,
}

/// Whether a feature is given, and with which value (the JSON text of a `config` feature).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// On or off.
    pub enabled: bool,
    /// JSON text; only for `config` features.
    pub value: Option<String>,
}

/// What a variant gives of a feature. What is `None` is as the feature has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entitlement {
    /// Whether the feature is given, and with which value.
    pub access: Access,
    /// Replaces the whole price.
    pub price: Option<Price>,
    /// What happens on a shortfall.
    pub overage_policy: Option<OveragePolicy>,
    /// How far debt may go under overdraft.
    pub overdraft_limit: Option<Credits>,
    /// Of an add-on, for `config` features: how its value joins the base's.
    #[serde(default)]
    pub merge: Option<Merge>,
}

impl Entitlement {
    /// One that gives `access` under the feature's own terms.
    pub const fn plain(access: Access) -> Self {
        Self { access, price: None, overage_policy: None, overdraft_limit: None, merge: None }
    }
}

/// A feature of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// Metered, boolean or config.
    pub kind: FeatureKind,
    /// What holds where no plan names the feature.
    pub default: Access,
    /// Price versions in ascending order of `effective_from`; empty = cannot be charged.
    pub prices: Vec<PriceVersion>,
    /// What happens on a shortfall.
    pub overage_policy: OveragePolicy,
    /// How far debt may go under overdraft; `None` = no limit.
    pub overdraft_limit: Option<Credits>,
    /// How sidecars admit usage.
    pub enforcement: Enforcement,
    /// What a sidecar answers while the server is out of reach.
    pub offline: OfflinePolicy,
    /// Names of the event properties that summaries of usage can be grouped by, sorted.
    pub summary_properties: Vec<String>,
}

impl Feature {
    /// The price in force at `at`.
    pub fn price_at(&self, at: Timestamp) -> Option<&Price> {
        self.price_version_at(at).map(|version| &version.price)
    }

    /// The version of the price in force at `at`.
    pub fn price_version_at(&self, at: Timestamp) -> Option<&PriceVersion> {
        version_at(&self.prices, at)
    }
}

/// Credit as it is sold. Top-ups refer to it; no rule looks at it, so it is not part of the replicated document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopupPackage {
    /// For people.
    pub name: String,
    /// Credits; more than 0.
    pub amount: Credits,
    /// What it costs, in the currency's smallest unit.
    pub price_paid: Credits,
    /// ISO 4217.
    pub currency: String,
    /// Burn priority of the block, 0 first.
    pub priority: u8,
    /// When the block ends, counted from the top-up; `None` = never.
    pub expires_after: Option<Period>,
    /// Sorted; empty = any feature.
    pub feature_keys: Vec<FeatureKey>,
}

/// How the environment's clock runs (live: always with the real one).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Clock {
    /// With real time.
    #[default]
    Real,
    /// Stands at an instant until it is set again.
    Standing(Timestamp),
    /// Runs, this many microseconds ahead of real time.
    Ahead(i64),
}

impl Clock {
    /// The environment's now for a real instant.
    pub const fn at(self, real: Timestamp) -> Timestamp {
        match self {
            Self::Real => real,
            Self::Standing(at) => at,
            Self::Ahead(micros) => real.saturating_add_micros(micros),
        }
    }
}

/// Everything that the rules need to know about an environment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Catalogue {
    /// Counts changes.
    pub version: u64,
    /// The environment's clock.
    pub clock: Clock,
    /// Features by key.
    pub features: BTreeMap<FeatureKey, Feature>,
    /// Every version of every variant that may have subscribers.
    pub variants: BTreeMap<(VariantId, u32), Variant>,
}

impl Catalogue {
    /// The latest version of a variant: what a new subscription gets.
    pub fn latest_variant(&self, id: VariantId) -> Option<&Variant> {
        self.variants.range((id, 0)..=(id, u32::MAX)).next_back().map(|(_, variant)| variant)
    }

    /// The version of a variant that a subscription keeps. Versions stay for as long as they may have subscribers.
    pub fn variant(&self, id: VariantId, version: u32) -> Option<&Variant> {
        self.variants.get(&(id, version))
    }

    /// Adds a version of a variant beside the earlier ones, whose subscribers keep them.
    pub fn add_variant(&mut self, id: VariantId, variant: Variant) {
        self.variants.insert((id, variant.version), variant);
    }

    /// The variant that an end user falls back to when their base subscription ends: the latest version of the one
    /// marked so.
    pub fn fallback(&self) -> Option<(VariantId, &Variant)> {
        let marked = self.variants.iter().filter(|(_, variant)| variant.fallback && !variant.archived);
        let mut latest = marked
            .filter(|((id, version), _)| self.latest_variant(*id).is_some_and(|latest| latest.version == *version));
        latest.next().map(|((id, _), variant)| (*id, variant))
    }
}
