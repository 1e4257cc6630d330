//! Errors as RFC 9457 problem documents, in the shape of openapi.yaml.

use crate::clock::local_now;
use crate::http::body::{Body, full};
use crate::random::random;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use quotastack_core::ids::uuid_v7;
use quotastack_core::problem::Code;
use serde::Serialize;

/// Seconds after which a caller may try again what was refused for the moment.
const RETRY_AFTER_SECONDS: &str = "1";

/// Why a request was not answered.
#[derive(Debug)]
pub(crate) struct Problem {
    code: Code,
    detail: String,
    errors: Vec<Field>,
}

/// One place of a request that is not valid.
#[derive(Debug, Serialize)]
struct Field {
    pointer: String,
    detail: String,
}

impl Problem {
    /// A problem whose `detail` says what to do about it.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new() }
    }

    /// A request with one wrong place.
    pub(crate) fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::at(Code::ValidationFailed, pointer, detail)
    }

    /// A problem at one place of the request.
    pub(crate) fn at(code: Code, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let field = Field { pointer: pointer.into(), detail: detail.into() };
        Self { code, detail: field.detail.clone(), errors: vec![field] }
    }

    /// Puts `prefix` before the pointers: the request was one item of a batch.
    pub(crate) fn under(mut self, prefix: &str) -> Self {
        for field in &mut self.errors {
            field.pointer.insert_str(0, prefix);
        }
        self
    }

    /// The stable code.
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// What to do about it.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The answer to the caller.
    pub(crate) fn into_response(self) -> Response<Body> {
        #[derive(Serialize)]
        struct Document<'a> {
            r#type: &'static str,
            title: &'static str,
            status: u16,
            code: &'static str,
            detail: &'a str,
            #[serde(skip_serializing_if = "<[Field]>::is_empty")]
            errors: &'a [Field],
            request_id: String,
        }
        let document = Document {
            r#type: "about:blank",
            title: self.code.title(),
            status: self.code.status(),
            code: self.code.as_str(),
            detail: &self.detail,
            errors: &self.errors,
            request_id: uuid_v7(local_now(), random(), None).to_string(),
        };
        let json = serde_json::to_vec(&document).expect("a document of texts and numbers has a JSON form");
        let mut response = Response::new(full(Bytes::from(json)));
        *response.status_mut() = StatusCode::from_u16(self.code.status()).expect("codes have HTTP statuses");
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        response
    }
}
