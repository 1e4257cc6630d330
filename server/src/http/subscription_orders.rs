//! What is asked of one subscription: renewals, changes, pauses, its end.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::api::problem::Problem;
use quotastack_core::ids::{EndUserId, SubscriptionId, VariantId};
use quotastack_core::ledger::command::Command;
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::problem::Code;
use quotastack_core::subscription::order::{Action, ChangeCredits, EndCredits, SubscriptionOrder, Uncancel, When};
use quotastack_core::time::Timestamp;
use serde::Deserialize;

use crate::app::auth::{Principal, Scope};
use crate::http::body::{Json, json, written};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::query::Segment;
use crate::http::state::ApiState;
use crate::http::subscriptions::{SubscriptionOut, quantity};

/// A body that has nothing to say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NothingJson {}

/// `POST /v1/subscriptions/{subscription_id}/renew`
pub async fn renew_subscription(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<NothingJson>,
) -> Result<Response, ApiError> {
    act(&state, caller, &segment, &body, "renew_subscription", Action::Renew).await
}

/// `POST /v1/subscriptions/{subscription_id}/mark_paid`
pub async fn mark_subscription_paid(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<NothingJson>,
) -> Result<Response, ApiError> {
    act(&state, caller, &segment, &body, "mark_subscription_paid", Action::MarkPaid).await
}

/// `POST /v1/subscriptions/{subscription_id}/mark_overdue`
pub async fn mark_subscription_overdue(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<NothingJson>,
) -> Result<Response, ApiError> {
    act(&state, caller, &segment, &body, "mark_subscription_overdue", Action::MarkOverdue).await
}

/// When a trial converts.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ConvertAt {
    #[default]
    Now,
    TrialEnd,
}

/// The body of a conversion.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvertJson {
    #[serde(default)]
    at: ConvertAt,
}

/// `POST /v1/subscriptions/{subscription_id}/convert`
pub async fn convert_subscription(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<ConvertJson>,
) -> Result<Response, ApiError> {
    let at = match body.value.at {
        ConvertAt::Now => When::Now,
        ConvertAt::TrialEnd => When::PeriodEnd,
    };
    act(&state, caller, &segment, &body, "convert_subscription", Action::Convert(at)).await
}

/// The body of a change. Without a variant the seats change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeJson {
    #[serde(default, deserialize_with = "fields::not_null")]
    plan_variant_id: Option<String>,
    #[serde(default, deserialize_with = "fields::not_null")]
    quantity: Option<i64>,
    #[serde(default, deserialize_with = "fields::not_null")]
    at: Option<When>,
    #[serde(default, deserialize_with = "fields::not_null")]
    credits: Option<ChangeCredits>,
    #[serde(default)]
    preview: bool,
}

/// `POST /v1/subscriptions/{subscription_id}/change`
pub async fn change_subscription(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<ChangeJson>,
) -> Result<Response, ApiError> {
    let asked = &body.value;
    let at = asked.at.unwrap_or(When::Now);
    if at == When::PeriodEnd && asked.credits.is_some() {
        let detail = "is for changes now; at the end of the period there is nothing to prorate";
        return Err(Problem::invalid("/credits", detail).into());
    }
    let seats = asked.quantity.map(|seats| quantity(Some(seats))).transpose()?;
    let credits = asked.credits.unwrap_or_default();
    let action = match (&asked.plan_variant_id, seats) {
        (Some(id), quantity) => {
            let variant_id: VariantId =
                id.parse().map_err(|error| Problem::invalid("/plan_variant_id", format!("{error}")))?;
            Action::Change { variant_id, quantity, at, credits }
        }
        (None, Some(quantity)) if at == When::Now && asked.credits.is_none() => Action::SetQuantity(quantity),
        (None, _) => {
            let detail = "is needed, but for a change of quantity now, which is prorated";
            return Err(Problem::invalid("/plan_variant_id", detail).into());
        }
    };
    if asked.preview {
        return preview(&state, caller, &segment, action).await;
    }
    act(&state, caller, &segment, &body, "change_subscription", action).await
}

