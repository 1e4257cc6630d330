//! The QuotaStack SDK: may this end user do this, and what did they use?
//!
//! ```no_run
//! # async fn run(request_id: &str) -> Result<(), quotastack::Error> {
//! use quotastack::{Client, Usage};
//!
//! let quotastack = Client::from_env()?;
//! let check = quotastack.check_entitlement("user_123", "ai_request").await?;
//! if check.allowed {
//!     quotastack.record_usage("user_123", Usage::new("ai_request", 1).idempotency_key(request_id)).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Client`] has the calls of every day; [`Client::api`] has all operations, generated from the contract. Both go
//! through one transport: it retries what is safe to retry, names every mutation so that a retry changes nothing
//! twice, and gives up in time. It compiles for `wasm32-unknown-unknown`, where it uses `fetch`.

/// All operations of the contract, generated: builders, their types, and errors as they come off the wire.
#[path = "generated.rs"]
#[expect(missing_docs, clippy::unwrap_used, reason = "generated from the contract, which documents every field")]
pub mod api;
mod client;
mod config;
mod error;
#[cfg(feature = "verify")]
mod ledger;
mod platform;
mod requests;
mod subscriptions;
mod transport;

pub use api::types::{
    Block, Check, CommitReceipt, ConsumeReceipt, EndUserCredits, EntitlementList, Explanation, GrantReceipt,
    LedgerProof, Problem, Reservation, ReservationReceipt, Subscription, UsageEventList, UsageReceipt, UsageSummary,
    VoidReceipt,
};
pub use client::Client;
pub use config::{ClientBuilder, ConfigError};
pub use error::Error;
#[cfg(feature = "verify")]
pub use ledger::{BrokenLedger, LedgerHead, VerifiedLedger, VerifiedProof, verify_proof};
pub use requests::{Grant, Reserve, Summary, Usage, UsageFilter};
pub use subscriptions::Change;
