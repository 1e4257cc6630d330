//! Plans and their variants.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::api::price::PriceJson;
use quotastack_core::api::problem::Problem;
use quotastack_core::catalogue::{
    BillingMode, Entitlement, FeatureKind, GrantInterval, GrantOn, GrantTemplate, OveragePolicy, PlanKind, TrialEnd,
    Variant,
};
use quotastack_core::credits::Credits;
use quotastack_core::ids::{CapGroup, FeatureKey, PlanId, VariantId};
use quotastack_core::limits::{ENTITLEMENTS_MAX, GRANT_TEMPLATES_MAX};
use quotastack_core::time::{Period, PeriodUnit, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::app::auth::Scope;
use crate::app::catalogue::{CatalogueChange, Changed};
use crate::app::error::AppError;
use crate::http::body::{Json, changed, json};
use crate::http::caller::Caller;
use crate::http::credits::{cap, priority, scope};
use crate::http::error::ApiError;
use crate::http::features::{AccessOut, ListOut, ListParams, checked_access, name};
use crate::http::query::{Params, Segment, limit, page, read_cursor};
use crate::http::state::ApiState;
use crate::store::plans::{PlanRow, VariantRow};
use crate::store::types::EnvironmentId;

const PERIOD_COUNT_MAX: i64 = 1_000;

/// The body of a plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanJson {
    name: String,
    kind: Option<PlanKindJson>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PlanKindJson {
    Base,
}

/// `POST /v1/plans`
pub async fn create_plan(
    State(state): State<ApiState>,
    caller: Caller,
    body: Json<PlanJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogWrite)?;
    let identity = body.identity(&principal, "create_plan", None)?;
    let PlanKindJson::Base = body.value.kind.unwrap_or(PlanKindJson::Base);
    let change = CatalogueChange::CreatePlan { name: name(&body.value.name)?, kind: PlanKind::Base };
    let done = state.app.change_catalogue(&principal, &change, identity).await?;
    let Changed::Plan(row) = &done.changed else { unreachable!("the change creates a plan") };
    Ok(changed(StatusCode::CREATED, &PlanOut::new(row), &done))
}

/// `GET /v1/plans`
pub async fn list_plans(
    State(state): State<ApiState>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogRead)?;
    let limit = limit(params.limit)?;
    let after: Option<PlanId> = read_cursor(params.cursor.as_deref())?;
    let rows = state.app.plans(principal.environment_id, after, limit + 1).await?;
    let (rows, next_cursor) = page(rows, limit, |row| row.plan_id.to_string());
    Ok(json(StatusCode::OK, &ListOut { data: rows.iter().map(PlanOut::new).collect(), next_cursor }))
}

/// `GET /v1/plans/{plan_id}`
pub async fn get_plan(State(state): State<ApiState>, caller: Caller, segment: Segment) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogRead)?;
    let row = state.app.plan(principal.environment_id, segment.id("plan")?).await?;
    Ok(json(StatusCode::OK, &PlanOut::new(&row)))
}

#[derive(Debug, Serialize)]
struct PlanOut<'a> {
    id: PlanId,
    name: &'a str,
    kind: PlanKind,
    created_at: Timestamp,
}

impl<'a> PlanOut<'a> {
    fn new(row: &'a PlanRow) -> Self {
        Self { id: row.plan_id, name: &row.name, kind: row.kind, created_at: row.created_at }
    }
}

/// Days of a trial, of grace, and of the time in which a period can be renewed.
const DAYS_MAX: u16 = 365;

/// The body of a variant. What is not built yet may be named with the one value it has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantJson {
    name: String,
    billing_period: PeriodJson,
    #[serde(default)]
    billing_mode: BillingMode,
    trial_days: Option<i64>,
    trial_end: Option<TrialEnd>,
    renewal_due_days: Option<i64>,
    grace_period_days: Option<i64>,
    allow_usage_while_overdue: Option<bool>,
    fallback: Option<bool>,
    #[serde(default)]
    grants: Vec<TemplateJson>,
    #[serde(default)]
    entitlements: Vec<EntitlementJson>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeriodJson {
    count: i64,
    unit: PeriodUnit,
}

impl PeriodJson {
    /// A length of calendar time that can be one.
    pub(super) fn checked(self, pointer: &str) -> Result<Period, Problem> {
        if self.unit == PeriodUnit::Hour {
            return Err(Problem::invalid(format!("{pointer}/unit"), "must be day, week, month or year"));
        }
        self.of_any_unit(pointer)
    }

