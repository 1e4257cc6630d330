//! Grants and balances.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::api::problem::Problem;
use quotastack_core::credits::Credits;
use quotastack_core::ids::{EndUserId, FeatureKey};
use quotastack_core::ledger::block::BlockKind;
use quotastack_core::ledger::command::{Command, Grant};
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::ledger::wallet::Totals;
use quotastack_core::limits::SCOPE_KEYS_MAX;
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::auth::Scope;
use crate::app::clock;
use crate::app::error::AppError;
use crate::app::ledger::AccountRead;
use crate::app::past::AsOf;
use crate::http::account::{AccountJson, BlockJson};
use crate::http::body::{Json, json, written};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::query::{Params, Segment};
use crate::http::state::ApiState;
use crate::store::accounts::BlockNotes;
use crate::store::types::EnvironmentId;

const PRIORITY_DEFAULT: u8 = 100;

/// The body of a grant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantJson {
    end_user_id: String,
    amount: i64,
    #[serde(default)]
    kind: GrantKind,
    #[serde(default, deserialize_with = "fields::not_null")]
    priority: Option<i64>,
    effective_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    price_paid: Option<i64>,
    currency: Option<String>,
    #[serde(default)]
    feature_keys: Vec<String>,
    #[serde(default, deserialize_with = "fields::unique_pairs")]
    metadata: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "fields::not_null")]
    settle_debt: Option<bool>,
    accumulation_cap: Option<i64>,
    cap_group: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum GrantKind {
    #[default]
    Promo,
    Topup,
    Adjustment,
}

/// `POST /v1/credits/grants`
pub async fn create_grant(
    State(state): State<ApiState>,
    caller: Caller,
    body: Json<GrantJson>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct ReceiptJson<'a> {
        block: Option<BlockJson<'a>>,
        trimmed: Credits,
        account: AccountJson,
    }
    let principal = caller.with(Scope::CreditsWrite)?;
    let end_user_id = fields::end_user_id(&body.value.end_user_id, "/end_user_id")?;
    let identity = body.identity(&principal, "create_grant", Some(&end_user_id))?;
    let (grant, notes) = checked_grant(body.value)?;
    refuse_unknown_features(&state, principal.environment_id, &grant.feature_keys, |index| {
        format!("/feature_keys/{index}")
    })
    .await?;
    let command = Command::Grant(grant);
    let carried = state.app.write(&principal, end_user_id, command, identity, Some(notes.clone())).await?;
    let Outcome::Granted { block, trimmed, standing } = &carried.outcome else {
        unreachable!("a grant comes to a block")
    };
    let receipt = ReceiptJson {
        block: block.as_ref().map(|block| BlockJson::new(block, Some(&notes), standing.now)),
        trimmed: *trimmed,
        account: AccountJson::new(standing),
    };
    Ok(written(StatusCode::CREATED, &receipt, &carried))
}

fn checked_grant(body: GrantJson) -> Result<(Grant, BlockNotes), ApiError> {
    let notes = checked_notes(body.price_paid, body.currency, body.metadata)?;
    let kind = match body.kind {
        GrantKind::Promo => BlockKind::Promo,
        GrantKind::Topup => BlockKind::Topup,
        GrantKind::Adjustment => BlockKind::Adjustment,
    };
    let grant = Grant {
        kind,
        amount: fields::positive_amount(body.amount, "/amount")?,
        priority: priority(body.priority, "/priority")?,
        effective_at: body.effective_at,
        expires_at: body.expires_at,
        paid: notes.price_paid.is_some_and(|paid| paid > 0),
        settles_debt: body.settle_debt.unwrap_or(true),
        feature_keys: scope(&body.feature_keys, "/feature_keys")?,
        cap_group: body.cap_group.as_deref().map(|group| fields::cap_group(group, "/cap_group")).transpose()?,
        accumulation_cap: cap(body.accumulation_cap, "/accumulation_cap")?,
    };
    if grant.accumulation_cap.is_some() && grant.cap_group.is_none() {
        return Err(Problem::invalid("/cap_group", "name the blocks that share the accumulation_cap").into());
    }
    Ok((grant, notes))
}

/// What people attach to a block: what was paid for it, and the caller's own.
pub(super) fn checked_notes(
    price_paid: Option<i64>,
    currency: Option<String>,
    metadata: BTreeMap<String, String>,
) -> Result<BlockNotes, Problem> {
    fields::pairs(&metadata, "/metadata")?;
    let price_paid = price_paid.map(|paid| fields::amount(paid, "/price_paid")).transpose()?.map(Credits::get);
    let currency = currency.map(|code| fields::currency(&code, "/currency")).transpose()?;
    if price_paid.is_some() != currency.is_some() {
        return Err(Problem::invalid("/currency", "price_paid and currency are given together"));
    }
    Ok(BlockNotes { price_paid, currency, metadata })
}

