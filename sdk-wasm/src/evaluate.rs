//! Checks from bytes, by the rules that server and sidecar go by.

use quotastack_core::api::edge::{self, EdgeError};

use crate::failure::Failure;

/// The answer as JSON.
pub(crate) fn evaluate(
    state: &[u8],
    catalogue: &[u8],
    feature_key: &str,
    units: i64,
    now: &str,
) -> Result<String, Failure> {
    let answer = edge::answer(state, catalogue, feature_key, units, now).map_err(refused)?;
    Ok(String::from_utf8(answer).expect("JSON is UTF-8"))
}

fn refused(error: EdgeError) -> Failure {
    let code = match error {
        EdgeError::Invalid(_) => "invalid_request",
        EdgeError::Unreadable { .. } | EdgeError::OldCatalogue { .. } | EdgeError::Partial => "unreadable_state",
    };
    Failure::here(code, error.to_string())
}
