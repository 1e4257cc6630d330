//! Calls to the local API, blocking, over a runtime of their own.

use reqwest::{Method, header::HeaderMap};
use serde_json::Value;
use tokio::runtime::Runtime;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The JSON of an answer that must be a success.
    pub(crate) fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }

    /// The problem's status and code.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        for field in ["type", "title", "detail", "request_id"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field} of {problem}");
        }
        (self.status, problem["code"].as_str().unwrap().to_owned())
    }
}

/// A caller of one address.
pub(crate) struct Client {
    base: String,
    client: reqwest::Client,
    runtime: Runtime,
    headers: Vec<(String, String)>,
}

impl Client {
    pub(crate) fn new(base: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // A second call finds the provider installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { base: base.to_owned(), client, runtime, headers: Vec::new() }
    }

    /// With a header on every call.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A call; `Err` if there was no answer.
    pub(crate) fn try_call(&self, method: Method, path: &str, body: Option<String>) -> reqwest::Result<Answer> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        self.runtime.block_on(async {
            let response = request.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok(Answer { status, headers, text: response.text().await? })
        })
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_call(Method::GET, path, None).unwrap()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, body.to_string())
    }

    pub(crate) fn post_text(&self, path: &str, body: String) -> Answer {
        self.try_call(Method::POST, path, Some(body)).unwrap()
    }

    /// A check of one unit.
    pub(crate) fn check(&self, end_user_id: &str, feature_key: &str) -> Value {
        self.get(&format!("/v1/entitlements/check?end_user_id={end_user_id}&feature_key={feature_key}")).ok()
    }
}
