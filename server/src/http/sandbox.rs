//! The sandbox clock.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::problem::Problem;
use quotastack_core::problem::Code;
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::auth::{Principal, Scope};
use crate::app::catalogue::{CatalogueChange, Changed, ClockSetting};
use crate::http::body::{Json, changed, json};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::state::ApiState;
use crate::store::keys::Environment;

/// A hundred years.
const ADVANCE_SECONDS_MAX: i64 = 3_155_760_000;

/// The body of a setting: exactly one of the two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockJson {
    advance_seconds: Option<i64>,
    now: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct ClockOut {
    now: Timestamp,
    running: bool,
}

/// `GET /v1/sandbox/clock`
pub async fn get_sandbox_clock(State(state): State<ApiState>, caller: Caller) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogRead)?;
    refuse_live(&principal)?;
    let (now, running) = state.app.clock(principal.environment_id).await?;
    Ok(json(StatusCode::OK, &ClockOut { now, running }))
}

/// `POST /v1/sandbox/clock`
pub async fn set_sandbox_clock(
    State(state): State<ApiState>,
    caller: Caller,
    body: Json<ClockJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CatalogWrite)?;
    refuse_live(&principal)?;
    let identity = body.identity(&principal, "set_sandbox_clock", None)?;
    let setting = match (body.value.advance_seconds, body.value.now) {
        (Some(seconds), None) if (0..=ADVANCE_SECONDS_MAX).contains(&seconds) => ClockSetting::Advance(seconds),
        (Some(_), None) => return Err(Problem::invalid("/advance_seconds", "must be 0 to 3155760000").into()),
        (None, Some(now)) => ClockSetting::To(now),
        _ => return Err(Problem::invalid("", "give either advance_seconds or now").into()),
    };
    let change = CatalogueChange::SetClock(setting);
    let done = state.app.change_catalogue(&principal, &change, identity).await?;
    let Changed::Clock { now, running } = &done.changed else { unreachable!("the change sets the clock") };
    Ok(changed(StatusCode::OK, &ClockOut { now: *now, running: *running }, &done))
}

fn refuse_live(principal: &Principal) -> Result<(), Problem> {
    if principal.environment == Environment::Sandbox {
        return Ok(());
    }
    Err(Problem::new(Code::SandboxOnly, "only the sandbox has a clock that can be set; use a qs_sandbox_ key"))
}
