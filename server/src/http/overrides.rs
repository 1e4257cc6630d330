//! Overrides: an end user's own terms for a feature.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::api::price::PriceJson;
use quotastack_core::api::problem::Problem;
use quotastack_core::catalogue::OveragePolicy;
use quotastack_core::credits::Credits;
use quotastack_core::entitlement::terms::Override;
use quotastack_core::ids::FeatureKey;
use quotastack_core::ledger::command::Command;
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::problem::Code;
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::app::auth::Scope;
use crate::http::body::{Json, OptionalKey, json, written};
use crate::http::caller::Caller;
use crate::http::credits::cap;
use crate::http::error::ApiError;
use crate::http::features::{ListOut, checked_access, refuse_metered_terms};
use crate::http::query::{Segment, Segments};
use crate::http::state::ApiState;

/// The body of an override. What is left out is as it would be without it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverrideJson {
    enabled: Option<bool>,
    value: Option<Box<RawValue>>,
    price: Option<PriceJson>,
    overage_policy: Option<OveragePolicy>,
    overdraft_limit: Option<i64>,
    expires_at: Option<Timestamp>,
}

/// `PUT /v1/end_users/{end_user_id}/overrides/{feature_key}`
pub async fn set_override(
    State(state): State<ApiState>,
    caller: Caller,
    Segments(end_user_id, feature_key): Segments,
    body: Json<OverrideJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::SubscriptionsWrite)?;
    let end_user_id = fields::end_user_id(&end_user_id, "path:end_user_id")?;
    let feature_key = fields::feature_key(&feature_key, "path:feature_key")?;
    let identity = body.identity(&principal, &format!("set_override {feature_key}"), Some(&end_user_id))?;
    let feature = state.app.feature(principal.environment_id, &feature_key).await?.feature;
    let asked = body.value;
    refuse_metered_terms(feature.kind, asked.price.is_some(), asked.overage_policy, asked.overdraft_limit, "")?;
    if let Some(expires_at) = asked.expires_at {
        let environment = principal.environment_id;
        let now = state.app.state(environment, &end_user_id).await?.now;
        // A repeat is answered as the first time, however late it comes.
        if expires_at <= now && !state.app.is_repeat(environment, &end_user_id, identity.as_ref()).await? {
            let detail = format!("must be after now ({now}); to end an override, delete it");
            return Err(Problem::invalid("/expires_at", detail).into());
        }
    }
    let access = checked_access(feature.kind, true, asked.value, "")?;
    let terms = Override {
        feature_key,
        enabled: asked.enabled,
        value: access.value,
        price: asked.price.map(|price| price.into_price("/price")).transpose()?,
        overage_policy: asked.overage_policy,
        overdraft_limit: cap(asked.overdraft_limit, "/overdraft_limit")?,
        expires_at: asked.expires_at,
    };
    let carried = state.app.write(&principal, end_user_id, Command::SetOverride(terms), identity, None).await?;
    let Outcome::OverrideSet { terms } = &carried.outcome else { unreachable!("setting comes to an override") };
    Ok(written(StatusCode::OK, &OverrideOut::new(terms), &carried))
}

/// `DELETE /v1/end_users/{end_user_id}/overrides/{feature_key}`
pub async fn remove_override(
    State(state): State<ApiState>,
    caller: Caller,
    Segments(end_user_id, feature_key): Segments,
    key: OptionalKey,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct RemovedJson<'a> {
        feature_key: &'a FeatureKey,
        removed: bool,
    }
    let principal = caller.with(Scope::SubscriptionsWrite)?;
    let end_user_id = fields::end_user_id(&end_user_id, "path:end_user_id")?;
    let feature_key = fields::feature_key(&feature_key, "path:feature_key")?;
    let identity = key.identity(&principal, &format!("remove_override {feature_key}"), Some(&end_user_id));
    let command = Command::RemoveOverride(feature_key.clone());
    let carried = state.app.write(&principal, end_user_id, command, identity, None).await?;
    Ok(written(StatusCode::OK, &RemovedJson { feature_key: &feature_key, removed: true }, &carried))
}

/// `GET /v1/end_users/{end_user_id}/overrides/{feature_key}`
pub async fn get_override(
    State(state): State<ApiState>,
    caller: Caller,
    Segments(end_user_id, feature_key): Segments,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::SubscriptionsRead)?;
    let end_user_id = fields::end_user_id(&end_user_id, "path:end_user_id")?;
    let feature_key = fields::feature_key(&feature_key, "path:feature_key")?;
    let read = state.app.account(principal.environment_id, &end_user_id, false).await?;
    let overrides = read.map_or(Vec::new(), |read| read.account.wallet.overrides);
    let found = overrides.iter().find(|own| own.feature_key == feature_key);
    let missing = || Problem::new(Code::NotFound, format!("the end user has no override of the feature {feature_key}"));
    Ok(json(StatusCode::OK, &OverrideOut::new(found.ok_or_else(missing)?)))
}

/// `GET /v1/end_users/{end_user_id}/overrides`
pub async fn list_overrides(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::SubscriptionsRead)?;
    let end_user_id = fields::end_user_id(&segment.0, "path:end_user_id")?;
    let read = state.app.account(principal.environment_id, &end_user_id, false).await?;
    let overrides = read.map_or(Vec::new(), |read| read.account.wallet.overrides);
    let data = overrides.iter().map(OverrideOut::new).collect();
    Ok(json(StatusCode::OK, &ListOut { data, next_cursor: None }))
}

#[derive(Debug, Serialize)]
struct OverrideOut<'a> {
    feature_key: &'a FeatureKey,
    enabled: Option<bool>,
    value: Option<&'a RawValue>,
    price: Option<PriceJson>,
    overage_policy: Option<OveragePolicy>,
    overdraft_limit: Option<Credits>,
    expires_at: Option<Timestamp>,
}

impl<'a> OverrideOut<'a> {
    fn new(terms: &'a Override) -> Self {
        let value = terms.value.as_deref().map(serde_json::from_str::<&RawValue>);
        Self {
            feature_key: &terms.feature_key,
            enabled: terms.enabled,
            value: value.transpose().expect("values of overrides are JSON"),
            price: terms.price.as_ref().map(PriceJson::of),
            overage_policy: terms.overage_policy,
            overdraft_limit: terms.overdraft_limit,
            expires_at: terms.expires_at,
        }
    }
}
