//! A check: from memory, by the same rules as on the server, at the server's present time.
//!
//! On the fast way nothing awaits and no lock is held while the rules are evaluated. An end user that is not held is
//! asked for over the link, once; without a server the feature's `offline` policy decides. Plans are never bypassed
//! by it: it only turns answers into denials, except where nothing is known at all.

use std::time::Duration;

use quotastack_core::api::check::{CheckQuery, Freshness, Source};
use quotastack_core::catalogue::{Catalogue, FeatureKind, OfflinePolicy};
use quotastack_core::entitlement::decision::{Decision, Reason};
use quotastack_core::entitlement::evaluate::{CheckRequest, evaluate};
use quotastack_core::ids::FeatureKey;
use quotastack_core::ledger::command::Properties;
use quotastack_core::state::AccountState;

use crate::engine::Engine;
use crate::fetch;

/// The answer, and how good it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckAnswer {
    /// Whether the end user may, and why.
    pub decision: Decision,
    /// Where it came from, and how old that may be. `as_of` is in the environment's time.
    pub freshness: Freshness,
}

/// Why a sidecar cannot answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// It has never had a catalogue.
    #[error("the sidecar has no catalogue yet: it has not reached the server since its data directory was made")]
    NoCatalogue,
    /// The account is published in part only.
    #[error("the account is too large to be replicated: only the server can answer for it")]
    Partial,
}

/// Answers from memory, or `None` where more than memory is needed.
pub(crate) fn from_memory(engine: &Engine, query: &CheckQuery) -> Option<Result<CheckAnswer, CheckError>> {
    // The state first: the catalogue that is read after it is at least the one that it needs.
    let state = engine.memory.get(&query.end_user_id)?;
    let catalogue = engine.catalogue()?;
    Some(answer(engine, &state, &catalogue, query))
}

/// Answers a check; asks the server where nothing is held.
pub(crate) async fn check(engine: &Engine, query: &CheckQuery) -> Result<CheckAnswer, CheckError> {
    if let Some(answer) = from_memory(engine, query) {
        return answer;
    }
    let state = fetch::state_of(engine, &query.end_user_id).await;
    let catalogue = engine.catalogue().ok_or(CheckError::NoCatalogue)?;
    match state {
        Some(state) => answer(engine, &state, &catalogue, query),
        None => Ok(without_state(engine, &catalogue, query)),
    }
}

fn answer(
    engine: &Engine,
    state: &AccountState,
    catalogue: &Catalogue,
    query: &CheckQuery,
) -> Result<CheckAnswer, CheckError> {
    if state.partial {
        return Err(CheckError::Partial);
    }
    let mut answer = evaluated(engine, state, catalogue, query);
    let staleness = Duration::from_millis(answer.freshness.staleness_ms);
    let is_too_old = match metered_policy(catalogue, &query.feature_key) {
        None | Some(OfflinePolicy::Allow) => false,
        Some(OfflinePolicy::Deny) => !engine.is_link_up(),
        Some(OfflinePolicy::AllowUntilStale) => staleness > engine.limits.staleness_max,
    };
    // A denial keeps its own reason.
    if is_too_old && answer.decision.allowed {
        answer.decision.allowed = false;
        answer.decision.reason = Reason::StaleReplica;
    }
    Ok(answer)
}

/// Nothing is known of the end user, and the server cannot be asked.
fn without_state(engine: &Engine, catalogue: &Catalogue, query: &CheckQuery) -> CheckAnswer {
    let nobody = AccountState::unknown(query.end_user_id.clone());
    let mut answer = evaluated(engine, &nobody, catalogue, query);
    // What the empty account says of credit means nothing here.
    if let Some(policy) = metered_policy(catalogue, &query.feature_key) {
        answer.decision.allowed = policy == OfflinePolicy::Allow;
        answer.decision.reason = if answer.decision.allowed { Reason::Ok } else { Reason::StaleReplica };
    }
    answer
}

fn evaluated(engine: &Engine, state: &AccountState, catalogue: &Catalogue, query: &CheckQuery) -> CheckAnswer {
    let (now, as_of) = (engine.clock.now(), engine.as_of());
    let staleness = engine.staleness(now, as_of);
    let properties = Properties::new();
    let request = CheckRequest { feature_key: &query.feature_key, units: query.units, properties: &properties };
    let freshness = Freshness {
        source: Source::Replica,
        as_of: catalogue.clock.at(as_of),
        staleness_ms: u64::try_from(staleness.as_millis()).unwrap_or(u64::MAX),
    };
    CheckAnswer { decision: evaluate(state, catalogue, request, catalogue.clock.at(now)), freshness }
}

/// The offline policy of a feature that costs credit; the others are answered however old the replica is.
fn metered_policy(catalogue: &Catalogue, feature_key: &FeatureKey) -> Option<OfflinePolicy> {
    let feature = catalogue.features.get(feature_key)?;
    (feature.kind == FeatureKind::Metered).then_some(feature.offline)
}
