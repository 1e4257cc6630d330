//! The JSON of the operations that both server and sidecar answer: read, checked and written in one way.
//!
//! - [`problem`]: errors as RFC 9457 problem documents
//! - [`check`], of entitlements
//! - [`price`]: prices of features
//! - [`usage`]: usage events, single and batch
//! - [`fields`]: how single fields are checked
//!
//! Source: openapi.yaml.

pub mod check;
pub mod fields;
pub mod price;
pub mod problem;
pub mod usage;
