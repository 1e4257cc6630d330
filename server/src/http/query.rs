//! Query strings and path segments.

use std::str::FromStr;

use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quotastack_core::api::problem::Problem;
use quotastack_core::api::{fields, misread};
use quotastack_core::problem::Code;
use serde::de::DeserializeOwned;

use crate::http::error::ApiError;

const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: i64 = 100;

/// A query string of type `T`; unknown parameters are refused by `T`.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        fields::utf8_query(query)?;
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        let read = serde_path_to_error::deserialize(pairs);
        Ok(Self(read.map_err(|error| misread::in_query(error.path(), &error.inner().to_string()))?))
    }
}

/// The one parameter of a path, as text.
#[derive(Debug)]
pub struct Segment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = read.map_err(|error| unreadable(&error))?;
        Ok(Self(text))
    }
}

/// The two parameters of a path, as text.
#[derive(Debug)]
pub struct Segments(pub String, pub String);

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((first, second)) = read.map_err(|error| unreadable(&error))?;
        Ok(Self(first, second))
    }
}

/// Every path is text, so only its encoding can be wrong.
fn unreadable(rejection: &PathRejection) -> Problem {
    let detail = "must be percent-encoded UTF-8";
    match rejection {
        PathRejection::FailedToDeserializePathParams(error) => match error.kind() {
            ErrorKind::InvalidUtf8InPathParam { key } => Problem::invalid(format!("path:{key}"), detail),
            _ => Problem::invalid("path", detail),
        },
        _ => Problem::invalid("path", detail),
    }
}

impl Segment {
    /// The id that the segment is; what is no id names nothing.
    pub fn id<T: FromStr>(&self, what: &str) -> Result<T, ApiError> {
        self.0.parse().map_err(|_| Problem::new(Code::NotFound, format!("there is no {what} {}", self.0)).into())
    }
}

/// `limit` of a list: 1 to 100, 20 if it is not given.
pub fn limit(given: Option<i64>) -> Result<i64, ApiError> {
    let limit = given.unwrap_or(LIMIT_DEFAULT);
    if (1..=LIMIT_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::invalid("query:limit", "must be 1 to 100").into())
    }
}

/// What a `cursor` of ours says; callers treat it as opaque.
pub fn read_cursor<T: FromStr>(cursor: Option<&str>) -> Result<Option<T>, ApiError> {
    let Some(cursor) = cursor else { return Ok(None) };
    let text = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let value = text.and_then(|text| text.parse().ok());
    let detail = "use the next_cursor of the page before, unchanged";
    value.map(Some).ok_or_else(|| Problem::invalid("query:cursor", detail).into())
}

/// The text of a `cursor` of ours.
pub fn write_cursor(value: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(value)
}

/// A page out of one row more than `limit`, and the cursor of the next one.
pub fn page<T>(mut rows: Vec<T>, limit: i64, name: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
    let size = usize::try_from(limit).expect("limits are 1 to 100");
    let more = rows.len() > size;
    rows.truncate(size);
    let next = rows.last().filter(|_| more).map(|last| write_cursor(name(last)));
    (rows, next)
}
