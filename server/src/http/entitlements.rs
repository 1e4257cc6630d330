//! Checks.

use std::collections::BTreeMap;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::check::{AnswerJson, AnswersJson, CheckQuery, ChecksJson, Freshness, Source};
use quotastack_core::entitlement::decision::Decision;
use quotastack_core::entitlement::evaluate::CheckRequest;

use crate::app::auth::{Principal, Scope};
use crate::app::clock;
use crate::app::ledger::StateRead;
use crate::http::body::{Json, json, raw_json};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::state::ApiState;

/// `GET /v1/entitlements/check`
pub async fn check_entitlement(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::EntitlementsRead)?;
    let query = CheckQuery::from_query(query.as_deref().unwrap_or_default())?;
    let (decision, freshness) = answer(&state, &principal, &query).await?;
    let text = AnswerJson::new(&query.feature_key, &decision, freshness).to_json();
    Ok(raw_json(StatusCode::OK, text))
}

/// `POST /v1/entitlements/check`
pub async fn check_entitlements(
    State(state): State<ApiState>,
    caller: Caller,
    body: Json<ChecksJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::EntitlementsRead)?;
    let queries = body.value.into_queries()?;
    let mut answers = Vec::with_capacity(queries.len());
    for query in &queries {
        answers.push(answer(&state, &principal, query).await?);
    }
    let results = queries.iter().zip(&answers);
    let results =
        results.map(|(query, (decision, freshness))| AnswerJson::new(&query.feature_key, decision, *freshness));
    Ok(json(StatusCode::OK, &AnswersJson { results: results.collect() }))
}

async fn answer(
    state: &ApiState,
    principal: &Principal,
    query: &CheckQuery,
) -> Result<(Decision, Freshness), ApiError> {
    let read: StateRead = state.app.state(principal.environment_id, &query.end_user_id).await?;
    let decision =
        read.check(CheckRequest { feature_key: &query.feature_key, units: query.units, properties: &BTreeMap::new() });
    let age = clock::now().micros_since(read.as_of).max(0);
    let staleness_ms = u64::try_from(age / 1_000).expect("an age is not negative");
    Ok((decision, Freshness { source: Source::Server, as_of: read.now, staleness_ms }))
}
