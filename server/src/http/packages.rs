//! Top-up packages.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::api::problem::Problem;
use quotastack_core::catalogue::TopupPackage;
use quotastack_core::credits::Credits;
use quotastack_core::ids::{FeatureKey, PackageId};
use quotastack_core::time::{Period, Timestamp};
use serde::{Deserialize, Serialize};

use crate::app::auth::Scope;
use crate::app::catalogue::{CatalogueChange, Changed};
use crate::http::body::{Json, OptionalKey, changed, json};
use crate::http::caller::Caller;
use crate::http::credits::{priority, scope};
use crate::http::error::ApiError;
use crate::http::features::{ListOut, ListParams, name};
use crate::http::query::{Params, Segment, limit, page, read_cursor};
use crate::http::state::ApiState;
use crate::http::variant_body::PeriodJson;
use crate::store::packages::PackageRow;

/// The body of a package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageJson {
    name: String,
    amount: i64,
    price_paid: i64,
    currency: String,
    #[serde(default, deserialize_with = "fields::not_null")]
    priority: Option<i64>,
    expires_after: Option<PeriodJson>,
    #[serde(default)]
    feature_keys: Vec<String>,
}

impl PackageJson {
    fn checked(self) -> Result<TopupPackage, Problem> {
        let amount = fields::positive_amount(self.amount, "/amount")?;
        Ok(TopupPackage {
            name: name(&self.name)?,
            amount,
            price_paid: fields::amount(self.price_paid, "/price_paid")?,
            currency: fields::currency(&self.currency, "/currency")?,
            priority: priority(self.priority, "/priority")?,
            expires_after: self.expires_after.map(|period| period.checked("/expires_after")).transpose()?,
            feature_keys: scope(&self.feature_keys, "/feature_keys")?,
        })
    }
}

/// `POST /v1/topup_packages`
pub async fn create_topup_package(
    State(state): State<ApiState>,
    caller: Caller,
    body: Json<PackageJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogWrite)?;
    let identity = body.identity(&principal, "create_topup_package", None)?;
    let change = CatalogueChange::CreatePackage(body.value.checked()?);
    let done = state.app.change_catalogue(&principal, &change, identity).await?;
    let Changed::Package(row) = &done.changed else { unreachable!("the change creates a package") };
    Ok(changed(StatusCode::CREATED, &PackageOut::new(row), &done))
}

/// `PUT /v1/topup_packages/{package_id}`
pub async fn replace_topup_package(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<PackageJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogWrite)?;
    let id: PackageId = segment.id("top-up package")?;
    let identity = body.identity(&principal, &format!("replace_topup_package {id}"), None)?;
    let change = CatalogueChange::ReplacePackage(id, body.value.checked()?);
    let done = state.app.change_catalogue(&principal, &change, identity).await?;
    let Changed::Package(row) = &done.changed else { unreachable!("the change replaces a package") };
    Ok(changed(StatusCode::OK, &PackageOut::new(row), &done))
}

/// `DELETE /v1/topup_packages/{package_id}`
pub async fn archive_topup_package(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    key: OptionalKey,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogWrite)?;
    let id: PackageId = segment.id("top-up package")?;
    let identity = key.identity(&principal, &format!("archive_topup_package {id}"), None);
    let done = state.app.change_catalogue(&principal, &CatalogueChange::ArchivePackage(id), identity).await?;
    let Changed::Package(row) = &done.changed else { unreachable!("the change archives a package") };
    Ok(changed(StatusCode::OK, &PackageOut::new(row), &done))
}

/// `GET /v1/topup_packages/{package_id}`
pub async fn get_topup_package(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogRead)?;
    let row = state.app.package(principal.environment_id, segment.id("top-up package")?).await?;
    Ok(json(StatusCode::OK, &PackageOut::new(&row)))
}

/// `GET /v1/topup_packages`
pub async fn list_topup_packages(
    State(state): State<ApiState>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogRead)?;
    let limit = limit(params.limit)?;
    let after: Option<PackageId> = read_cursor(params.cursor.as_deref())?;
    let rows = state.app.packages(principal.environment_id, after, limit + 1).await?;
    let (rows, next_cursor) = page(rows, limit, |row| row.package_id.to_string());
    Ok(json(StatusCode::OK, &ListOut { data: rows.iter().map(PackageOut::new).collect(), next_cursor }))
}

#[derive(Debug, Serialize)]
struct PackageOut<'a> {
    id: PackageId,
    name: &'a str,
    amount: Credits,
    price_paid: Credits,
    currency: &'a str,
    priority: u8,
    expires_after: Option<Period>,
    feature_keys: &'a [FeatureKey],
    archived_at: Option<Timestamp>,
    created_at: Timestamp,
}

impl<'a> PackageOut<'a> {
    fn new(row: &'a PackageRow) -> Self {
        let package = &row.package;
        Self {
            id: row.package_id,
            name: &package.name,
            amount: package.amount,
            price_paid: package.price_paid,
            currency: &package.currency,
            priority: package.priority,
            expires_after: package.expires_after,
            feature_keys: &package.feature_keys,
            archived_at: row.archived_at,
            created_at: row.created_at,
        }
    }
}
