//! Top-ups: credit that was bought, and refunds of it.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::api::problem::Problem;
use quotastack_core::catalogue::TopupPackage;
use quotastack_core::credits::Credits;
use quotastack_core::ids::{BlockId, EndUserId, PackageId, PaymentReference, TopupId, uuid_v7};
use quotastack_core::ledger::block::BlockKind;
use quotastack_core::ledger::command::{Command, Grant, Refund, TopupOrder};
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::ledger::topup::Topup;
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::auth::{Principal, Scope};
use crate::app::clock;
use crate::app::error::AppError;
use crate::http::account::{AccountJson, BlockJson};
use crate::http::body::{Json, json, written};
use crate::http::caller::Caller;
use crate::http::credits::{checked_notes, priority, refuse_unknown_features, scope};
use crate::http::error::ApiError;
use crate::http::features::ListOut;
use crate::http::query::{Params, Segment, limit, page, read_cursor};
use crate::http::state::ApiState;
use crate::store::accounts::BlockNotes;

/// The body of a top-up: of a package, or of an amount.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopupJson {
    end_user_id: String,
    payment_reference: String,
    package_id: Option<String>,
    amount: Option<i64>,
    price_paid: Option<i64>,
    currency: Option<String>,
    expires_at: Option<Timestamp>,
    priority: Option<i64>,
    #[serde(default)]
    feature_keys: Vec<String>,
    #[serde(default, deserialize_with = "fields::unique_pairs")]
    metadata: BTreeMap<String, String>,
}

/// `POST /v1/topups`
pub async fn create_topup(
    State(state): State<ApiState>,
    caller: Caller,
    body: Json<TopupJson>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct ReceiptJson<'a> {
        topup: TopupOut<'a>,
        block: Option<BlockJson<'a>>,
        account: AccountJson,
    }
    let principal = caller.with(Scope::CreditsWrite)?;
    let end_user_id = fields::end_user_id(&body.value.end_user_id, "/end_user_id")?;
    let identity = body.identity(&principal, "create_topup", Some(&end_user_id))?;
    let (order, notes) = checked_order(&state, &principal, &end_user_id, body.value).await?;
    let command = Command::TopUp(order);
    let carried = state.app.write(&principal, end_user_id.clone(), command, identity, Some(notes.clone())).await?;
    let Outcome::ToppedUp { topup, block, standing, .. } = &carried.outcome else {
        unreachable!("a top-up comes to a top-up")
    };
    // A repeat is answered with what was attached then: the package, or the request, may say something else by now.
    let notes =
        if carried.replayed { state.app.block_notes(principal.environment_id, topup.block_id).await? } else { notes };
    let receipt = ReceiptJson {
        topup: TopupOut::new(&end_user_id, topup),
        block: block.as_ref().map(|block| BlockJson::new(block, Some(&notes), standing.now)),
        account: AccountJson::new(standing),
    };
    Ok(written(StatusCode::CREATED, &receipt, &carried))
}

async fn checked_order(
    state: &ApiState,
    principal: &Principal,
    end_user_id: &EndUserId,
    body: TopupJson,
) -> Result<(TopupOrder, BlockNotes), ApiError> {
    let payment_reference = fields::payment_reference(&body.payment_reference, "/payment_reference")?;
    let package_id: Option<PackageId> =
        body.package_id.as_deref().map(|id| fields::id(id, "/package_id")).transpose()?;
    let (bought, is_on_sale) = match package_id {
        Some(id) => package(state, principal, id, &body).await?,
        None => (single(&body)?, true),
    };
    refuse_unknown_features(state, principal.environment_id, &bought.feature_keys, |index| {
        format!("/feature_keys/{index}")
    })
    .await?;
    let notes = checked_notes(Some(bought.price_paid.get()), Some(bought.currency.clone()), body.metadata)?;
    let grant = Grant {
        kind: BlockKind::Topup,
        amount: bought.amount,
        priority: bought.priority,
        effective_at: None,
        expires_at: body.expires_at,
        paid: bought.price_paid.is_positive(),
        settles_debt: true,
        feature_keys: bought.feature_keys,
        cap_group: None,
        accumulation_cap: None,
    };
    let order = TopupOrder {
        id: TopupId::from_uuid(uuid_v7(clock::now(), clock::random(), Some(end_user_id.bucket()))),
        payment_reference,
        package_id,
        price_paid: Some(bought.price_paid),
        currency: Some(bought.currency),
        grant,
        is_on_sale,
        expires_after: bought.expires_after,
    };
    Ok((order, notes))
}

/// What a package is, and whether it is on sale; nothing of it may be said again.
async fn package(
    state: &ApiState,
    principal: &Principal,
    id: PackageId,
    body: &TopupJson,
) -> Result<(TopupPackage, bool), ApiError> {
    let said = [
        ("/amount", body.amount.is_some()),
        ("/price_paid", body.price_paid.is_some()),
        ("/currency", body.currency.is_some()),
        ("/priority", body.priority.is_some()),
        ("/feature_keys", !body.feature_keys.is_empty()),
    ];
    if let Some((pointer, _)) = said.into_iter().find(|(_, is_said)| *is_said) {
        return Err(Problem::invalid(pointer, "the package says it; leave it out").into());
    }
    let row = state.app.package(principal.environment_id, id).await.map_err(|error| match error {
        AppError::NotFound(detail) => AppError::invalid("/package_id", detail),
        other => other,
    })?;
    Ok((row.package, row.archived_at.is_none()))
}

