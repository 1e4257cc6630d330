//! Grants, balances, blocks, and the ledger.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use quotastack_core::api::fields;
use quotastack_core::api::problem::Problem;
use quotastack_core::credits::Credits;
use quotastack_core::ids::{BlockId, EndUserId, FeatureKey, UsageId};
use quotastack_core::ledger::block::{Block, BlockKind};
use quotastack_core::ledger::command::{Command, Grant, Outcome};
use quotastack_core::ledger::entry::{Cause, Entry, EntryKind};
use quotastack_core::ledger::wallet::Totals;
use quotastack_core::limits::SCOPE_KEYS_MAX;
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::auth::Scope;
use crate::app::clock;
use crate::app::error::AppError;
use crate::app::ledger::AccountRead;
use crate::http::body::{Json, json, written};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::query::{Params, Segment, limit};
use crate::http::state::ApiState;
use crate::store::accounts::BlockNotes;

const PRIORITY_DEFAULT: u8 = 100;

/// The body of a grant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantJson {
    end_user_id: String,
    amount: i64,
    #[serde(default)]
    kind: GrantKind,
    priority: Option<i64>,
    effective_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    price_paid: Option<i64>,
    currency: Option<String>,
    #[serde(default)]
    feature_keys: Vec<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
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
        block: BlockJson<'a>,
        account: AccountJson,
    }
    let principal = caller.with(Scope::CreditsWrite)?;
    let end_user_id = fields::end_user_id(&body.value.end_user_id, "/end_user_id")?;
    let identity = body.identity(&principal, "create_grant", Some(&end_user_id))?;
    let (grant, notes) = checked_grant(body.value)?;
    refuse_unknown_features(&state, principal.environment_id, &grant.feature_keys).await?;
    let carried = state.app.write(&principal, end_user_id, Command::Grant(grant), identity, Some(notes)).await?;
    let Outcome::Granted { block, totals, version, now } = &carried.outcome else {
        unreachable!("a grant comes to a block")
    };
    let receipt = ReceiptJson { block: BlockJson::new(block, *now), account: AccountJson::new(totals, *version) };
    Ok(written(StatusCode::CREATED, &receipt, &carried))
}

