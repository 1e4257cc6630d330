//! Corrections by people: adjustments, and blocks ended before their time.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::api::problem::Problem;
use quotastack_core::credits::Credits;
use quotastack_core::ids::BlockId;
use quotastack_core::ledger::command::{Adjust, Command, VoidBlock};
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::auth::Scope;
use crate::http::account::{AccountJson, BlockJson};
use crate::http::body::{Json, written};
use crate::http::caller::Caller;
use crate::http::credits::{priority, refuse_unknown_features};
use crate::http::error::ApiError;
use crate::http::query::Segment;
use crate::http::state::ApiState;

/// The body of an adjustment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdjustmentJson {
    end_user_id: String,
    amount: i64,
    reason: String,
    block_id: Option<String>,
    feature_key: Option<String>,
    #[serde(default)]
    allow_negative: bool,
    #[serde(default, deserialize_with = "fields::not_null")]
    priority: Option<i64>,
    expires_at: Option<Timestamp>,
}

/// `POST /v1/credits/adjustments`
pub async fn adjust_credits(
    State(state): State<ApiState>,
    caller: Caller,
    body: Json<AdjustmentJson>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct ReceiptJson<'a> {
        amount: Credits,
        taken: Credits,
        owed: Credits,
        block: Option<BlockJson<'a>>,
        account: AccountJson,
    }
    let principal = caller.with(Scope::CreditsWrite)?;
    let asked = &body.value;
    let end_user_id = fields::end_user_id(&asked.end_user_id, "/end_user_id")?;
    let identity = body.identity(&principal, "adjust_credits", Some(&end_user_id))?;
    let feature_key = asked.feature_key.as_deref().map(|key| fields::feature_key(key, "/feature_key")).transpose()?;
    if let Some(key) = &feature_key {
        refuse_unknown_features(&state, principal.environment_id, std::slice::from_ref(key), |_| "/feature_key".into())
            .await?;
    }
    refuse_idle_fields(asked)?;
    let order = Adjust {
        amount: fields::signed_amount(asked.amount, "/amount")?,
        reason: fields::reason(&asked.reason, "/reason")?,
        block_id: asked.block_id.as_deref().map(|id| fields::id(id, "/block_id")).transpose()?,
        feature_key,
        allow_negative: asked.allow_negative,
        priority: priority(asked.priority, "/priority")?,
        expires_at: asked.expires_at,
    };
    let carried = state.app.write(&principal, end_user_id, Command::Adjust(order), identity, None).await?;
    let Outcome::Adjusted { amount, taken, owed, block, standing } = &carried.outcome else {
        unreachable!("an adjustment comes to an adjustment")
    };
    let receipt = ReceiptJson {
        amount: *amount,
        taken: *taken,
        owed: *owed,
        block: block.as_ref().map(|block| BlockJson::new(block, None, standing.now)),
        account: AccountJson::new(standing),
    };
    Ok(written(StatusCode::CREATED, &receipt, &carried))
}

/// Fields that would do nothing are a mistake of the caller's.
fn refuse_idle_fields(asked: &AdjustmentJson) -> Result<(), Problem> {
    let idle = if asked.amount > 0 {
        vec![("/allow_negative", asked.allow_negative, "is for an amount below 0; leave it out")]
    } else {
        let block = "is for an amount above 0, which makes a block; leave it out";
        vec![
            ("/priority", asked.priority.is_some(), block),
            ("/expires_at", asked.expires_at.is_some(), block),
            ("/feature_key", asked.feature_key.is_some() && asked.block_id.is_some(), "give a block or a feature"),
        ]
    };
    let said = idle.into_iter().find(|(_, is_said, _)| *is_said);
    said.map_or(Ok(()), |(pointer, _, detail)| Err(Problem::invalid(pointer, detail)))
}

/// The body of a block's void.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoidBlockJson {
    reason: String,
}

/// `POST /v1/credits/blocks/{block_id}/void`
pub async fn void_block(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<VoidBlockJson>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct ReceiptJson<'a> {
        block: BlockJson<'a>,
        withdrawn: Credits,
        account: AccountJson,
    }
    let principal = caller.with(Scope::CreditsWrite)?;
    let block_id: BlockId = segment.id("block")?;
    let end_user_id = state.app.owner_of_block(principal.environment_id, block_id).await?;
    let identity = body.identity(&principal, &format!("void_block {block_id}"), Some(&end_user_id))?;
    let order = VoidBlock { block_id, reason: fields::reason(&body.value.reason, "/reason")? };
    let carried = state.app.write(&principal, end_user_id, Command::VoidBlock(order), identity, None).await?;
    let Outcome::BlockVoided { block, withdrawn, standing } = &carried.outcome else {
        unreachable!("voiding a block comes to a voided block")
    };
    let receipt = ReceiptJson {
        block: BlockJson::new(block, None, standing.now),
        withdrawn: *withdrawn,
        account: AccountJson::new(standing),
    };
    Ok(written(StatusCode::OK, &receipt, &carried))
}
