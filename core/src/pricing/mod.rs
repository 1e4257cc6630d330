//! What an event costs. Source: docs/ledger.md, "Price of a feature".
//!
//! - [`model`]: how units become credits
//! - [`price`]: a model, and rules by event property that pick another; its checks
//! - [`version`]: which price is in force when

pub mod model;
pub mod price;
pub mod version;

pub use model::{PriceModel, Tier, TierMode, TierWindow, Tiered};
pub use price::{InvalidPrice, Price, PriceRule};
pub use version::{PriceVersion, version_at};
