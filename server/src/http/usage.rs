//! Usage events.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::future::join_all;
use quotastack_core::api::fields;
use quotastack_core::api::problem::Problem;
use quotastack_core::api::usage::{
    ConsumeReceiptJson, ConsumedFrom, PaidJson, ReceiptJson, ResultJson, ResultsJson, UsageBatchJson, UsageJson,
    UsageRequest,
};
use quotastack_core::credits::{Credits, Units};
use quotastack_core::ids::{EndUserId, FeatureKey, IdempotencyKey, ReservationId, UsageId, uuid_v7};
use quotastack_core::ledger::command::{Command, Usage, Void};
use quotastack_core::ledger::outcome::Outcome;
use quotastack_core::limits::AHEAD_WINDOW_MICROS;
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::auth::{Principal, Scope};
use crate::app::decide::{Decided, Submission};
use crate::app::error::AppError;
use crate::app::named::UsageRead;
use crate::app::{clock, submission};
use crate::http::account::AccountJson;
use crate::http::body::{Json, json, written};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::query::Segment;
use crate::http::state::ApiState;

/// Usage that was recorded so much later than it happened is called late.
const LATE_AFTER_MICROS: i64 = AHEAD_WINDOW_MICROS;

/// `POST /v1/usage`
pub async fn record_usage(
    State(state): State<ApiState>,
    caller: Caller,
    body: Json<UsageJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::UsageWrite)?;
    let request = body.value.into_request(body.key)?;
    let dry_run = request.dry_run;
    let (end_user_id, usage) = usage(request);
    if dry_run {
        let (record, replayed) = state.app.dry_run(&principal, end_user_id, Command::Usage(usage)).await?;
        return Ok(json(StatusCode::OK, &ReceiptJson::of_dry_run(&record, replayed)));
    }
    let carried = state.app.write(&principal, end_user_id, Command::Usage(usage), None, None).await?;
    let Outcome::Used { record, .. } = &carried.outcome else { unreachable!("usage comes to a usage record") };
    Ok(written(StatusCode::OK, &ReceiptJson::of(record, carried.replayed), &carried))
}

/// `POST /v1/consume`
pub async fn consume(
    State(state): State<ApiState>,
    caller: Caller,
    body: Json<UsageJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::UsageWrite)?;
    let request = body.value.into_request(body.key)?;
    let dry_run = request.dry_run;
    let (end_user_id, usage) = usage(request);
    let command = Command::Consume(usage);
    let consumed = |receipt| ConsumeReceiptJson::new(receipt, ConsumedFrom::Server);
    if dry_run {
        let (record, replayed) = state.app.dry_run(&principal, end_user_id, command).await?;
        return Ok(json(StatusCode::OK, &consumed(ReceiptJson::of_dry_run(&record, replayed))));
    }
    let carried = state.app.write(&principal, end_user_id, command, None, None).await?;
    let Outcome::Used { record, .. } = &carried.outcome else { unreachable!("consuming comes to a usage record") };
    Ok(written(StatusCode::OK, &consumed(ReceiptJson::of(record, carried.replayed)), &carried))
}

/// The body of a void.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoidJson {
    reason: Option<String>,
}

/// `POST /v1/usage/{usage_id}/void`
pub async fn void_usage(
    State(state): State<ApiState>,
    caller: Caller,
    segment: Segment,
    body: Json<VoidJson>,
) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct VoidedJson {
        id: UsageId,
        returned: Credits,
        debt_undone: Credits,
        account: AccountJson,
        voided_at: Timestamp,
        replayed: bool,
    }
    let principal = caller.with(Scope::UsageWrite)?;
    let usage_id: UsageId = segment.id("usage event")?;
    let end_user_id = state.app.owner_of_usage(principal.environment_id, usage_id).await?;
    let identity = body.identity(&principal, &format!("void_usage {usage_id}"), Some(&end_user_id))?;
    let reason = body.value.reason.as_deref().map(|reason| fields::reason(reason, "/reason")).transpose()?;
    let command = Command::Void(Void { usage_id, reason });
    let carried = state.app.write(&principal, end_user_id, command, identity, None).await?;
    let Outcome::Voided { record, replayed } = &carried.outcome else { unreachable!("a void comes to a void") };
    let voided = VoidedJson {
        id: record.usage_id,
        returned: record.returned,
        debt_undone: record.debt_undone,
        account: AccountJson::new(&record.standing),
        voided_at: record.standing.now,
        replayed: *replayed || carried.replayed,
    };
    Ok(written(StatusCode::OK, &voided, &carried))
}

/// `GET /v1/usage/{usage_id}`
pub async fn get_usage(State(state): State<ApiState>, caller: Caller, segment: Segment) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::CreditsRead)?;
    let read = state.app.usage_event(principal.environment_id, segment.id("usage event")?).await?;
    Ok(json(StatusCode::OK, &UsageEventJson::new(&read)))
}

