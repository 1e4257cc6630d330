//! Features.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::api::price::PriceJson;
use quotastack_core::api::problem::Problem;
use quotastack_core::catalogue::{Access, Enforcement, Feature, FeatureKind, OfflinePolicy, OveragePolicy};
use quotastack_core::credits::Credits;
use quotastack_core::ids::FeatureKey;
use quotastack_core::limits::{PAIR_KEY_BYTES_MAX, SUMMARY_PROPERTIES_MAX};
use quotastack_core::pricing::PriceVersion;
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::app::auth::Scope;
use crate::app::catalogue::{CatalogueChange, Changed};
use crate::app::clock;
use crate::app::error::AppError;
use crate::http::body::{Json, changed, json};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::query::{Params, Segment, limit, page, read_cursor};
use crate::http::state::ApiState;
use crate::store::features::FeatureRow;

const NAME_CHARS_MAX: usize = 200;
const VALUE_BYTES_MAX: usize = 16 << 10;

/// The body of a feature.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureJson {
    feature_key: String,
    name: String,
    kind: FeatureKind,
    price: Option<PriceJson>,
    #[serde(default, deserialize_with = "fields::not_null")]
    overage_policy: Option<OveragePolicy>,
    overdraft_limit: Option<i64>,
    #[serde(default, deserialize_with = "fields::not_null")]
    enforcement: Option<Enforcement>,
    #[serde(default, deserialize_with = "fields::not_null")]
    offline: Option<OfflinePolicy>,
    #[serde(default, deserialize_with = "fields::not_null")]
    default: Option<AccessJson>,
    #[serde(default)]
    summary_properties: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessJson {
    enabled: bool,
    value: Option<Box<RawValue>>,
}

/// `POST /v1/features`
pub async fn create_feature(
    State(state): State<ApiState>,
    caller: Caller,
    body: Json<FeatureJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogWrite)?;
    let identity = body.identity(&principal, "create_feature", None)?;
    let feature_key = fields::feature_key(&body.value.feature_key, "/feature_key")?;
    let name = name(&body.value.name)?;
    let feature = checked_feature(body.value)?;
    let change = CatalogueChange::CreateFeature { feature_key, name, feature };
    let done = state.app.change_catalogue(&principal, &change, identity).await?;
    let Changed::Feature(row) = &done.changed else { unreachable!("the change creates a feature") };
    Ok(changed(StatusCode::CREATED, &FeatureOut::new(row), &done))
}

/// The body of a feature's new rules. Its kind stays, and prices have versions of their own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureRulesJson {
    name: String,
    #[serde(default, deserialize_with = "fields::not_null")]
    overage_policy: Option<OveragePolicy>,
    overdraft_limit: Option<i64>,
    #[serde(default, deserialize_with = "fields::not_null")]
    enforcement: Option<Enforcement>,
    #[serde(default, deserialize_with = "fields::not_null")]
    offline: Option<OfflinePolicy>,
    #[serde(default, deserialize_with = "fields::not_null")]
    default: Option<AccessJson>,
}

/// `PUT /v1/features/{feature_key}`
pub async fn replace_feature(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<FeatureRulesJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogWrite)?;
    let feature_key = key_of(&segment)?;
    let identity = body.identity(&principal, &format!("replace_feature {feature_key}"), None)?;
    let before = state.app.feature(principal.environment_id, &feature_key).await?.feature;
    let FeatureRulesJson { name: name_given, overage_policy, overdraft_limit, enforcement, offline, default } =
        body.value;
    let (kind, summary_properties) = (before.kind, before.summary_properties);
    let rules = FeatureJson {
        feature_key: feature_key.to_string(),
        name: name_given,
        kind,
        price: None,
        overage_policy,
        overdraft_limit,
        enforcement,
        offline,
        default,
        summary_properties,
    };
    let name = name(&rules.name)?;
    let change = CatalogueChange::ReplaceFeature { feature_key, name, rules: checked_feature(rules)? };
    let done = state.app.change_catalogue(&principal, &change, identity).await?;
    let Changed::Feature(row) = &done.changed else { unreachable!("the change replaces a feature's rules") };
    Ok(changed(StatusCode::OK, &FeatureOut::new(row), &done))
}

/// The key that a path names; what is no key names nothing.
fn key_of(segment: &Segment) -> Result<FeatureKey, AppError> {
    FeatureKey::new(&segment.0).map_err(|_| AppError::NotFound(format!("there is no feature {}", segment.0)))
}

fn checked_feature(body: FeatureJson) -> Result<Feature, Problem> {
    let metered = body.kind == FeatureKind::Metered;
    let enforcement = body.enforcement.unwrap_or_default();
    if !metered && enforcement == Enforcement::Strict {
        return Err(Problem::invalid("/enforcement", "only a metered feature can be strict"));
    }
    refuse_metered_terms(body.kind, body.price.is_some(), body.overage_policy, body.overdraft_limit, "")?;
    let overdraft_limit = body.overdraft_limit.map(|limit| fields::amount(limit, "/overdraft_limit")).transpose()?;
    // The first price holds for all time before it, so that no late usage finds itself without one.
    let price = body.price.map(|price| price.into_price("/price")).transpose()?;
    let prices = price.map(|price| PriceVersion { effective_from: Timestamp::MIN, price }).into_iter().collect();
    Ok(Feature {
        kind: body.kind,
        default: body.default.map_or(Ok(Access { enabled: metered, value: None }), |access| {
            checked_access(body.kind, access.enabled, access.value, "/default")
        })?,
        prices,
        overage_policy: body.overage_policy.unwrap_or(OveragePolicy::Block),
        overdraft_limit,
        enforcement,
        offline: body.offline.unwrap_or(OfflinePolicy::AllowUntilStale),
        summary_properties: checked_properties(body.summary_properties)?,
    })
}

