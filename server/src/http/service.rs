//! Health, readiness, metrics, and the contract itself.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::histogram;

use crate::http::state::ApiState;

const OPENAPI: &str = include_str!("../../../openapi.yaml");

/// Alive as long as it can answer at all.
pub async fn healthz() -> &'static str {
    "ok"
}

/// Ready while the database answers.
pub async fn readyz(State(state): State<ApiState>) -> (StatusCode, &'static str) {
    if state.app.is_ready().await {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer")
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

/// Measures each request by its route and status.
pub async fn measure(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().to_string();
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    histogram!("quotastack_http_request_seconds", "method" => method, "route" => route, "status" => status)
        .record(started.elapsed());
    response
}