/// What the body says, where it names no package.
fn single(body: &TopupJson) -> Result<TopupPackage, ApiError> {
    let required = |pointer| Problem::invalid(pointer, "is required without a package_id");
    let amount = fields::positive_amount(body.amount.ok_or_else(|| required("/amount"))?, "/amount")?;
    let price_paid = body.price_paid.ok_or_else(|| required("/price_paid"))?;
    let currency = body.currency.as_deref().ok_or_else(|| required("/currency"))?;
    Ok(TopupPackage {
        name: String::new(),
        amount,
        price_paid: fields::amount(price_paid, "/price_paid")?,
        currency: fields::currency(currency, "/currency")?,
        priority: priority(body.priority, "/priority")?,
        expires_after: None,
        feature_keys: scope(&body.feature_keys, "/feature_keys")?,
    })
}

/// The body of a refund.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundJson {
    amount: Option<i64>,
    #[serde(default)]
    claw_back_spent: bool,
    reason: Option<String>,
}

/// `POST /v1/topups/{topup_id}/refund`
pub async fn refund_topup(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<RefundJson>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct ReceiptJson<'a> {
        topup: TopupOut<'a>,
        withdrawn: Credits,
        owed: Credits,
        account: AccountJson,
    }
    let principal = caller.with(Scope::CreditsWrite)?;
    let topup_id: TopupId = segment.id("top-up")?;
    let (end_user_id, _) = state.app.topup(principal.environment_id, topup_id).await?;
    let identity = body.identity(&principal, &format!("refund_topup {topup_id}"), Some(&end_user_id))?;
    let order = Refund {
        topup_id,
        amount: body.value.amount.map(|amount| fields::positive_amount(amount, "/amount")).transpose()?,
        claw_back_spent: body.value.claw_back_spent,
        reason: body.value.reason.as_deref().map(|reason| fields::reason(reason, "/reason")).transpose()?,
    };
    let carried = state.app.write(&principal, end_user_id.clone(), Command::Refund(order), identity, None).await?;
    let Outcome::Refunded { topup, withdrawn, owed, standing } = &carried.outcome else {
        unreachable!("a refund comes to a refund")
    };
    let receipt = ReceiptJson {
        topup: TopupOut::new(&end_user_id, topup),
        withdrawn: *withdrawn,
        owed: *owed,
        account: AccountJson::new(standing),
    };
    Ok(written(StatusCode::OK, &receipt, &carried))
}

/// `GET /v1/topups/{topup_id}`
pub async fn get_topup(State(state): State<ApiState>, caller: Caller, segment: Segment) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CreditsRead)?;
    let (end_user_id, topup) = state.app.topup(principal.environment_id, segment.id("top-up")?).await?;
    Ok(json(StatusCode::OK, &TopupOut::new(&end_user_id, &topup)))
}

/// What a caller may ask of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopupsParams {
    end_user_id: String,
    limit: Option<i64>,
    cursor: Option<String>,
}

/// `GET /v1/topups`
pub async fn list_topups(
    State(state): State<ApiState>,
    caller: Caller,
    Params(params): Params<TopupsParams>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CreditsRead)?;
    let end_user_id = fields::end_user_id(&params.end_user_id, "query:end_user_id")?;
    let limit = limit(params.limit)?;
    let before: Option<TopupId> = read_cursor(params.cursor.as_deref())?;
    let rows = state.app.topups(principal.environment_id, &end_user_id, before, limit + 1).await?;
    let (rows, next_cursor) = page(rows, limit, |row| row.id.to_string());
    let data = rows.iter().map(|row| TopupOut::new(&end_user_id, row)).collect();
    Ok(json(StatusCode::OK, &ListOut { data, next_cursor }))
}

#[derive(Debug, Serialize)]
struct TopupOut<'a> {
    id: TopupId,
    end_user_id: &'a EndUserId,
    package_id: Option<PackageId>,
    block_id: BlockId,
    amount: Credits,
    price_paid: Option<Credits>,
    currency: Option<&'a str>,
    payment_reference: &'a PaymentReference,
    refunded: Credits,
    clawed_back: Credits,
    status: &'static str,
    created_at: Timestamp,
}

impl<'a> TopupOut<'a> {
    fn new(end_user_id: &'a EndUserId, topup: &'a Topup) -> Self {
        let status = if topup.refunded.is_zero() {
            "active"
        } else if topup.refunded < topup.amount {
            "partially_refunded"
        } else {
            "refunded"
        };
        Self {
            id: topup.id,
            end_user_id,
            package_id: topup.package_id,
            block_id: topup.block_id,
            amount: topup.amount,
            price_paid: topup.price_paid,
            currency: topup.currency.as_deref(),
            payment_reference: &topup.payment_reference,
            refunded: topup.refunded,
            clawed_back: topup.clawed_back,
            status,
            created_at: topup.created_at,
        }
    }
}
