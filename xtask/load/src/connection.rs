//! One HTTP/1.1 connection over TCP or a Unix socket: one request at a time, in order.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

/// Where a server listens: `http://127.0.0.1:7070` or `unix:/run/quotastack.sock`.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Host and port.
    Tcp(String),
    /// A socket's path.
    Unix(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        match text.strip_prefix("http://") {
            Some(authority) => Ok(Self::Tcp(authority.trim_end_matches('/').to_owned())),
            None => Err("a target is http://HOST:PORT or unix:PATH".to_owned()),
        }
    }
}

/// An open connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// What the `Host` header says.
    host: String,
}

impl Connection {
    /// Connects. The driver of the connection runs as a task until the connection is dropped.
    pub(crate) async fn open(target: &Target) -> anyhow::Result<Self> {
        match target {
            Target::Tcp(authority) => {
                let stream =
                    TcpStream::connect(authority).await.with_context(|| format!("connecting to {authority}"))?;
                stream.set_nodelay(true)?;
                let (sender, driver) = handshake(TokioIo::new(stream)).await?;
                tokio::spawn(driver);
                Ok(Self { sender, host: authority.clone() })
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).await.with_context(|| format!("connecting to {path:?}"))?;
                let (sender, driver) = handshake(TokioIo::new(stream)).await?;
                tokio::spawn(driver);
                Ok(Self { sender, host: "localhost".to_owned() })
            }
        }
    }

    /// Sends a GET and reads the whole answer. Any status but 200 is an error that shows the answer.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Bytes> {
        let request = Request::get(path).header("host", &self.host).body(Full::default())?;
        self.send(request, StatusCode::OK).await
    }

    /// Sends a GET with a key and reads the whole answer, which must be a 200.
    pub(crate) async fn read(&mut self, path: &str, key: &str) -> anyhow::Result<Bytes> {
        let request = Request::get(path).header("host", &self.host).header("authorization", format!("Bearer {key}"));
        self.send(request.body(Full::default())?, StatusCode::OK).await
    }

    /// Sends a JSON body with a key and reads the whole answer, which must be a 201.
    pub(crate) async fn create(&mut self, path: &str, key: &str, body: String) -> anyhow::Result<Bytes> {
        self.post(path, key, body, StatusCode::CREATED).await
    }

    /// Sends a JSON body with a key and reads the whole answer, which must be a 200.
    pub(crate) async fn record(&mut self, path: &str, key: &str, body: String) -> anyhow::Result<Bytes> {
        self.post(path, key, body, StatusCode::OK).await
    }

    async fn post(&mut self, path: &str, key: &str, body: String, expected: StatusCode) -> anyhow::Result<Bytes> {
        let request = Request::post(path)
            .header("host", &self.host)
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Full::from(body))?;
        self.send(request, expected).await
    }

    async fn send(&mut self, request: Request<Full<Bytes>>, expected: StatusCode) -> anyhow::Result<Bytes> {
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status != expected {
            bail!("{status} instead of {expected}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}
