//! Errors as RFC 9457 problem documents, in the shape of openapi.yaml.

use serde::Serialize;

use crate::ledger::refusal::Refusal;
use crate::problem::Code;

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: String,
    errors: Vec<FieldError>,
}

/// One place of a request that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON pointer into the body, or `query:name`, `path:name`, `header:name`.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

impl Problem {
    /// A problem whose `detail` says what to do about it.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new() }
    }

    /// A request with one wrong place.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::at(Code::ValidationFailed, pointer, detail)
    }

    /// A problem at one place of the request.
    pub fn at(code: Code, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let field = FieldError { pointer: pointer.into(), detail: detail.into() };
        Self { code, detail: field.detail.clone(), errors: vec![field] }
    }

    /// Puts `prefix` before the pointers: the request was one item of a batch.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        for field in &mut self.errors {
            field.pointer.insert_str(0, prefix);
        }
        self
    }

    /// The stable code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// What to do about it.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The JSON document, `application/problem+json`.
    pub fn to_json(&self, request_id: &str) -> Vec<u8> {
        #[derive(Serialize)]
        struct Document<'a> {
            r#type: &'static str,
            title: &'static str,
            status: u16,
            code: &'static str,
            detail: &'a str,
            #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
            errors: &'a [FieldError],
            request_id: &'a str,
        }
        let document = Document {
            r#type: "about:blank",
            title: self.code.title(),
            status: self.code.status(),
            code: self.code.as_str(),
            detail: &self.detail,
            errors: &self.errors,
            request_id,
        };
        serde_json::to_vec(&document).expect("a document of texts and numbers has a JSON form")
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal.pointer() {
            Some(pointer) => Self::at(refusal.code(), pointer, refusal.to_string()),
            None => Self::new(refusal.code(), refusal.to_string()),
        }
    }
}