    /// The same, hours included.
    fn of_any_unit(self, pointer: &str) -> Result<Period, Problem> {
        let count = u16::try_from(self.count).ok();
        let count = count.filter(|count| (1..=PERIOD_COUNT_MAX).contains(&i64::from(*count)));
        let count = count.ok_or_else(|| Problem::invalid(format!("{pointer}/count"), "must be 1 to 1000"))?;
        Ok(Period { count, unit: self.unit })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateJson {
    amount: i64,
    interval: IntervalJson,
    every: Option<PeriodJson>,
    #[serde(default)]
    on: GrantOn,
    expires_after: Option<PeriodJson>,
    rollover_cap: Option<i64>,
    priority: Option<i64>,
    #[serde(default)]
    feature_keys: Vec<String>,
    rollover_percent: Option<i64>,
    accumulation_cap: Option<i64>,
    cap_group: Option<String>,
    settle_debt: Option<bool>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum IntervalJson {
    Once,
    BillingPeriod,
    Every,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntitlementJson {
    feature_key: String,
    enabled: Option<bool>,
    value: Option<Box<RawValue>>,
    price: Option<PriceJson>,
    overage_policy: Option<OveragePolicy>,
    overdraft_limit: Option<i64>,
}

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
    let name = name(&body.value.name)?;
    let variant = checked_variant(&state, principal.environment_id, plan_id, body.value).await?;
    let change = CatalogueChange::CreateVariant { name, variant };
    let done = state.app.change_catalogue(&principal, &change, identity).await?;
    let Changed::Variant(row) = &done.changed else { unreachable!("the change creates a variant") };
    Ok(changed(StatusCode::CREATED, &VariantOut::new(row), &done))
}

async fn checked_variant(
    state: &ApiState,
    environment: EnvironmentId,
    plan_id: PlanId,
    body: VariantJson,
) -> Result<Variant, ApiError> {
    refuse_unless_default(!body.fallback.unwrap_or(false), "/fallback", "must be false: there are no fallbacks yet")?;
    if body.grants.len() > GRANT_TEMPLATES_MAX {
        return Err(Problem::invalid("/grants", "has at most 20 grant templates").into());
    }
    if body.entitlements.len() > ENTITLEMENTS_MAX {
        return Err(Problem::invalid("/entitlements", "has at most 500 entitlements").into());
    }
    let grants = body.grants.into_iter().enumerate();
    let grants = grants.map(|(index, grant)| checked_template(grant, &format!("/grants/{index}")));
    let variant = Variant::new(plan_id, PlanKind::Base, body.billing_period.checked("/billing_period")?);
    let trial_days = days(body.trial_days, 0, "/trial_days")?;
    if body.trial_end.is_some() && trial_days == 0 {
        return Err(Problem::invalid("/trial_end", "needs trial_days of 1 or more").into());
    }
    Ok(Variant {
        billing_mode: body.billing_mode,
        trial_days,
        trial_end: body.trial_end,
        renewal_due_days: days(body.renewal_due_days, variant.renewal_due_days, "/renewal_due_days")?,
        grace_period_days: days(body.grace_period_days, variant.grace_period_days, "/grace_period_days")?,
        allow_usage_while_overdue: body.allow_usage_while_overdue.unwrap_or(variant.allow_usage_while_overdue),
        grants: grants.collect::<Result<_, _>>()?,
        entitlements: checked_entitlements(state, environment, body.entitlements).await?,
        ..variant
    })
}

fn days(given: Option<i64>, default: u16, pointer: &str) -> Result<u16, Problem> {
    let Some(given) = given else { return Ok(default) };
    let days = u16::try_from(given).ok().filter(|days| *days <= DAYS_MAX);
    days.ok_or_else(|| Problem::invalid(pointer, "must be 0 to 365"))
}

fn refuse_unless_default(is_default: bool, pointer: &str, detail: &str) -> Result<(), Problem> {
    if is_default { Ok(()) } else { Err(Problem::invalid(pointer, detail)) }
}

fn checked_template(grant: TemplateJson, pointer: &str) -> Result<GrantTemplate, Problem> {
    let at = |field: &str| format!("{pointer}/{field}");
    let percent = u8::try_from(grant.rollover_percent.unwrap_or(0)).ok().filter(|percent| *percent <= 100);
    let interval = match (grant.interval, grant.every) {
        (IntervalJson::Once, None) => GrantInterval::Once,
        (IntervalJson::BillingPeriod, None) => GrantInterval::BillingPeriod,
        (IntervalJson::Every, Some(period)) => GrantInterval::Every(period.of_any_unit(&at("every"))?),
        (IntervalJson::Every, None) => return Err(Problem::invalid(at("every"), "is needed for the interval every")),
        (_, Some(_)) => return Err(Problem::invalid(at("every"), "is only for the interval every")),
    };
    let amount = fields::amount(grant.amount, &at("amount"))?;
    if !amount.is_positive() {
        return Err(Problem::invalid(at("amount"), "must be 1 or more"));
    }
    Ok(GrantTemplate {
        priority: priority(grant.priority, &at("priority"))?,
        feature_keys: scope(&grant.feature_keys, &at("feature_keys"))?,
        accumulation_cap: cap(grant.accumulation_cap, &at("accumulation_cap"))?,
        cap_group: grant.cap_group.map(|group| fields::cap_group(&group, &at("cap_group"))).transpose()?,
        settles_debt: grant.settle_debt.unwrap_or(true),
        on: grant.on,
        expires_after: grant.expires_after.map(|after| after.of_any_unit(&at("expires_after"))).transpose()?,
        rollover_percent: percent.ok_or_else(|| Problem::invalid(at("rollover_percent"), "must be 0 to 100"))?,
        rollover_cap: cap(grant.rollover_cap, &at("rollover_cap"))?,
        ..GrantTemplate::new(amount, interval)
    })
}

async fn checked_entitlements(
    state: &ApiState,
    environment: EnvironmentId,
    entitlements: Vec<EntitlementJson>,
) -> Result<BTreeMap<FeatureKey, Entitlement>, ApiError> {
    let mut checked = BTreeMap::new();
    for (index, entitlement) in entitlements.into_iter().enumerate() {
        let pointer = format!("/entitlements/{index}");
        let at_key = format!("{pointer}/feature_key");
        let key = fields::feature_key(&entitlement.feature_key, &at_key)?;
        let row = state.app.feature(environment, &key).await.map_err(|error| match error {
            AppError::NotFound(detail) => AppError::invalid(&at_key, format!("{detail}; create it first")),
            other => other,
        })?;
        let enabled = entitlement.enabled.unwrap_or(true);
        let access = checked_access(row.feature.kind, enabled, entitlement.value, &pointer)?;
        let is_metered = row.feature.kind == FeatureKind::Metered;
        if !is_metered && entitlement.price.is_some() {
            return Err(Problem::invalid(format!("{pointer}/price"), "only a metered feature has a price").into());
        }
        let limit = entitlement.overdraft_limit;
        let entitlement = Entitlement {
            access,
            price: entitlement.price.map(|price| price.into_price(&format!("{pointer}/price"))).transpose()?,
            overage_policy: entitlement.overage_policy,
            overdraft_limit: cap(limit, &format!("{pointer}/overdraft_limit"))?,
            merge: None,
        };
        if checked.insert(key, entitlement).is_some() {
            return Err(Problem::invalid(at_key, "names a feature that is in the list before").into());
        }
    }
    Ok(checked)
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

/// `GET /v1/variants/{variant_id}`
pub async fn get_variant(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogRead)?;
    let row = state.app.variant(principal.environment_id, segment.id("plan variant")?).await?;
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
    grants: Vec<TemplateOut<'a>>,
    entitlements: Vec<EntitlementOut<'a>>,
    created_at: Timestamp,
}

#[derive(Debug, Serialize)]
struct TemplateOut<'a> {
    amount: Credits,
    interval: IntervalJson,
    every: Option<Period>,
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
}

impl<'a> VariantOut<'a> {
    fn new(row: &'a VariantRow) -> Self {
        let variant = &row.variant;
        let template = |grant: &'a GrantTemplate| TemplateOut {
            amount: grant.amount,
            interval: match grant.interval {
                GrantInterval::Once => IntervalJson::Once,
                GrantInterval::BillingPeriod => IntervalJson::BillingPeriod,
                GrantInterval::Every(_) => IntervalJson::Every,
            },
            every: match grant.interval {
                GrantInterval::Every(period) => Some(period),
                GrantInterval::Once | GrantInterval::BillingPeriod => None,
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
            grants: variant.grants.iter().map(template).collect(),
            entitlements: entitlements
                .map(|(feature_key, given)| EntitlementOut {
                    feature_key,
                    access: AccessOut::new(&given.access),
                    price: given.price.as_ref().map(PriceJson::of),
                    overage_policy: given.overage_policy,
                    overdraft_limit: given.overdraft_limit,
                })
                .collect(),
            created_at: row.created_at,
        }
    }
}
