//! `POST /v1/usage` and `POST /v1/usage/batch`.
//!
//! A receipt is written after the outbox is on disk, never before.

use std::collections::BTreeMap;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use quotastack_core::credits::Credits;
use quotastack_core::ids::{EndUserId, FeatureKey, IdempotencyKey, InvalidText, UsageId};
use quotastack_core::ledger::command::OnInsufficient;
use quotastack_core::limits::{BATCH_EVENTS_MAX, PAIR_KEY_BYTES_MAX, PAIR_VALUE_BYTES_MAX, PAIRS_MAX};
use quotastack_core::problem::Code;
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::http::body::{Body, json, parse_json, read};
use crate::http::check::parse_units;
use crate::http::pass_through::pass_through;
use crate::http::problem::Problem;
use crate::http::router::Api;
use crate::usage::{Receipt, UsageError, UsageRequest};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageJson {
    end_user_id: String,
    feature_key: String,
    units: i64,
    idempotency_key: Option<String>,
    on_insufficient: Option<OnInsufficient>,
    effective_at: Option<Timestamp>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

/// One event.
pub(crate) async fn one(api: &Api, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    #[derive(Serialize)]
    struct ReceiptJson {
        id: UsageId,
        cost: Credits,
        charged: Credits,
        balance: Credits,
        available: Credits,
        debt: Credits,
        allocations: Option<()>,
        replayed: bool,
    }
    let (head, body) = request.into_parts();
    let header = header_key(&head.headers)?;
    let body = read(body).await?;
    let mut request = parse(parse_json(&head.headers, &body)?)?;
    request.idempotency_key = match (request.idempotency_key, header) {
        (Some(body), Some(header)) if body != header => {
            let detail = "the Idempotency-Key header and idempotency_key name different keys; send one of them";
            return Err(Problem::at(Code::IdempotencyKeyReused, "/idempotency_key", detail));
        }
        (body, header) => body.or(header),
    };
    let receipt = match api.sidecar.record_usage(request).await {
        Err(UsageError::Partial) => return pass_through(&api.sidecar, head, body).await,
        recorded => recorded.map_err(refused)?,
    };
    let Receipt { id, cost, charged, balance, available, debt, replayed } = receipt;
    let answer = ReceiptJson { id, cost, charged, balance, available, debt, allocations: None, replayed };
    let mut response = json(serde_json::to_vec(&answer).expect("receipts have a JSON form"));
    if replayed {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Up to 1,000 events, decided in order and each on its own; all of them share one commit.
pub(crate) async fn batch(api: &Api, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Events {
        events: Vec<UsageJson>,
    }
    #[derive(Serialize)]
    struct Results {
        results: Vec<ResultJson>,
    }
    let (head, body) = request.into_parts();
    let header = header_key(&head.headers)?;
    let body = read(body).await?;
    let Events { events } = parse_json(&head.headers, &body)?;
    if events.is_empty() || events.len() > BATCH_EVENTS_MAX {
        return Err(Problem::invalid("/events", "send 1 to 1,000 events"));
    }
    let mut requests = Vec::with_capacity(events.len());
    for (index, event) in events.into_iter().enumerate() {
        let mut request = parse(event).map_err(|problem| problem.under(&format!("/events/{index}")))?;
        if let (None, Some(header)) = (&request.idempotency_key, &header) {
            let key = IdempotencyKey::new(&format!("{}/{index}", header.as_str()));
            request.idempotency_key = Some(key.map_err(|error| header_problem(&error))?);
        }
        requests.push(request);
    }
    // Accounts that only the server can charge take the whole batch with them, before any of it is admitted here.
    if api.sidecar.any_partial(requests.iter().map(|request| &request.end_user_id)).await {
        return pass_through(&api.sidecar, head, body).await;
    }
    let recorded = api.sidecar.record_usage_batch(&requests).await;
    let results = recorded.into_iter().map(|result| ResultJson::new(result.map_err(refused))).collect();
    Ok(json(serde_json::to_vec(&Results { results }).expect("results have a JSON form")))
}

#[derive(Serialize)]
struct ResultJson {
    status: &'static str,
    id: Option<UsageId>,
    cost: Option<Credits>,
    code: Option<&'static str>,
    detail: Option<String>,
}

impl ResultJson {
    fn new(result: Result<Receipt, Problem>) -> Self {
        match result {
            Ok(receipt) => Self {
                status: if receipt.replayed { "replayed" } else { "recorded" },
                id: Some(receipt.id),
                cost: Some(receipt.cost),
                code: None,
                detail: None,
            },
            Err(problem) => Self {
                status: "refused",
                id: None,
                cost: None,
                code: Some(problem.code().as_str()),
                detail: Some(problem.detail().to_owned()),
            },
        }
    }
}

fn parse(event: UsageJson) -> Result<UsageRequest, Problem> {
    let text = |pointer| move |error: InvalidText| Problem::invalid(pointer, error.to_string());
    if event.properties.len() > PAIRS_MAX {
        return Err(Problem::invalid("/properties", "has at most 50 pairs"));
    }
    for (name, value) in &event.properties {
        if name.is_empty() || name.len() > PAIR_KEY_BYTES_MAX || value.len() > PAIR_VALUE_BYTES_MAX {
            return Err(Problem::invalid("/properties", "names have 1 to 64 bytes, values at most 512"));
        }
    }
    let idempotency_key = event.idempotency_key.as_deref().map(IdempotencyKey::new).transpose();
    Ok(UsageRequest {
        end_user_id: EndUserId::new(&event.end_user_id).map_err(text("/end_user_id"))?,
        feature_key: FeatureKey::new(&event.feature_key).map_err(text("/feature_key"))?,
        units: parse_units(event.units, "/units")?,
        idempotency_key: idempotency_key.map_err(text("/idempotency_key"))?,
        on_insufficient: event.on_insufficient,
        effective_at: event.effective_at,
        properties: event.properties,
    })
}

fn header_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = IdempotencyKey::new(value.to_str().unwrap_or_default());
    key.map(Some).map_err(|error| header_problem(&error))
}

fn header_problem(error: &InvalidText) -> Problem {
    Problem::invalid("header:Idempotency-Key", error.to_string())
}

fn refused(error: UsageError) -> Problem {
    let detail = error.to_string();
    match error {
        UsageError::Refused(refusal) => match refusal.pointer() {
            Some(pointer) => Problem::at(refusal.code(), pointer, detail),
            None => Problem::new(refusal.code(), detail),
        },
        UsageError::OutboxFull => Problem::new(Code::OutboxFull, detail),
        UsageError::Unreachable | UsageError::Partial => Problem::new(Code::UpstreamUnavailable, detail),
        UsageError::Stopping => Problem::new(Code::Overloaded, detail),
    }
}
