//! Versions of a feature's price.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::price::PriceJson;
use quotastack_core::ids::FeatureKey;
use quotastack_core::pricing::PriceVersion;
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::auth::Scope;
use crate::app::catalogue::{CatalogueChange, Changed};
use crate::http::body::{Json, changed, json};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::features::ListOut;
use crate::http::query::Segment;
use crate::http::state::ApiState;

/// The body of a new version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceVersionJson {
    price: PriceJson,
    effective_from: Option<Timestamp>,
}

/// `POST /v1/features/{feature_key}/prices`
pub async fn create_price(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<PriceVersionJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogWrite)?;
    let feature_key: FeatureKey = segment.id("feature")?;
    let identity = body.identity(&principal, &format!("create_price {feature_key}"), None)?;
    let price = body.value.price.into_price("/price")?;
    let change = CatalogueChange::CreatePrice { feature_key, price, effective_from: body.value.effective_from };
    let done = state.app.change_catalogue(&principal, &change, identity).await?;
    let Changed::Price(version) = &done.changed else { unreachable!("the change creates a price") };
    Ok(changed(StatusCode::CREATED, &PriceVersionOut::new(version), &done))
}

/// `GET /v1/features/{feature_key}/prices`
pub async fn list_prices(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogRead)?;
    let row = state.app.feature(principal.environment_id, &segment.id("feature")?).await?;
    let data = row.feature.prices.iter().map(PriceVersionOut::new).collect();
    Ok(json(StatusCode::OK, &ListOut { data, next_cursor: None }))
}

#[derive(Debug, Serialize)]
struct PriceVersionOut {
    price: PriceJson,
    /// The first price of a feature holds for all time before it.
    effective_from: Option<Timestamp>,
}

impl PriceVersionOut {
    fn new(version: &PriceVersion) -> Self {
        let effective_from = Some(version.effective_from).filter(|from| *from > Timestamp::MIN);
        Self { price: PriceJson::of(&version.price), effective_from }
    }
}