#[derive(Debug, Serialize)]
pub(super) struct UsageEventJson<'a> {
    id: UsageId,
    end_user_id: &'a EndUserId,
    feature_key: &'a FeatureKey,
    units: Units,
    properties: &'a BTreeMap<String, String>,
    idempotency_key: &'a str,
    cost: Credits,
    price: Credits,
    owed: Credits,
    effective_at: Timestamp,
    recorded_at: Timestamp,
    late: bool,
    seq: u64,
    reservation_id: Option<ReservationId>,
    voided_at: Option<Timestamp>,
    void_reason: Option<&'a str>,
    allocations: Vec<PaidJson>,
}

impl<'a> UsageEventJson<'a> {
    pub(super) fn new(read: &'a UsageRead) -> Self {
        let UsageRead { end_user_id, record, void } = read;
        let paid = record.allocations.iter().map(|part| PaidJson { block_id: part.block_id, amount: part.amount });
        Self {
            id: record.id,
            end_user_id,
            feature_key: &record.feature_key,
            units: record.units,
            properties: &record.properties,
            idempotency_key: record.key.as_str(),
            cost: record.charged,
            price: record.cost,
            owed: record.owed,
            effective_at: record.effective_at,
            recorded_at: record.recorded_at,
            late: record.recorded_at.micros_since(record.effective_at) > LATE_AFTER_MICROS,
            seq: record.seq,
            reservation_id: record.reservation_id,
            voided_at: void.as_ref().map(|void| void.standing.now),
            void_reason: void.as_ref().and_then(|void| void.reason.as_deref()),
            allocations: paid.collect(),
        }
    }
}

/// `POST /v1/usage/batch`
pub async fn record_usage_batch(
    State(state): State<ApiState>,
    caller: Caller,
    body: Json<UsageBatchJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::UsageWrite)?;
    let requests = body.value.into_requests(body.key.as_ref())?;
    let count = requests.len();
    let lanes = by_lane(&state, &principal, requests).await?;
    let writes = lanes.into_iter().map(|(lane, (places, commands))| {
        let write = state.app.write_lane(principal.environment_id, lane, commands);
        async move { (places, write.await) }
    });
    let written = join_all(writes).await;
    if written.iter().all(|(_, written)| written.is_err()) {
        let errors: Vec<AppError> = written.into_iter().filter_map(|(_, written)| written.err()).collect();
        // Where one lane may have written, nobody is told that nothing was done.
        let unknown = errors.iter().position(|error| matches!(error, AppError::OutcomeUnknown)).unwrap_or_default();
        return Err(errors.into_iter().nth(unknown).expect("a batch has at least one event").into());
    }
    let mut results: Vec<Option<ResultJson>> = (0..count).map(|_| None).collect();
    for (places, written) in written {
        match written {
            Ok(written) => {
                for (place, decided) in places.into_iter().zip(written.results) {
                    results[place] = Some(result(decided));
                }
            }
            // The others are recorded: the answer must say which ones.
            Err(error) => {
                let refused = ResultJson::refused(&Problem::new(error.code(), error.to_string()));
                places.into_iter().for_each(|place| results[place] = Some(refused.clone()));
            }
        }
    }
    let results = results.into_iter().map(|result| result.expect("every event went to one lane")).collect();
    Ok(json(StatusCode::OK, &ResultsJson { results }))
}

type LaneCommands = BTreeMap<u16, (Vec<usize>, Vec<Submission>)>;

/// The events of each lane in order, with their places in the batch.
async fn by_lane(
    state: &ApiState,
    principal: &Principal,
    requests: Vec<UsageRequest>,
) -> Result<LaneCommands, ApiError> {
    let environment = state.app.environment(principal.environment_id).await?;
    let mut lanes = LaneCommands::new();
    for (place, request) in requests.into_iter().enumerate() {
        let (end_user_id, usage) = usage(request);
        let (lane, _) = environment.handle.lane_of(end_user_id.bucket());
        let (places, commands) = lanes.entry(lane).or_default();
        places.push(place);
        commands.push(submission(principal, end_user_id, Command::Usage(usage), None, None));
    }
    Ok(lanes)
}

fn result(decided: Decided) -> ResultJson {
    match decided.into_result() {
        Ok((Outcome::Used { record, .. }, replayed)) => ResultJson::recorded(record.id, record.charged, replayed),
        Ok(_) => unreachable!("usage comes to a usage record"),
        Err(error) => ResultJson::refused(&Problem::new(error.code(), error.to_string())),
    }
}

/// The event of a request, with its id.
fn usage(request: UsageRequest) -> (EndUserId, Usage) {
    let now = clock::now();
    let id = UsageId::from_uuid(uuid_v7(now, clock::random(), Some(request.end_user_id.bucket())));
    let minted = || IdempotencyKey::new(&id.to_string()).expect("an id is an idempotency key");
    let usage = Usage {
        id,
        key: request.idempotency_key.unwrap_or_else(minted),
        feature_key: request.feature_key,
        units: request.units,
        properties: request.properties,
        effective_at: request.effective_at,
        on_insufficient: request.on_insufficient,
        admitted_at: None,
        leased: None,
    };
    (request.end_user_id, usage)
}
