//! How every request of the generated client goes out: named, retried, and given up in time.
//!
//! A mutation without an idempotency key gets one, so a retry of anything changes nothing twice. Tried again is what
//! the server asks to try again (429, 502, 503, 504, after its `Retry-After`) and what did not get through, with
//! exponential backoff and full jitter, as long as the call's whole time allows.

use std::time::Duration;

use progenitor_client::{ClientHooks, ClientInfo, Error, OperationInfo};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Request, Response};
use uuid::Uuid;

use crate::api::Client;
use crate::api::types::Problem;
use crate::platform::{Instant, sleep};

/// Statuses by which a server says: not now.
pub(crate) const RETRYABLE: [u16; 4] = [429, 502, 503, 504];

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const BACKOFF_FIRST_MS: u64 = 100;
const BACKOFF_MAX_MS: u64 = 2_000;

/// Limits of the calls of one client.
#[derive(Debug, Clone)]
pub struct Transport {
    pub(crate) timeout: Duration,
    pub(crate) check_timeout: Duration,
    pub(crate) retries_max: u32,
}

impl Transport {
    fn total(&self, operation: &OperationInfo) -> Duration {
        if operation.operation_id.starts_with("check_") { self.check_timeout } else { self.timeout }
    }

    /// How long to wait before the next attempt; `None` = this is the answer.
    fn wait(&self, result: &reqwest::Result<Response>, attempt: u32) -> Option<Duration> {
        let asked = match result {
            Ok(response) if RETRYABLE.contains(&response.status().as_u16()) => retry_after(response),
            Err(error) if !error.is_timeout() && !error.is_builder() => Duration::ZERO,
            _ => return None,
        };
        (attempt < self.retries_max).then(|| asked.max(backoff(attempt, random())))
    }
}

fn retry_after(response: &Response) -> Duration {
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

/// Full jitter: anything from nothing to the step's ceiling.
fn backoff(attempt: u32, random: u64) -> Duration {
    let ceiling = BACKOFF_FIRST_MS.saturating_mul(1 << attempt.min(16)).min(BACKOFF_MAX_MS);
    Duration::from_millis(random % (ceiling + 1))
}

/// The random half of a fresh UUIDv7, the one source of randomness here.
fn random() -> u64 {
    Uuid::now_v7().as_u64_pair().1
}

impl ClientHooks<Transport> for Client {
    async fn pre<E>(&self, request: &mut Request, operation: &OperationInfo) -> Result<(), Error<E>> {
        let mutates = *request.method() != Method::GET && operation.operation_id != "check_entitlements";
        if mutates && !request.headers().contains_key(IDEMPOTENCY_KEY) && !is_named_by_body(request) {
            let key = HeaderValue::try_from(Uuid::now_v7().to_string()).expect("a UUID is ASCII");
            request.headers_mut().insert(IDEMPOTENCY_KEY, key);
        }
        Ok(())
    }

    async fn exec(&self, request: Request, operation: &OperationInfo) -> reqwest::Result<Response> {
        let started = Instant::now();
        let total = self.inner().total(operation);
        for attempt in 0.. {
            let mut this = request.try_clone().expect("bodies are bytes, which can be sent again");
            *this.timeout_mut() = Some(total.saturating_sub(started.elapsed()));
            let result = self.client().execute(this).await;
            match self.inner().wait(&result, attempt) {
                Some(wait) if started.elapsed() + wait < total => sleep(wait).await,
                _ => return result,
            }
        }
        unreachable!("an attempt beyond the last one is the answer")
    }

    async fn post<E>(&self, result: &reqwest::Result<Response>, _: &OperationInfo) -> Result<(), Error<E>> {
        match result.as_ref().ok().and_then(foreign_error) {
            Some(problem) => Err(Error::Custom(problem)),
            None => Ok(()),
        }
    }
}

/// Usage may carry its key in the body; another one in the header would be a contradiction.
fn is_named_by_body(request: &Request) -> bool {
    #[derive(serde::Deserialize)]
    struct Named {
        idempotency_key: Option<serde::de::IgnoredAny>,
    }
    let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
    serde_json::from_slice::<Named>(body).is_ok_and(|named| named.idempotency_key.is_some())
}

/// An error that is not ours, say a proxy's page, as the JSON text of a problem: the generated client would lose its
/// status while failing to read its body.
fn foreign_error(response: &Response) -> Option<String> {
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if status.is_success() || content_type.starts_with("application/problem+json") {
        return None;
    }
    let problem = Problem {
        code: "unexpected_response".to_owned(),
        detail: format!("Something between the client and QuotaStack answered {status}."),
        errors: Vec::new(),
        request_id: String::new(),
        status: i32::from(status.as_u16()),
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        type_: "about:blank".to_owned(),
    };
    Some(serde_json::to_string(&problem).expect("a problem is plain data"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_stays_under_a_ceiling_that_doubles() {
        for (attempt, ceiling) in [(0, 100), (1, 200), (2, 400), (5, 2_000), (60, 2_000)] {
            assert_eq!(backoff(attempt, ceiling), Duration::from_millis(ceiling));
            assert_eq!(backoff(attempt, ceiling + 1), Duration::ZERO);
        }
    }
}
