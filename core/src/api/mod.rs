//! The JSON that more than one of server, sidecar and SDKs read or write: checked and written in one way.
//!
//! - [`problem`]: errors as RFC 9457 problem documents
//! - [`check`], of entitlements; [`explain`]: why an answer is what it is; [`edge`]: checks from bytes, for WebAssembly
//! - [`price`]: prices of features
//! - [`usage`]: usage events, single and batch
//! - [`ledger`], entries as the ledger lists them
//! - [`fields`]: how single fields are checked; [`object`]: how bodies are read; [`misread`]: what is told otherwise
//!
//! Source: openapi.yaml.

pub mod check;
pub mod edge;
pub mod explain;
pub mod fields;
pub mod ledger;
pub mod misread;
pub mod object;
pub mod price;
pub mod problem;
pub mod usage;
