//! Bodies: JSON in, with its limit, and JSON out.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use quotastack_core::api::problem::Problem;
use quotastack_core::api::{fields, object};
use quotastack_core::ids::{EndUserId, IdempotencyKey};
use quotastack_core::problem::Code;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::Carried;
use crate::app::auth::Principal;
use crate::app::catalogue::CatalogueDone;
use crate::app::idempotency::RequestIdentity;
use crate::http::error::ApiError;

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Bytes of a body that is too long after which the connection is given up.
const READ_ON_BYTES_MAX: usize = 8 << 20;
/// How long the next part of a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The lane that an account write went to, and the account's place in its feed: a sidecar waits for it.
const LANE: HeaderName = HeaderName::from_static("quotastack-lane");
const STAMP: HeaderName = HeaderName::from_static("quotastack-stamp");

/// The version of the catalogue with a change of it: a sidecar waits for that too.
const CATALOGUE: HeaderName = HeaderName::from_static("quotastack-catalogue");

/// A JSON body of type `T` (unknown fields are refused by `T`), with the request's `Idempotency-Key`.
#[derive(Debug)]
pub struct Json<T> {
    /// What was sent.
    pub value: T,
    /// The request's key.
    pub key: Option<IdempotencyKey>,
    bytes: bytes::Bytes,
}

impl<T> Json<T> {
    /// What makes a repeat of this request to `operation` the same one; `None` without a key. Refused where a part
    /// that `T` left unread is no JSON value, such as a number beyond every range.
    pub fn identity(
        &self,
        principal: &Principal,
        operation: &str,
        end_user: Option<&EndUserId>,
    ) -> Result<Option<RequestIdentity>, Problem> {
        let Some(key) = &self.key else { return Ok(None) };
        // As a value, so that white space and the order of fields make no difference.
        let body: serde_json::Value = object::from_slice(&self.bytes)?;
        Ok(Some(RequestIdentity::new(principal.environment_id, operation, end_user, key, &body)))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (head, body) = request.into_parts();
        let key = idempotency_key(&head.headers)?;
        refuse_other_media_types(&head.headers)?;
        let bytes = read(body).await?;
        let value = object::from_slice(&bytes)?;
        Ok(Self { value, key, bytes })
    }
}

/// The `Idempotency-Key` of a request without a body.
#[derive(Debug)]
pub struct OptionalKey(Option<IdempotencyKey>);

impl OptionalKey {
    /// What makes a repeat of this request to `operation` the same one; `None` without a key.
    pub fn identity(
        &self,
        principal: &Principal,
        operation: &str,
        end_user: Option<&EndUserId>,
    ) -> Option<RequestIdentity> {
        let key = self.0.as_ref()?;
        let nothing = serde_json::Value::Null;
        Some(RequestIdentity::new(principal.environment_id, operation, end_user, key, &nothing))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OptionalKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self(idempotency_key(&parts.headers)?))
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Problem::invalid("header:Idempotency-Key", "give it once"));
    }
    fields::idempotency_header(first.map(HeaderValue::as_bytes))
}

fn refuse_other_media_types(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(media_type) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = media_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = format!("send the body as application/json, not {media_type:?}");
    Err(Problem::new(Code::UnsupportedMediaType, detail))
}

/// Reads a body. One that is too long is read on for a while, so that its sender gets the answer instead of a broken
/// connection.
async fn read(mut body: Body) -> Result<bytes::Bytes, Problem> {
    let (mut kept, mut length) = (Vec::new(), 0);
    loop {
        let next = tokio::time::timeout(BODY_TIMEOUT, body.frame()).await;
        let next = next.map_err(|_| Problem::new(Code::ValidationFailed, "the body did not arrive in time"))?;
        let Some(frame) = next else { break };
        let frame =
            frame.map_err(|error| Problem::new(Code::ValidationFailed, format!("the body ended early: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length <= BODY_BYTES_MAX {
            kept.extend_from_slice(&data);
        } else if length > READ_ON_BYTES_MAX {
            break;
        }
    }
    if length > BODY_BYTES_MAX {
        let detail = "a body has at most 1,048,576 bytes; send several requests";
        return Err(Problem::new(Code::PayloadTooLarge, detail));
    }
    Ok(kept.into())
}

/// A JSON answer.
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    raw_json(status, serde_json::to_vec(value).expect("answers have a JSON form"))
}

/// A JSON answer that is written already.
pub fn raw_json(status: StatusCode, text: Vec<u8>) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

/// Says that an earlier request with the same key was answered so.
pub fn mark_replayed(mut response: Response, replayed: bool) -> Response {
    if replayed {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The answer to a change of the catalogue: marked if replayed, with the catalogue's version.
pub fn changed<T: Serialize>(status: StatusCode, value: &T, done: &CatalogueDone) -> Response {
    let mut response = mark_replayed(json(status, value), done.replayed);
    response.headers_mut().insert(CATALOGUE, done.version.into());
    response
}

/// The answer to a write of an account: marked if replayed, with its place in the feed.
pub fn written<T: Serialize>(status: StatusCode, value: &T, carried: &Carried) -> Response {
    let mut response = mark_replayed(json(status, value), carried.replayed);
    response.headers_mut().insert(LANE, carried.lane.into());
    response.headers_mut().insert(STAMP, carried.stamp.into());
    response
}
