//! Variants of plans and their versions.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::price::PriceJson;
use quotastack_core::catalogue::{
    BillingMode, Contract, GrantInterval, GrantOn, GrantTemplate, Merge, OveragePolicy, TrialEnd, VariantPrice,
};
use quotastack_core::credits::Credits;
use quotastack_core::ids::{CapGroup, FeatureKey, PlanId, VariantId};
use quotastack_core::time::{Period, Timestamp};
use serde::{Deserialize, Serialize};

use crate::app::auth::Scope;
use crate::app::catalogue::{CatalogueChange, Changed};
use crate::http::body::{Json, OptionalKey, changed, json};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::features::{AccessOut, ListOut, ListParams, name};
use crate::http::query::{Params, Segment, limit, page, read_cursor};
use crate::http::state::ApiState;
use crate::http::variant_body::{NamedInterval, VariantJson, checked_variant};
use crate::store::plans::VariantRow;

/// `POST /v1/plans/{plan_id}/variants`
pub async fn create_variant(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<VariantJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogWrite)?;
    let plan_id: PlanId = segment.id("plan")?;
    let identity = body.identity(&principal, &format!("create_variant {plan_id}"), None)?;
    let plan = state.app.plan(principal.environment_id, plan_id).await?;
    let name = name(&body.value.name)?;
    let variant = checked_variant(&state, principal.environment_id, &plan, body.value).await?;
    let change = CatalogueChange::CreateVariant { name, variant };
    let done = state.app.change_catalogue(&principal, &change, identity).await?;
    let Changed::Variant(row) = &done.changed else { unreachable!("the change creates a variant") };
    Ok(changed(StatusCode::CREATED, &VariantOut::new(row), &done))
}

/// `PUT /v1/variants/{variant_id}`
pub async fn replace_variant(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<VariantJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogWrite)?;
    let id: VariantId = segment.id("plan variant")?;
    let identity = body.identity(&principal, &format!("replace_variant {id}"), None)?;
    let before = state.app.variant(principal.environment_id, id, None).await?;
    let plan = state.app.plan(principal.environment_id, before.variant.plan_id).await?;
    let name = name(&body.value.name)?;
    let variant = checked_variant(&state, principal.environment_id, &plan, body.value).await?;
    let change = CatalogueChange::ReplaceVariant { variant_id: id, name, variant };
    let done = state.app.change_catalogue(&principal, &change, identity).await?;
    let Changed::Variant(row) = &done.changed else { unreachable!("the change makes a version of a variant") };
    Ok(changed(StatusCode::OK, &VariantOut::new(row), &done))
}

/// `DELETE /v1/variants/{variant_id}`
pub async fn archive_variant(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    key: OptionalKey,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogWrite)?;
    let id: VariantId = segment.id("plan variant")?;
    let identity = key.identity(&principal, &format!("archive_variant {id}"), None);
    let done = state.app.change_catalogue(&principal, &CatalogueChange::ArchiveVariant(id), identity).await?;
    let Changed::Variant(row) = &done.changed else { unreachable!("the change archives a variant") };
    Ok(changed(StatusCode::OK, &VariantOut::new(row), &done))
}

/// `GET /v1/plans/{plan_id}/variants`
pub async fn list_variants(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogRead)?;
    let limit = limit(params.limit)?;
    let after: Option<VariantId> = read_cursor(params.cursor.as_deref())?;
    let rows = state.app.variants(principal.environment_id, segment.id("plan")?, after, limit + 1).await?;
    let (rows, next_cursor) = page(rows, limit, |row| row.variant_id.to_string());
    Ok(json(StatusCode::OK, &ListOut { data: rows.iter().map(VariantOut::new).collect(), next_cursor }))
}

/// Which version of a variant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionParams {
    version: Option<u32>,
}

