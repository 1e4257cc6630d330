//! Errors as answers: the one place where an [`AppError`] becomes an HTTP status and a problem document.
//!
//! The document names the request, which only the outermost layer knows: [`finish`] writes it there.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use quotastack_core::api::problem::Problem;
use quotastack_core::problem::Code;
use uuid::Uuid;

use crate::app::clock;
use crate::app::error::AppError;

/// Seconds after which a caller may try again what was refused for the moment.
const RETRY_AFTER_SECONDS: &str = "1";
/// Names a request in answers and in the log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request that is answered with a problem document.
#[derive(Debug)]
pub struct ApiError(Problem);

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<AppError> for ApiError {
    fn from(error: AppError) -> Self {
        if let AppError::Internal(source) = &error {
            tracing::error!(source = %source, "a request failed");
        }
        Self(match error.pointer() {
            Some(pointer) => Problem::at(error.code(), pointer, error.to_string()),
            None => Problem::new(error.code(), error.to_string()),
        })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.0.code();
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(code.status()).expect("codes have HTTP statuses");
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        if code == Code::Unauthenticated {
            let challenge = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, challenge);
        }
        response.extensions_mut().insert(self.0);
        response
    }
}

/// Gives every request an id, and problem documents their text.
pub async fn finish(request: Request, next: Next) -> Response {
    let id = quotastack_core::ids::uuid_v7(clock::now(), clock::random(), None);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let status = response.status().as_u16();
        tracing::debug!(request_id = %id, %method, path, status, code = problem.code().as_str(), detail = problem.detail(), "refused");
        if status >= 500 {
            tracing::warn!(request_id = %id, %method, path, status, code = problem.code().as_str(), "a request was not answered");
        }
        *response.body_mut() = Body::from(problem.to_json(&id.to_string()));
        let media_type = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, media_type);
    }
    response.headers_mut().insert(REQUEST_ID, header_of(id));
    response
}

fn header_of(id: Uuid) -> HeaderValue {
    HeaderValue::from_str(&id.to_string()).expect("a UUID is ASCII")
}

/// The answer to a path that does not exist.
pub async fn no_such_path() -> ApiError {
    ApiError(Problem::new(Code::NotFound, "there is no such path; GET /openapi.yaml lists all of them"))
}

/// The answer to a method that a path does not have.
pub async fn no_such_method() -> ApiError {
    ApiError(Problem::new(Code::MethodNotAllowed, "the path has no such method; GET /openapi.yaml lists all of them"))
}
