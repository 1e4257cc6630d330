//! Plans.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::catalogue::PlanKind;
use quotastack_core::ids::PlanId;
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::auth::Scope;
use crate::app::catalogue::{CatalogueChange, Changed};
use crate::http::body::{Json, changed, json};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::features::{ListOut, ListParams, name};
use crate::http::query::{Params, Segment, limit, page, read_cursor};
use crate::http::state::ApiState;
use crate::store::plans::PlanRow;

/// The body of a plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanJson {
    name: String,
    #[serde(default, deserialize_with = "fields::not_null")]
    kind: Option<PlanKind>,
}

/// `POST /v1/plans`
pub async fn create_plan(
    State(state): State<ApiState>,
    caller: Caller,
    body: Json<PlanJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogWrite)?;
    let identity = body.identity(&principal, "create_plan", None)?;
    let kind = body.value.kind.unwrap_or(PlanKind::Base);
    let change = CatalogueChange::CreatePlan { name: name(&body.value.name)?, kind };
    let done = state.app.change_catalogue(&principal, &change, identity).await?;
    let Changed::Plan(row) = &done.changed else { unreachable!("the change creates a plan") };
    Ok(changed(StatusCode::CREATED, &PlanOut::new(row), &done))
}

/// The body of a plan's new name. Its kind stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanNameJson {
    name: String,
}

/// `PUT /v1/plans/{plan_id}`
pub async fn rename_plan(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<PlanNameJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogWrite)?;
    let plan_id: PlanId = segment.id("plan")?;
    let identity = body.identity(&principal, &format!("rename_plan {plan_id}"), None)?;
    let change = CatalogueChange::RenamePlan { plan_id, name: name(&body.value.name)? };
    let done = state.app.change_catalogue(&principal, &change, identity).await?;
    let Changed::Plan(row) = &done.changed else { unreachable!("the change renames a plan") };
    Ok(changed(StatusCode::OK, &PlanOut::new(row), &done))
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
