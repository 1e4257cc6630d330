//! `POST /v1/usage` and `POST /v1/usage/batch`.
//!
//! A receipt is written after the outbox is on disk, never before; with durability `memory`, of what is advisory at once.

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use quotastack_core::api::fields;
use quotastack_core::api::problem::Problem;
use quotastack_core::api::usage::{
    ConsumeReceiptJson, ConsumedFrom, ReceiptJson, ResultJson, ResultsJson, UsageBatchJson, UsageJson,
};
use quotastack_core::ids::IdempotencyKey;
use quotastack_core::problem::Code;
use serde::Serialize;

use crate::http::body::{Body, json, parse_json};
use crate::http::guard::only;
use crate::http::pass_through::pass_through;
use crate::http::router::Api;
use crate::usage::{Receipt, UsageError};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// One event.
pub(crate) async fn one(api: &Api, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    let key = header_key(&head.headers)?;
    let body = api.read(body).await?;
    let event = parse_json::<UsageJson>(&head.headers, &body)?.into_request(key)?;
    if event.dry_run {
        return pass_through(&api.sidecar, head, body).await;
    }
    match api.sidecar.record_usage(event).await {
        Err(UsageError::Partial | UsageError::ServerOnly) => pass_through(&api.sidecar, head, body).await,
        recorded => recorded.map(|receipt| answer(&receipt_json(&receipt), receipt.replayed)).map_err(problem),
    }
}

/// One event of a strict feature, paid with a lease; any other is the server's to decide.
pub(crate) async fn consume(api: &Api, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    let key = header_key(&head.headers)?;
    let body = api.read(body).await?;
    let event = parse_json::<UsageJson>(&head.headers, &body)?.into_request(key)?;
    let is_leasable = event.effective_at.is_none() && event.on_insufficient.is_none() && !event.dry_run;
    if !is_leasable || api.sidecar.is_advisory(&event.feature_key) == Some(true) {
        return pass_through(&api.sidecar, head, body).await;
    }
    match api.sidecar.consume(&event).await {
        Err(UsageError::Partial | UsageError::ServerOnly) => pass_through(&api.sidecar, head, body).await,
        consumed => {
            let receipt = consumed.map_err(problem)?;
            let json = ConsumeReceiptJson::new(receipt_json(&receipt), ConsumedFrom::Lease);
            Ok(answer(&json, receipt.replayed))
        }
    }
}

fn receipt_json(receipt: &Receipt) -> ReceiptJson {
    let Receipt { id, charged, balance, available, debt, replayed, .. } = *receipt;
    ReceiptJson {
        id: Some(id),
        cost: charged,
        balance,
        available,
        debt,
        allocations: None,
        price: None,
        owed: None,
        priced_by: None,
        replayed,
        dry_run: false,
    }
}

fn answer(receipt: &impl Serialize, replayed: bool) -> Response<Body> {
    let mut response = json(serde_json::to_vec(receipt).expect("receipts have a JSON form"));
    if replayed {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// Up to 1,000 events, decided in order and each on its own; all of them share one commit.
pub(crate) async fn batch(api: &Api, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    let key = header_key(&head.headers)?;
    let body = api.read(body).await?;
    let events = parse_json::<UsageBatchJson>(&head.headers, &body)?.into_requests(key.as_ref())?;
    // What only the server can charge takes the whole batch with it, before any of it is admitted here.
    let is_partial = api.sidecar.any_partial(events.iter().map(|event| &event.end_user_id)).await;
    if is_partial || events.iter().any(|event| api.sidecar.is_advisory(&event.feature_key) == Some(false)) {
        return pass_through(&api.sidecar, head, body).await;
    }
    let recorded = api.sidecar.record_usage_batch(&events).await;
    let results = recorded.into_iter().map(|recorded| match recorded {
        Ok(receipt) => ResultJson::recorded(receipt.id, receipt.charged, receipt.replayed),
        Err(error) => ResultJson::refused(&problem(error)),
    });
    let results = ResultsJson { results: results.collect() };
    Ok(json(serde_json::to_vec(&results).expect("results have a JSON form")))
}

fn header_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    fields::idempotency_header(only(headers, &IDEMPOTENCY_KEY)?.map(HeaderValue::as_bytes))
}

fn problem(error: UsageError) -> Problem {
    let detail = error.to_string();
    match error {
        UsageError::Refused(refusal) => Problem::from(refusal),
        UsageError::OutboxFull => Problem::new(Code::OutboxFull, detail),
        UsageError::Unleased { code, .. } => {
            Problem::new(Code::parse(&code).unwrap_or(Code::UpstreamUnavailable), detail)
        }
        UsageError::Unreachable | UsageError::Partial | UsageError::ServerOnly => {
            Problem::new(Code::UpstreamUnavailable, detail)
        }
        UsageError::Stopping => Problem::new(Code::Overloaded, detail),
    }
}
