//! The sandbox clock.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::api::problem::Problem;
use quotastack_core::problem::Code;
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::auth::{Principal, Scope};
use crate::app::catalogue::Changed;
use crate::app::sandbox::ClockSetting;
use crate::http::body::{Json, changed, json};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::state::ApiState;
use crate::store::keys::Environment;

/// A hundred years.
const ADVANCE_SECONDS_MAX: i64 = 3_155_760_000;

/// The body of a setting: exactly one of the three.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockJson {
    #[serde(default, deserialize_with = "fields::not_null")]
    advance_seconds: Option<i64>,
    #[serde(default, deserialize_with = "fields::not_null")]
    now: Option<Timestamp>,
    #[serde(default, deserialize_with = "fields::not_null")]
    follow: Option<bool>,
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
    let done = state.app.set_clock(&principal, setting_of(&body.value)?, identity).await?;
    let Changed::Clock { now, running } = &done.changed else { unreachable!("the change sets the clock") };
    Ok(changed(StatusCode::OK, &ClockOut { now: *now, running: *running }, &done))
}

fn setting_of(body: &ClockJson) -> Result<ClockSetting, Problem> {
    match (body.advance_seconds, body.now, body.follow) {
        (Some(seconds), None, None) if (0..=ADVANCE_SECONDS_MAX).contains(&seconds) => {
            Ok(ClockSetting::Advance(seconds))
        }
        (Some(_), None, None) => Err(Problem::invalid("/advance_seconds", "must be 0 to 3155760000")),
        (None, Some(now), None) => Ok(ClockSetting::To(now)),
        (None, None, Some(true)) => Ok(ClockSetting::Follow),
        (None, None, Some(false)) => {
            Err(Problem::invalid("/follow", "must be true; to stop the clock, set it to its present"))
        }
        _ => Err(Problem::invalid("", "give one of advance_seconds, now and follow")),
    }
}

fn refuse_live(principal: &Principal) -> Result<(), Problem> {
    if principal.environment == Environment::Sandbox {
        return Ok(());
    }
    Err(Problem::new(Code::SandboxOnly, "only the sandbox has a clock that can be set; use a qs_sandbox_ key"))
}