/// The body of a pause.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseJson {
    #[serde(default, deserialize_with = "fields::not_null")]
    at: Option<When>,
    resume_at: Option<Timestamp>,
}

/// `POST /v1/subscriptions/{subscription_id}/pause`
pub async fn pause_subscription(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<PauseJson>,
) -> Result<Response, ApiError> {
    let PauseJson { at, resume_at } = body.value;
    let action = Action::Pause { at: at.unwrap_or(When::Now), resume_at };
    act(&state, caller, &segment, &body, "pause_subscription", action).await
}

/// `POST /v1/subscriptions/{subscription_id}/resume`
pub async fn resume_subscription(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<NothingJson>,
) -> Result<Response, ApiError> {
    act(&state, caller, &segment, &body, "resume_subscription", Action::Resume).await
}

/// The body of a cancellation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelJson {
    at: When,
    #[serde(default)]
    credits: EndCredits,
}

/// `POST /v1/subscriptions/{subscription_id}/cancel`
pub async fn cancel_subscription(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<CancelJson>,
) -> Result<Response, ApiError> {
    let CancelJson { at, credits } = body.value;
    act(&state, caller, &segment, &body, "cancel_subscription", Action::Cancel { at, credits }).await
}

/// The body that takes back what was asked for the end of the period.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UncancelJson {
    #[serde(default)]
    clear: Uncancel,
}

/// `POST /v1/subscriptions/{subscription_id}/uncancel`
pub async fn uncancel_subscription(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<UncancelJson>,
) -> Result<Response, ApiError> {
    act(&state, caller, &segment, &body, "uncancel_subscription", Action::Uncancel(body.value.clear)).await
}

/// What an action would come to.
async fn preview(state: &ApiState, caller: Caller, segment: &Segment, action: Action) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::SubscriptionsWrite)?;
    let id: SubscriptionId = segment.id("subscription")?;
    let end_user_id = owner(state, &principal, id).await?;
    let command = Command::Subscription(SubscriptionOrder { id, action });
    let lane = state.app.lane_of(&principal, &end_user_id).await?;
    let mut previews = state.app.preview(&principal, lane, vec![(end_user_id.clone(), command)]).await?;
    let preview = previews.pop().expect("one command has one preview")?;
    let Outcome::SubscriptionChanged { subscription, .. } = &preview.outcome else {
        unreachable!("an order for a subscription comes to it as it stands")
    };
    Ok(json(StatusCode::OK, &SubscriptionOut::new(&end_user_id, subscription).previewed(&preview)))
}

async fn owner(state: &ApiState, principal: &Principal, id: SubscriptionId) -> Result<EndUserId, ApiError> {
    let found = state.app.subscription(principal.environment_id, id).await?;
    let (end_user_id, _) =
        found.ok_or_else(|| Problem::new(Code::NotFound, format!("there is no subscription {id}")))?;
    Ok(end_user_id)
}

async fn act<T>(
    state: &ApiState,
    caller: Caller,
    segment: &Segment,
    body: &Json<T>,
    operation: &str,
    action: Action,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::SubscriptionsWrite)?;
    let id: SubscriptionId = segment.id("subscription")?;
    let end_user_id = owner(state, &principal, id).await?;
    let identity = body.identity(&principal, &format!("{operation} {id}"), Some(&end_user_id))?;
    let command = Command::Subscription(SubscriptionOrder { id, action });
    let carried = state.app.write(&principal, end_user_id.clone(), command, identity, None).await?;
    let Outcome::SubscriptionChanged { subscription, .. } = &carried.outcome else {
        unreachable!("an order for a subscription comes to it as it stands")
    };
    Ok(written(StatusCode::OK, &SubscriptionOut::new(&end_user_id, subscription), &carried))
}