/// Refuses what says how usage is paid for where there is no usage. What it is anyway may be said.
pub(super) fn refuse_metered_terms(
    kind: FeatureKind,
    has_price: bool,
    policy: Option<OveragePolicy>,
    overdraft_limit: Option<i64>,
    pointer: &str,
) -> Result<(), Problem> {
    if kind == FeatureKind::Metered {
        return Ok(());
    }
    let (field, what) = if has_price {
        ("price", "a price")
    } else if policy.is_some_and(|policy| policy != OveragePolicy::Block) {
        ("overage_policy", "an overage_policy other than block")
    } else if overdraft_limit.is_some() {
        ("overdraft_limit", "an overdraft_limit")
    } else {
        return Ok(());
    };
    Err(Problem::invalid(format!("{pointer}/{field}"), format!("only a metered feature has {what}; leave it out")))
}

fn checked_properties(names: Vec<String>) -> Result<Vec<String>, Problem> {
    let fits = |name: &String| (1..=PAIR_KEY_BYTES_MAX).contains(&name.len()) && !name.contains('\0');
    if names.len() > SUMMARY_PROPERTIES_MAX || !names.iter().all(fits) {
        return Err(Problem::invalid("/summary_properties", "has at most 4 names of 1 to 64 bytes"));
    }
    let mut sorted = names;
    sorted.sort_unstable();
    sorted.dedup();
    Ok(sorted)
}

/// What a feature gives: only `config` features have values.
pub(super) fn checked_access(
    kind: FeatureKind,
    enabled: bool,
    value: Option<Box<RawValue>>,
    pointer: &str,
) -> Result<Access, Problem> {
    let value = value.map(|value| value.get().to_owned()).filter(|value| value != "null");
    if value.is_some() && kind != FeatureKind::Config {
        return Err(Problem::invalid(format!("{pointer}/value"), "only a config feature has a value"));
    }
    let is_storable = |value: &String| {
        value.len() <= VALUE_BYTES_MAX
            && !value.contains("\\u0000")
            // Until here it was only skipped over: halves of characters, endless nesting, numbers beyond every range.
            && serde_json::from_str::<serde_json::Value>(value).is_ok()
    };
    if !value.as_ref().is_none_or(is_storable) {
        let detail = "must be JSON of at most 16,384 bytes, nested at most 127 deep, nowhere the character NUL";
        return Err(Problem::invalid(format!("{pointer}/value"), detail));
    }
    Ok(Access { enabled, value })
}

/// A name for people.
pub(super) fn name(text: &str) -> Result<String, Problem> {
    let chars = text.chars().count();
    let is_blank = text.chars().all(char::is_whitespace);
    if chars <= NAME_CHARS_MAX && !is_blank && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        let detail = "must be 1 to 200 characters, not all of them blank, none of them a control character";
        Err(Problem::invalid("/name", detail))
    }
}

/// What a caller may ask of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListParams {
    /// Rows of a page.
    pub limit: Option<i64>,
    /// Of the page before.
    pub cursor: Option<String>,
}

/// `GET /v1/features`
pub async fn list_features(
    State(state): State<ApiState>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogRead)?;
    let limit = limit(params.limit)?;
    let after: Option<FeatureKey> = read_cursor(params.cursor.as_deref())?;
    let after = after.as_ref().map_or("", FeatureKey::as_str);
    let rows = state.app.features(principal.environment_id, after, limit + 1).await?;
    let (rows, next_cursor) = page(rows, limit, |row| row.feature_key.to_string());
    Ok(json(StatusCode::OK, &ListOut { data: rows.iter().map(FeatureOut::new).collect(), next_cursor }))
}

/// `GET /v1/features/{feature_key}`
pub async fn get_feature(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogRead)?;
    let row = state.app.feature(principal.environment_id, &key_of(&segment)?).await?;
    Ok(json(StatusCode::OK, &FeatureOut::new(&row)))
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub(super) struct ListOut<T> {
    pub(super) data: Vec<T>,
    pub(super) next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct FeatureOut<'a> {
    feature_key: &'a FeatureKey,
    name: &'a str,
    kind: FeatureKind,
    price: Option<PriceJson>,
    overage_policy: OveragePolicy,
    overdraft_limit: Option<Credits>,
    enforcement: Enforcement,
    offline: OfflinePolicy,
    default: AccessOut<'a>,
    summary_properties: &'a [String],
    created_at: Timestamp,
}

/// What a feature gives.
#[derive(Debug, Serialize)]
pub(super) struct AccessOut<'a> {
    enabled: bool,
    value: Option<&'a RawValue>,
}

impl<'a> AccessOut<'a> {
    pub(super) fn new(access: &'a Access) -> Self {
        let value = access.value.as_deref().map(serde_json::from_str::<&RawValue>);
        Self { enabled: access.enabled, value: value.transpose().expect("values of the catalogue are JSON") }
    }
}

impl<'a> FeatureOut<'a> {
    fn new(row: &'a FeatureRow) -> Self {
        let feature = &row.feature;
        let price = feature.price_at(clock::now());
        Self {
            feature_key: &row.feature_key,
            name: &row.name,
            kind: feature.kind,
            price: price.map(PriceJson::of),
            overage_policy: feature.overage_policy,
            overdraft_limit: feature.overdraft_limit,
            enforcement: feature.enforcement,
            offline: feature.offline,
            default: AccessOut::new(&feature.default),
            summary_properties: &feature.summary_properties,
            created_at: row.created_at,
        }
    }
}