fn checked_grant(body: GrantJson) -> Result<(Grant, BlockNotes), ApiError> {
    fields::pairs(&body.metadata, "/metadata")?;
    let price_paid = body.price_paid.map(|paid| fields::amount(paid, "/price_paid")).transpose()?;
    let is_code = |code: &String| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if !body.currency.as_ref().is_none_or(is_code) {
        return Err(Problem::invalid("/currency", "must be an ISO 4217 code, for example USD").into());
    }
    if price_paid.is_some() != body.currency.is_some() {
        return Err(Problem::invalid("/currency", "price_paid and currency are given together").into());
    }
    let notes =
        BlockNotes { price_paid: price_paid.map(Credits::get), currency: body.currency, metadata: body.metadata };
    let kind = match body.kind {
        GrantKind::Promo => BlockKind::Promo,
        GrantKind::Topup => BlockKind::Topup,
        GrantKind::Adjustment => BlockKind::Adjustment,
    };
    let grant = Grant {
        kind,
        amount: fields::amount(body.amount, "/amount")?,
        priority: priority(body.priority, "/priority")?,
        effective_at: body.effective_at,
        expires_at: body.expires_at,
        paid: price_paid.is_some_and(Credits::is_positive),
        settles_debt: true,
        feature_keys: scope(&body.feature_keys, "/feature_keys")?,
    };
    Ok((grant, notes))
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

async fn refuse_unknown_features(
    state: &ApiState,
    environment: crate::store::types::EnvironmentId,
    keys: &[FeatureKey],
) -> Result<(), ApiError> {
    for (index, key) in keys.iter().enumerate() {
        state.app.feature(environment, key).await.map_err(|error| match error {
            AppError::NotFound(detail) => {
                AppError::invalid(format!("/feature_keys/{index}"), format!("{detail}; create it first"))
            }
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
        version: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        blocks: Option<Vec<BlockJson<'a>>>,
    }
    let principal = caller.with(Scope::CreditsRead)?;
    let end_user_id = fields::end_user_id(&segment.0, "path:end_user_id")?;
    let with_blocks = matches!(params.include, Some(Include::Blocks));
    let read = state.app.account(principal.environment_id, &end_user_id, with_blocks).await?;
    let empty = AccountRead::nothing(end_user_id.clone(), clock::now());
    let AccountRead { account, blocks, now } = read.unwrap_or(empty);
    let Totals { balance, reserved, available, debt } = account.totals;
    let credits = CreditsJson {
        end_user_id: &account.end_user_id,
        balance,
        reserved,
        available,
        debt,
        lifetime_granted: account.lifetime_granted,
        lifetime_consumed: account.lifetime_consumed,
        version: account.version,
        blocks: with_blocks.then(|| blocks.iter().map(|(block, _)| BlockJson::new(block, now)).collect()),
    };
    Ok(json(StatusCode::OK, &credits))
}

#[derive(Debug, Serialize)]
struct AccountJson {
    balance: Credits,
    reserved: Credits,
    available: Credits,
    debt: Credits,
    version: u64,
}

impl AccountJson {
    const fn new(totals: &Totals, version: u64) -> Self {
        let Totals { balance, reserved, available, debt } = *totals;
        Self { balance, reserved, available, debt, version }
    }
}

#[derive(Debug, Serialize)]
struct BlockJson<'a> {
    id: BlockId,
    kind: BlockKind,
    original: Credits,
    remaining: Credits,
    held: Credits,
    priority: u8,
    effective_at: Timestamp,
    expires_at: Option<Timestamp>,
    feature_keys: &'a [FeatureKey],
    status: &'static str,
}

impl<'a> BlockJson<'a> {
    fn new(block: &'a Block, now: Timestamp) -> Self {
        let lot = &block.lot;
        let status = if lot.has_ended(now) {
            "expired"
        } else if !lot.has_started(now) {
            "scheduled"
        } else if lot.remaining.is_zero() {
            "depleted"
        } else {
            "active"
        };
        Self {
            id: block.id,
            kind: lot.kind,
            original: block.original,
            remaining: lot.remaining,
            held: lot.held,
            priority: lot.priority,
            effective_at: lot.effective_at,
            expires_at: lot.expires_at,
            feature_keys: &lot.scope,
            status,
        }
    }
}

/// What a caller may ask of the ledger.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerParams {
    after_seq: Option<i64>,
    limit: Option<i64>,
}

/// `GET /v1/end_users/{end_user_id}/ledger`
pub async fn list_ledger_entries(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    Params(params): Params<LedgerParams>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct PageJson<'a> {
        data: Vec<EntryJson<'a>>,
        next_cursor: Option<String>,
    }
    let principal = caller.with(Scope::CreditsRead)?;
    let end_user_id = fields::end_user_id(&segment.0, "path:end_user_id")?;
    let after_seq = fields::units(params.after_seq.unwrap_or(0), "query:after_seq")?;
    let after_seq = u64::try_from(after_seq.get()).expect("units are not negative");
    let limit = limit(params.limit)?;
    let mut entries = state.app.entries(principal.environment_id, &end_user_id, after_seq, limit + 1).await?;
    let size = usize::try_from(limit).expect("limits are 1 to 100");
    let more = entries.len() > size;
    entries.truncate(size);
    let next_cursor = entries.last().filter(|_| more).map(|last| last.seq.to_string());
    Ok(json(StatusCode::OK, &PageJson { data: entries.iter().map(EntryJson::new).collect(), next_cursor }))
}

#[derive(Debug, Serialize)]
struct EntryJson<'a> {
    seq: u64,
    kind: EntryKind,
    amount: Credits,
    balance_after: Credits,
    reserved_after: Credits,
    debt_after: Credits,
    allocations: Vec<AllocationJson>,
    feature_key: Option<&'a FeatureKey>,
    usage_id: Option<UsageId>,
    effective_at: Timestamp,
    recorded_at: Timestamp,
    hash: String,
}

#[derive(Debug, Serialize)]
struct AllocationJson {
    block_id: BlockId,
    amount: Credits,
}

impl<'a> EntryJson<'a> {
    fn new(entry: &'a Entry) -> Self {
        let (feature_key, usage_id) = match &entry.body.cause {
            Cause::Usage { id, feature_key, .. } => (Some(feature_key), Some(*id)),
            Cause::Grant | Cause::Subscription(_) | Cause::Time => (None, None),
        };
        let allocations = entry.body.allocations.iter();
        Self {
            seq: entry.seq,
            kind: entry.body.kind,
            amount: entry.body.amount,
            balance_after: entry.balance_after,
            reserved_after: entry.reserved_after,
            debt_after: entry.debt_after,
            allocations: allocations
                .map(|part| AllocationJson { block_id: part.block_id, amount: part.amount })
                .collect(),
            feature_key,
            usage_id,
            effective_at: entry.body.effective_at,
            recorded_at: entry.recorded_at,
            hash: entry.hash.to_string(),
        }
    }
}
