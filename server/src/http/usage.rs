//! Usage events.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::future::join_all;
use quotastack_core::api::problem::Problem;
use quotastack_core::api::usage::{ReceiptJson, ResultJson, ResultsJson, UsageBatchJson, UsageJson, UsageRequest};
use quotastack_core::ids::{EndUserId, IdempotencyKey, UsageId, uuid_v7};
use quotastack_core::ledger::command::{Command, Outcome, Usage};

use crate::app::auth::{Principal, Scope};
use crate::app::decide::{Decided, Submission};
use crate::app::{clock, submission};
use crate::http::body::{Json, json, written};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::state::ApiState;

/// `POST /v1/usage`
pub async fn record_usage(
    State(state): State<ApiState>,
    caller: Caller,
    body: Json<UsageJson>,
) -> Result<Response, ApiError> {
    let principal = caller.with(Scope::UsageWrite)?;
    let (end_user_id, command) = command(body.value.into_request(body.key)?);
    let carried = state.app.write(&principal, end_user_id, command, None, None).await?;
    let Outcome::Used { record, .. } = &carried.outcome else { unreachable!("usage comes to a usage record") };
    Ok(written(StatusCode::OK, &ReceiptJson::of(record, carried.replayed), &carried))
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
        let error = written.into_iter().find_map(|(_, written)| written.err());
        return Err(error.expect("a batch has at least one event").into());
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
        let (end_user_id, command) = command(request);
        let (lane, _) = environment.handle.lane_of(end_user_id.bucket());
        let (places, commands) = lanes.entry(lane).or_default();
        places.push(place);
        commands.push(submission(principal, end_user_id, command, None, None));
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

fn command(request: UsageRequest) -> (EndUserId, Command) {
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
    };
    (request.end_user_id, Command::Usage(usage))
}
