//! Problems as answers.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use quotastack_core::api::problem::Problem;
use quotastack_core::ids::uuid_v7;

use crate::clock::local_now;
use crate::http::body::{Body, full};
use crate::random::random;

/// Seconds after which a caller may try again what was refused for the moment.
const RETRY_AFTER_SECONDS: &str = "1";

/// The answer that carries `problem`.
pub(crate) fn into_response(problem: &Problem) -> Response<Body> {
    let request_id = uuid_v7(local_now(), random(), None).to_string();
    let mut response = Response::new(full(Bytes::from(problem.to_json(&request_id))));
    *response.status_mut() = StatusCode::from_u16(problem.code().status()).expect("codes have HTTP statuses");
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    response
}
