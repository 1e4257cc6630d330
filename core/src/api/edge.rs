//! A check where neither server nor sidecar is at hand: from the bytes of a published state and of a catalogue to the
//! answer, by the same rules. WebAssembly exports it. Source: docs/sync.md, "A check at the edge".

use crate::api::check::AnswerJson;
use crate::api::fields;
use crate::api::problem::Problem;
use crate::entitlement::evaluate::{CheckRequest, evaluate};
use crate::ledger::command::Properties;
use crate::state::AccountState;
use crate::sync::catalogue;
use crate::time::Timestamp;
use crate::wire::WireError;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EdgeError {
    /// What is asked is no check.
    #[error("{}", .0.detail())]
    Invalid(Problem),
    /// The bytes of the state, or of the catalogue, are none of this release.
    #[error("the {what} cannot be read: {why}")]
    Unreadable {
        /// Which of the two.
        what: &'static str,
        /// What is wrong with it.
        why: WireError,
    },
    /// The state was written with a newer catalogue.
    #[error("the state needs version {needed} of the catalogue, and this is {given}: fetch the catalogue again")]
    OldCatalogue {
        /// What it needs.
        needed: u64,
        /// What there is.
        given: u64,
    },
    /// The account is too large to be published.
    #[error("the account is too large to be published: only the server can answer for it")]
    Partial,
}

/// Answers a check from [`AccountState::encode`] and [`catalogue::encode`] at a real instant (RFC 3339): the fields of
/// a check's answer as JSON, less those that say how fresh it is.
pub fn answer(state: &[u8], catalogue: &[u8], feature_key: &str, units: i64, now: &str) -> Result<Vec<u8>, EdgeError> {
    let feature_key = fields::feature_key(feature_key, "/feature_key").map_err(EdgeError::Invalid)?;
    let units = fields::units(units, "/units").map_err(EdgeError::Invalid)?;
    let now: Timestamp = now.parse().map_err(|error: crate::time::InvalidTimestamp| {
        EdgeError::Invalid(Problem::invalid("/now", error.to_string()))
    })?;
    let unreadable = |what| move |why| EdgeError::Unreadable { what, why };
    let state = AccountState::decode(state).map_err(unreadable("state"))?;
    let catalogue = catalogue::decode(catalogue).map_err(unreadable("catalogue"))?;
    if state.catalogue_version > catalogue.version {
        return Err(EdgeError::OldCatalogue { needed: state.catalogue_version, given: catalogue.version });
    }
    if state.partial {
        return Err(EdgeError::Partial);
    }
    let request = CheckRequest { feature_key: &feature_key, units, properties: &Properties::new() };
    let decision = evaluate(&state, &catalogue, request, catalogue.clock.at(now));
    Ok(AnswerJson::undated(&feature_key, &decision).to_json())
}
