//! Checks, and what an end user may do in all.

use std::collections::BTreeMap;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::check::{AnswerJson, AnswersJson, CheckQuery, ChecksJson, Freshness, Source};
use quotastack_core::api::explain::ExplainJson;
use quotastack_core::api::fields;
use quotastack_core::credits::Units;
use quotastack_core::entitlement::decision::Decision;
use quotastack_core::entitlement::evaluate::CheckRequest;
use quotastack_core::ids::FeatureKey;
use quotastack_core::time::Timestamp;
use serde::Deserialize;

use crate::app::auth::{Principal, Scope};
use crate::app::clock;
use crate::app::entitlements::{EntitledRead, Explained};
use crate::app::ledger::StateRead;
use crate::http::body::{Json, json, raw_json};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::features::ListOut;
use crate::http::query::{Params, Segment, limit, page, read_cursor};
use crate::http::state::ApiState;

/// `GET /v1/entitlements/check`
pub async fn check_entitlement(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::EntitlementsRead)?;
    let query = CheckQuery::from_query(query.as_deref().unwrap_or_default())?;
    if query.explain {
        let read = state.app.entitled(principal.environment_id, &query.end_user_id).await?;
        let explained = read.check(&query.feature_key, query.units);
        let text = answer_json(&read, &query.feature_key, &explained, true).to_json();
        return Ok(raw_json(StatusCode::OK, text));
    }
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
    Ok((decision, freshness(read.now, read.as_of)))
}

/// How fresh an answer is that was read at `read_at` in real time, `now` in the environment's.
fn freshness(now: Timestamp, read_at: Timestamp) -> Freshness {
    let age = clock::now().micros_since(read_at).max(0);
    let staleness_ms = u64::try_from(age / 1_000).expect("an age is not negative");
    Freshness { source: Source::Server, as_of: now, staleness_ms }
}

/// What a caller may ask of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntitlementsParams {
    #[serde(default)]
    explain: bool,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// `GET /v1/end_users/{end_user_id}/entitlements`
pub async fn list_entitlements(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    Params(params): Params<EntitlementsParams>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::EntitlementsRead)?;
    let end_user_id = fields::end_user_id(&segment.0, "path:end_user_id")?;
    let limit = limit(params.limit)?;
    let after: Option<FeatureKey> = read_cursor(params.cursor.as_deref())?;
    let read = state.app.entitled(principal.environment_id, &end_user_id).await?;
    let (keys, next_cursor) = page(read.features_after(after.as_ref(), limit + 1), limit, |key| key.to_string());
    let answers: Vec<_> = keys.iter().map(|key| read.check(key, Units::ONE)).collect();
    let data = keys.iter().zip(&answers).map(|(key, explained)| answer_json(&read, key, explained, params.explain));
    Ok(json(StatusCode::OK, &ListOut { data: data.collect(), next_cursor }))
}

fn answer_json<'a>(
    read: &'a EntitledRead,
    feature_key: &'a FeatureKey,
    explained: &'a Explained<'a>,
    explain: bool,
) -> AnswerJson<'a> {
    let Explained { decision, grounds } = explained;
    let answer = AnswerJson::new(feature_key, decision, freshness(read.now, read.as_of));
    if !explain {
        return answer;
    }
    let wallet = &read.account.wallet;
    answer.explained(ExplainJson::new(wallet, &read.catalogue, feature_key, decision, grounds.as_ref()))
}