/// `GET /v1/variants/{variant_id}`
pub async fn get_variant(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    Params(params): Params<VersionParams>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogRead)?;
    let row = state.app.variant(principal.environment_id, segment.id("plan variant")?, params.version).await?;
    Ok(json(StatusCode::OK, &VariantOut::new(&row)))
}

#[derive(Debug, Serialize)]
struct VariantOut<'a> {
    id: VariantId,
    plan_id: PlanId,
    name: &'a str,
    version: u32,
    billing_period: Period,
    billing_mode: BillingMode,
    trial_days: u16,
    trial_end: Option<TrialEnd>,
    renewal_due_days: u16,
    grace_period_days: u16,
    allow_usage_while_overdue: bool,
    price: Option<&'a VariantPrice>,
    contract: Option<Contract>,
    carry_debt: bool,
    summary_delay_minutes: u16,
    fallback: bool,
    archived: bool,
    grants: Vec<TemplateOut<'a>>,
    entitlements: Vec<EntitlementOut<'a>>,
    created_at: Timestamp,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum IntervalOut {
    Named(NamedInterval),
    Every(Period),
}

#[derive(Debug, Serialize)]
struct TemplateOut<'a> {
    amount: Credits,
    interval: IntervalOut,
    on: GrantOn,
    expires_after: Option<Period>,
    rollover_percent: u8,
    rollover_cap: Option<Credits>,
    priority: u8,
    feature_keys: &'a [FeatureKey],
    accumulation_cap: Option<Credits>,
    cap_group: Option<&'a CapGroup>,
    settle_debt: bool,
}

#[derive(Debug, Serialize)]
struct EntitlementOut<'a> {
    feature_key: &'a FeatureKey,
    #[serde(flatten)]
    access: AccessOut<'a>,
    price: Option<PriceJson>,
    overage_policy: Option<OveragePolicy>,
    overdraft_limit: Option<Credits>,
    merge: Option<Merge>,
}

impl<'a> VariantOut<'a> {
    fn new(row: &'a VariantRow) -> Self {
        let variant = &row.variant;
        let template = |grant: &'a GrantTemplate| TemplateOut {
            amount: grant.amount,
            interval: match grant.interval {
                GrantInterval::Once => IntervalOut::Named(NamedInterval::Once),
                GrantInterval::BillingPeriod => IntervalOut::Named(NamedInterval::BillingPeriod),
                GrantInterval::Every(period) => IntervalOut::Every(period),
            },
            on: grant.on,
            expires_after: grant.expires_after,
            rollover_percent: grant.rollover_percent,
            rollover_cap: grant.rollover_cap,
            priority: grant.priority,
            feature_keys: &grant.feature_keys,
            accumulation_cap: grant.accumulation_cap,
            cap_group: grant.cap_group.as_ref(),
            settle_debt: grant.settles_debt,
        };
        let entitlements = variant.entitlements.iter();
        Self {
            id: row.variant_id,
            plan_id: variant.plan_id,
            name: &row.name,
            version: variant.version,
            billing_period: variant.billing_period,
            billing_mode: variant.billing_mode,
            trial_days: variant.trial_days,
            trial_end: variant.trial_end,
            renewal_due_days: variant.renewal_due_days,
            grace_period_days: variant.grace_period_days,
            allow_usage_while_overdue: variant.allow_usage_while_overdue,
            price: variant.price.as_ref(),
            contract: variant.contract,
            carry_debt: variant.carry_debt,
            summary_delay_minutes: variant.summary_delay_minutes,
            fallback: variant.fallback,
            archived: variant.archived,
            grants: variant.grants.iter().map(template).collect(),
            entitlements: entitlements
                .map(|(feature_key, given)| EntitlementOut {
                    feature_key,
                    access: AccessOut::new(&given.access),
                    price: given.price.as_ref().map(PriceJson::of),
                    overage_policy: given.overage_policy,
                    overdraft_limit: given.overdraft_limit,
                    merge: given.merge,
                })
                .collect(),
            created_at: row.created_at,
        }
    }
}
