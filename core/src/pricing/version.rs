//! Effective-dated versions of a price: at most one is in force at any instant.

use serde::{Deserialize, Serialize};

use crate::pricing::Price;
use crate::time::Timestamp;

/// A price and the instant from which it is in force, until the next one's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceVersion {
    /// In force from this instant on.
    pub effective_from: Timestamp,
    /// The price.
    pub price: Price,
}

/// The version in force at `at`, from versions in ascending order of `effective_from`.
pub fn version_at(versions: &[PriceVersion], at: Timestamp) -> Option<&PriceVersion> {
    let after = versions.partition_point(|version| version.effective_from <= at);
    after.checked_sub(1).map(|index| &versions[index])
}
