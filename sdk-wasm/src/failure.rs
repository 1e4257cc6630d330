//! What a failed call looks like to the facade, which makes a `QuotaStackError` of it.

use quotastack::{Error, Problem};
use serde::Serialize;
use wasm_bindgen::JsValue;

/// A failed call.
#[derive(Serialize)]
pub(crate) struct Failure {
    /// The server's code, or `invalid_request`, `connection_failed`, `unreadable_answer`, `ledger_broken`,
    /// `unreadable_state`.
    code: String,
    message: String,
    status: Option<u16>,
    request_id: Option<String>,
    retryable: bool,
    /// The first entry of a broken ledger.
    seq: Option<i64>,
    /// The server's problem document.
    problem: Option<Box<Problem>>,
}

impl Failure {
    /// One that no server has said.
    #[cfg(feature = "evaluate")]
    pub(crate) fn here(code: &str, message: String) -> Self {
        let code = code.to_owned();
        Self { code, message, status: None, request_id: None, retryable: false, seq: None, problem: None }
    }

    pub(crate) fn into_js(self) -> JsValue {
        JsValue::from(serde_json::to_string(&self).expect("a failure is plain data"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Api(problem) => problem.code.as_str(),
            Error::Invalid(_) | Error::Config(_) => "invalid_request",
            Error::Connection(_) => "connection_failed",
            Error::Answer(_) => "unreadable_answer",
            #[cfg(feature = "verify")]
            Error::BrokenLedger(_) => "ledger_broken",
        };
        let seq = match &error {
            #[cfg(feature = "verify")]
            Error::BrokenLedger(broken) => Some(broken.seq),
            _ => None,
        };
        Self {
            code: code.to_owned(),
            message: match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
            status: error.status(),
            request_id: error.request_id().map(str::to_owned),
            retryable: error.is_retryable(),
            seq,
            problem: error.problem().cloned().map(Box::new),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Error::Invalid(error.to_string()).into()
    }
}
