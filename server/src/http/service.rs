//! Health, readiness, metrics, and the contract itself.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::histogram;

use crate::app::Readiness;
use crate::http::state::ApiState;

const OPENAPI: &str = include_str!("../../../openapi.yaml");

/// Alive as long as it can answer at all.
pub async fn healthz() -> &'static str {
    "ok"
}

/// Ready while the database answers and has this version's schema.
pub async fn readyz(State(state): State<ApiState>) -> (StatusCode, &'static str) {
    match state.app.readiness().await {
        Readiness::Ready => (StatusCode::OK, "ready"),
        Readiness::NoAnswer => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer"),
        Readiness::OtherSchema => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the database has another version's schema; run quotastack-server migrate",
        ),
    }
}

/// Prometheus metrics.
pub async fn metrics(State(state): State<ApiState>) -> Response {
    let media_type = HeaderValue::from_static("text/plain; version=0.0.4");
    ([(CONTENT_TYPE, media_type)], state.metrics.render()).into_response()
}

/// The contract.
pub async fn openapi() -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/yaml"))], OPENAPI).into_response()
}

/// Counts each request as under way, and measures it by its route and status.
pub async fn measure(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let _under_way = state.requests.token();
    let started = Instant::now();
    let method = method_label(request.method());
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    histogram!("quotastack_http_request_seconds", "method" => method, "route" => route, "status" => status)
        .record(started.elapsed());
    response
}

/// A method as a label: a stranger must not be able to make up new ones.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}