/// An accumulation cap.
pub(super) fn cap(given: Option<i64>, pointer: &str) -> Result<Option<Credits>, Problem> {
    given.map(|cap| fields::amount(cap, pointer)).transpose()
}

/// A burn priority: 0 to 255, 100 if it is not given.
pub(super) fn priority(given: Option<i64>, pointer: &str) -> Result<u8, Problem> {
    given.map_or(Ok(PRIORITY_DEFAULT), |priority| {
        u8::try_from(priority).map_err(|_| Problem::invalid(pointer, "must be 0 to 255"))
    })
}

/// The features that credit pays for: each once, in order.
pub(super) fn scope(keys: &[String], pointer: &str) -> Result<Vec<FeatureKey>, Problem> {
    if keys.len() > SCOPE_KEYS_MAX {
        return Err(Problem::invalid(pointer, "has at most 50 features"));
    }
    let checked = keys.iter().enumerate().map(|(index, key)| fields::feature_key(key, &format!("{pointer}/{index}")));
    let mut scope = checked.collect::<Result<Vec<_>, _>>()?;
    scope.sort_unstable();
    scope.dedup();
    Ok(scope)
}

/// Refuses features that do not exist; `pointer` says where in the request the one with this index stands.
pub(super) async fn refuse_unknown_features(
    state: &ApiState,
    environment: EnvironmentId,
    keys: &[FeatureKey],
    pointer: impl Fn(usize) -> String,
) -> Result<(), ApiError> {
    for (index, key) in keys.iter().enumerate() {
        state.app.feature(environment, key).await.map_err(|error| match error {
            AppError::NotFound(detail) => AppError::invalid(pointer(index), format!("{detail}; create it first")),
            other => other,
        })?;
    }
    Ok(())
}

/// What a caller may ask of the credits of an end user.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreditsParams {
    include: Option<Include>,
    as_of: Option<Timestamp>,
    as_of_seq: Option<i64>,
}

impl CreditsParams {
    /// The past that is asked for; `None` = the present.
    fn as_of(&self) -> Result<Option<AsOf>, Problem> {
        match (self.as_of, self.as_of_seq) {
            (None, None) => Ok(None),
            (Some(at), None) => Ok(Some(AsOf::Time(at))),
            (None, Some(seq)) => fields::seq(seq, "query:as_of_seq").map(|seq| Some(AsOf::Entry(seq))),
            (Some(_), Some(_)) => Err(Problem::invalid("query:as_of_seq", "give as_of or as_of_seq, not both")),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Include {
    Blocks,
}

/// `GET /v1/end_users/{end_user_id}/credits`
pub async fn get_end_user_credits(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    Params(params): Params<CreditsParams>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct CreditsJson<'a> {
        end_user_id: &'a EndUserId,
        balance: Credits,
        reserved: Credits,
        available: Credits,
        debt: Credits,
        lifetime_granted: Credits,
        lifetime_consumed: Credits,
        version: Option<u64>,
        seq: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        blocks: Option<Vec<BlockJson<'a>>>,
    }
    let principal = caller.with(Scope::CreditsRead)?;
    let end_user_id = fields::end_user_id(&segment.0, "path:end_user_id")?;
    let with_blocks = matches!(params.include, Some(Include::Blocks));
    let (environment, as_of) = (principal.environment_id, params.as_of()?);
    let read = match as_of {
        Some(as_of) => state.app.account_as_of(environment, &end_user_id, as_of, with_blocks).await?,
        None => {
            let read = state.app.account(environment, &end_user_id, with_blocks).await?;
            read.unwrap_or_else(|| AccountRead::nothing(end_user_id.clone(), clock::now()))
        }
    };
    let AccountRead { account, blocks, now } = read;
    let Totals { balance, reserved, available, debt } = account.totals;
    let credits = CreditsJson {
        end_user_id: &account.end_user_id,
        balance,
        reserved,
        available,
        debt,
        lifetime_granted: account.lifetime_granted,
        lifetime_consumed: account.lifetime_consumed,
        // Entries do not hold it: overrides and subscriptions count too.
        version: as_of.is_none().then_some(account.version),
        seq: account.seq,
        blocks: with_blocks
            .then(|| blocks.iter().map(|(block, notes)| BlockJson::new(block, Some(notes), now)).collect()),
    };
    Ok(json(StatusCode::OK, &credits))
}
