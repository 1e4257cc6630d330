//! Subscriptions.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::api::problem::Problem;
use quotastack_core::credits::Credits;
use quotastack_core::ids::{EndUserId, PlanId, SubscriptionId, VariantId};
use quotastack_core::ledger::command::Command;
use quotastack_core::ledger::entry::EntryKind;
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::problem::Code;
use quotastack_core::subscription::order::{Import, ImportGrants, Subscribe};
use quotastack_core::subscription::state::Target;
use quotastack_core::subscription::{Subscription, SubscriptionStatus};
use quotastack_core::time::{Interval, Timestamp};
use serde::{Deserialize, Serialize};

use crate::app::auth::Scope;
use crate::app::preview::Preview;
use crate::http::account::AccountJson;
use crate::http::body::{Json, json, written};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::features::ListOut;
use crate::http::query::{Params, Segment, limit, page, read_cursor};
use crate::http::state::ApiState;

const QUANTITY_MAX: i64 = 1_000_000;

/// The body of a subscription.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionJson {
    end_user_id: String,
    plan_variant_id: String,
    start_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "fields::not_null")]
    quantity: Option<i64>,
    period_start: Option<Timestamp>,
    #[serde(default, deserialize_with = "fields::not_null")]
    grants: Option<ImportGrants>,
}

/// Seats; one where nothing is said.
pub fn quantity(given: Option<i64>) -> Result<u32, Problem> {
    let quantity = given.unwrap_or(1);
    let quantity = u32::try_from(quantity).ok().filter(|_| (1..=QUANTITY_MAX).contains(&quantity));
    quantity.ok_or_else(|| Problem::invalid("/quantity", "must be 1 to 1000000"))
}

/// `POST /v1/subscriptions`
pub async fn create_subscription(
    State(state): State<ApiState>,
    caller: Caller,
    body: Json<SubscriptionJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::SubscriptionsWrite)?;
    let end_user_id = fields::end_user_id(&body.value.end_user_id, "/end_user_id")?;
    let identity = body.identity(&principal, "create_subscription", Some(&end_user_id))?;
    let variant_id: VariantId =
        body.value.plan_variant_id.parse().map_err(|error| Problem::invalid("/plan_variant_id", format!("{error}")))?;
    let import = match (body.value.period_start, body.value.grants) {
        (Some(period_start), grants) => Some(Import { period_start, grants: grants.unwrap_or(ImportGrants::Full) }),
        (None, None) => None,
        (None, Some(_)) => return Err(Problem::invalid("/grants", "is only for a period_start in the past").into()),
    };
    let (start_at, quantity) = (body.value.start_at, quantity(body.value.quantity)?);
    let command = Command::Subscribe(Subscribe { variant_id, quantity, start_at, import });
    let carried = state.app.write(&principal, end_user_id.clone(), command, identity, None).await?;
    let Outcome::Subscribed { subscription } = &carried.outcome else {
        unreachable!("subscribing comes to a subscription")
    };
    Ok(written(StatusCode::CREATED, &SubscriptionOut::new(&end_user_id, subscription), &carried))
}

/// `GET /v1/subscriptions/{subscription_id}`
pub async fn get_subscription(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::SubscriptionsRead)?;
    let id: SubscriptionId = segment.id("subscription")?;
    let found = state.app.subscription(principal.environment_id, id).await?;
    let (end_user_id, subscription) =
        found.ok_or_else(|| Problem::new(Code::NotFound, format!("there is no subscription {id}")))?;
    Ok(json(StatusCode::OK, &SubscriptionOut::new(&end_user_id, &subscription)))
}

/// What a caller may ask of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionsParams {
    end_user_id: String,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// `GET /v1/subscriptions`
pub async fn list_subscriptions(
    State(state): State<ApiState>,
    caller: Caller,
    Params(params): Params<SubscriptionsParams>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::SubscriptionsRead)?;
    let end_user_id = fields::end_user_id(&params.end_user_id, "query:end_user_id")?;
    let limit = limit(params.limit)?;
    let after: Option<SubscriptionId> = read_cursor(params.cursor.as_deref())?;
    let rows = state.app.subscriptions(principal.environment_id, &end_user_id, after, limit + 1).await?;
    let (rows, next_cursor) = page(rows, limit, |row| row.id.to_string());
    let data = rows.iter().map(|row| SubscriptionOut::new(&end_user_id, row)).collect();
    Ok(json(StatusCode::OK, &ListOut { data, next_cursor }))
}

/// A subscription as it is answered.
#[derive(Debug, Serialize)]
pub struct SubscriptionOut<'a> {
    id: SubscriptionId,
    end_user_id: &'a EndUserId,
    plan_id: PlanId,
    plan_variant_id: VariantId,
    variant_version: u32,
    status: SubscriptionStatus,
    quantity: u32,
    current_period: Interval,
    renewed: bool,
    cancel_at: Option<Timestamp>,
    pause_at: Option<Timestamp>,
    resume_at: Option<Timestamp>,
    grace_ends_at: Option<Timestamp>,
    pending_change: Option<ChangeOut>,
    trial_end: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    preview: Option<PreviewOut>,
}

/// What a change would do to the account, where that was asked for.
#[derive(Debug, Serialize)]
struct PreviewOut {
    before: AccountJson,
    after: AccountJson,
    entries: Vec<PreviewedEntryOut>,
}

#[derive(Debug, Serialize)]
struct PreviewedEntryOut {
    kind: EntryKind,
    amount: Credits,
    effective_at: Timestamp,
}

/// What a subscription will be from the end of its period on.
#[derive(Debug, Serialize)]
struct ChangeOut {
    plan_variant_id: VariantId,
    variant_version: u32,
    quantity: u32,
}

impl<'a> SubscriptionOut<'a> {
    /// The answer for an end user's subscription.
    pub fn new(end_user_id: &'a EndUserId, subscription: &Subscription) -> Self {
        let change = |target: Target| ChangeOut {
            plan_variant_id: target.variant_id,
            variant_version: target.variant_version,
            quantity: target.quantity,
        };
        let is_over = subscription.status.is_over();
        Self {
            id: subscription.id,
            end_user_id,
            plan_id: subscription.plan_id,
            plan_variant_id: subscription.variant_id,
            variant_version: subscription.variant_version,
            status: subscription.status,
            quantity: subscription.quantity,
            current_period: subscription.current_period,
            renewed: subscription.renewed,
            cancel_at: subscription.cancel_at,
            pause_at: subscription.pause_at,
            resume_at: subscription.paused.map_or(subscription.pause_until, |pause| pause.resume_at),
            // What is over keeps what it was waiting for, which will not come any more.
            grace_ends_at: subscription.overdue.filter(|_| !is_over).map(|overdue| overdue.grace_ends),
            pending_change: subscription.pending_change.filter(|_| !is_over).map(change),
            trial_end: subscription.trial_end,
            ended_at: subscription.ended_at,
            created_at: subscription.created_at,
            preview: None,
        }
    }

    /// The same, with what it would take.
    pub fn previewed(self, preview: &Preview) -> Self {
        let entries = preview.entries.iter();
        let preview = PreviewOut {
            before: AccountJson::new(&preview.before),
            after: AccountJson::new(&preview.after),
            entries: entries
                .map(|&(kind, amount, effective_at)| PreviewedEntryOut { kind, amount, effective_at })
                .collect(),
        };
        Self { preview: Some(preview), ..self }
    }
}
