//! REST calls as any program without an SDK makes them.

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// One base URL with one key.
pub(crate) struct Api {
    client: Client<HttpConnector, Full<Bytes>>,
    base_url: String,
    key: String,
}

impl Api {
    pub(crate) fn new(base_url: &str, key: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, base_url: base_url.trim_end_matches('/').to_owned(), key: key.to_owned() }
    }

    /// The answer's JSON; an error status is an error that shows the answer.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// The answer's JSON; an error status is an error that shows the answer.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(Method::POST, path, serde_json::to_vec(body)?.into()).await
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Value> {
        let line = format!("{method} {path}");
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_url))
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .body(Full::from(body))?;
        let response = self.client.request(request).await.with_context(|| line.clone())?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{line}: {status}: {}", String::from_utf8_lossy(&body));
        }
        serde_json::from_slice(&body).with_context(|| format!("{line}: the answer is not JSON"))
    }
}

/// The string at `field` of an answer.
pub(crate) fn text<'a>(answer: &'a Value, field: &str) -> anyhow::Result<&'a str> {
    answer[field].as_str().with_context(|| format!("no text `{field}` in {answer}"))
}
