//! From a request to its handler. What the sidecar does not answer itself goes to the server.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use metrics_exporter_prometheus::PrometheusHandle;
use quotastack_core::api::problem::Problem;
use quotastack_core::problem::Code;
use tokio_util::sync::CancellationToken;

use crate::http::body::{self, Body};
use crate::http::guard::{Guard, same_environment};
use crate::http::pass_through::pass_through;
use crate::http::problem::into_response;
use crate::http::{check, usage};
use crate::sidecar::Sidecar;

/// What handlers need.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) sidecar: Arc<Sidecar>,
    pub(crate) check_seconds: metrics::Histogram,
    metrics: Option<PrometheusHandle>,
    stop: CancellationToken,
}

impl Api {
    pub(crate) fn new(sidecar: Arc<Sidecar>, metrics: Option<PrometheusHandle>, stop: CancellationToken) -> Self {
        Self { sidecar, check_seconds: metrics::histogram!(crate::metrics::CHECK_SECONDS), metrics, stop }
    }

    /// The whole body of a request.
    pub(crate) async fn read(&self, body: Incoming) -> Result<Bytes, Problem> {
        body::read(body, &self.stop).await
    }
}

/// Answers a request, whatever it is.
pub(crate) async fn answer(api: &Api, guard: &Guard, request: Request<Incoming>) -> Response<Body> {
    let answered = match guard.admit(request.uri(), request.headers()) {
        Ok(()) => route(api, request).await,
        Err(problem) => Err(problem),
    };
    answered.unwrap_or_else(|problem| into_response(&problem))
}

async fn route(api: &Api, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let path = request.uri().path();
    if path.starts_with("/v1/") {
        same_environment(request.headers(), api.sidecar.key())?;
    }
    match (request.method(), path) {
        (&Method::GET, "/v1/entitlements/check") => check::one(api, request).await,
        (&Method::POST, "/v1/entitlements/check") => check::batch(api, request).await,
        (&Method::POST, "/v1/usage") => usage::one(api, request).await,
        (&Method::POST, "/v1/usage/batch") => usage::batch(api, request).await,
        (&Method::POST, "/v1/consume") => usage::consume(api, request).await,
        (_, path) if path.starts_with("/v1/") => {
            let (head, body) = request.into_parts();
            pass_through(&api.sidecar, head, api.read(body).await?).await
        }
        (&Method::GET, "/healthz") => Ok(body::text(200, "ok")),
        (&Method::GET, "/readyz") => Ok(readiness(api)),
        (&Method::GET, "/metrics") => metrics(api),
        (&Method::GET, "/status") => Ok(status(api)),
        (_, path) => {
            let detail = format!("there is no {path} on a sidecar; the API is under /v1");
            Err(Problem::new(Code::NotFound, detail))
        }
    }
}

fn readiness(api: &Api) -> Response<Body> {
    if api.sidecar.is_ready() {
        body::text(200, "ready")
    } else {
        body::text(503, "waiting for the first catalogue from the server")
    }
}

fn status(api: &Api) -> Response<Body> {
    body::json(serde_json::to_vec(&api.sidecar.status()).expect("a status has a JSON form"))
}

fn metrics(api: &Api) -> Result<Response<Body>, Problem> {
    let Some(metrics) = &api.metrics else {
        return Err(Problem::new(Code::NotFound, "the process that embeds this sidecar serves its metrics"));
    };
    api.sidecar.publish_metrics();
    Ok(body::text(200, metrics.render()))
}
