//! The QuotaStack SDK for JavaScript runtimes: the Rust SDK's generated client behind one function.
//!
//! JSON text goes in and comes out, because every runtime parses it natively and the client carries serde anyway.
//! The facade in `js/` gives it classes, names and types, and is the only caller. Retries, timeouts and idempotency
//! keys are the Rust SDK's.

#[cfg(feature = "evaluate")]
mod evaluate;
mod failure;
#[cfg(feature = "verify")]
mod ledger;
mod operations;

use std::time::Duration;

use serde::Deserialize;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use failure::Failure;

/// Settings of a client, as the facade sends them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    api_key: String,
    base_url: Option<String>,
    timeout_ms: Option<u64>,
    check_timeout_ms: Option<u64>,
    retries_max: Option<u32>,
}

/// A client of one environment.
#[wasm_bindgen]
pub struct Core {
    client: quotastack::Client,
}

#[wasm_bindgen]
impl Core {
    /// A client from its options as JSON. Throws a failure as JSON.
    #[wasm_bindgen(constructor)]
    pub fn new(options: &str) -> Result<Core, JsValue> {
        build(options).map_err(Failure::into_js)
    }

    /// Calls an operation by its id with its arguments as JSON. The promise gives the answer as JSON, or rejects with
    /// a failure as JSON.
    pub async fn call(&self, operation: String, arguments: String) -> Result<String, JsValue> {
        operations::call(self.client.api(), &operation, &arguments).await.map_err(Failure::into_js)
    }

    /// Fetches an end user's ledger and verifies it; `remembered` as JSON, `null` = all of it. The promise gives what
    /// was verified as JSON, or rejects with a failure as JSON.
    #[cfg(feature = "verify")]
    pub async fn verify_ledger(&self, end_user_id: String, remembered: String) -> Result<String, JsValue> {
        ledger::verify_ledger(&self.client, &end_user_id, &remembered).await.map_err(Failure::into_js)
    }
}

/// Answers a check from the bytes of a state and of a catalogue, at a real instant as RFC 3339: the fields of a check's
/// answer, less those that say how fresh it is, as JSON. Throws a failure as JSON.
#[cfg(feature = "evaluate")]
#[wasm_bindgen]
pub fn evaluate(state: &[u8], catalogue: &[u8], feature_key: &str, units: i64, now: &str) -> Result<String, JsValue> {
    evaluate::evaluate(state, catalogue, feature_key, units, now).map_err(Failure::into_js)
}

/// Verifies a proof, both as JSON; `remembered` may be `null`. Throws a failure as JSON.
#[cfg(feature = "verify")]
#[wasm_bindgen]
pub fn verify_proof(proof: &str, remembered: &str) -> Result<String, JsValue> {
    ledger::verify_proof(proof, remembered).map_err(Failure::into_js)
}

fn build(options: &str) -> Result<Core, Failure> {
    let options: Options = serde_json::from_str(options)?;
    let mut builder = quotastack::Client::builder().api_key(options.api_key);
    if let Some(url) = options.base_url {
        builder = builder.base_url(url);
    }
    if let Some(ms) = options.timeout_ms {
        builder = builder.timeout(Duration::from_millis(ms));
    }
    if let Some(ms) = options.check_timeout_ms {
        builder = builder.check_timeout(Duration::from_millis(ms));
    }
    if let Some(retries) = options.retries_max {
        builder = builder.retries_max(retries);
    }
    Ok(Core { client: builder.build().map_err(quotastack::Error::from)? })
}
