//! [`ClientBuilder`]: key, address, timeouts, and the HTTP client made from them.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use crate::Client;
use crate::api;
use crate::transport::Transport;

/// Where a sidecar listens unless told otherwise.
const BASE_URL_DEFAULT: &str = "http://127.0.0.1:7070";
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// A check stands in the way of someone who waits.
const CHECK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
const RETRIES_DEFAULT: u32 = 2;

/// Why a client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No API key was given.
    #[error("no API key: call `api_key`, or set QUOTASTACK_API_KEY")]
    NoKey,
    /// The API key has characters that no key has.
    #[error("the API key has characters that cannot be sent in a header")]
    Key,
    /// The base URL is not an http or https URL.
    #[error("`{0}` is not an http or https URL")]
    BaseUrl(String),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Http(String),
}

/// Settings of a [`Client`].
#[derive(Clone)]
pub struct ClientBuilder {
    api_key: Option<String>,
    base_url: String,
    timeout: Duration,
    check_timeout: Duration,
    retries_max: u32,
    #[cfg(unix)]
    unix_socket: Option<std::path::PathBuf>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            api_key: None,
            base_url: BASE_URL_DEFAULT.to_owned(),
            timeout: TIMEOUT_DEFAULT,
            check_timeout: CHECK_TIMEOUT_DEFAULT,
            retries_max: RETRIES_DEFAULT,
            #[cfg(unix)]
            unix_socket: None,
        }
    }
}

impl ClientBuilder {
    pub(crate) fn from_env() -> Result<Self, ConfigError> {
        let mut builder = Self::default().api_key(std::env::var("QUOTASTACK_API_KEY").map_err(|_| ConfigError::NoKey)?);
        if let Ok(url) = std::env::var("QUOTASTACK_URL") {
            builder = builder.base_url(url);
        }
        Ok(builder)
    }

    /// The API key: `qs_live_...` or `qs_sandbox_...`.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// The sidecar or server, default `http://127.0.0.1:7070`, where a sidecar listens.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// How long a call may take with all its retries, default 10 s.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// As [`Self::timeout`], for entitlement checks, default 2 s.
    #[must_use]
    pub const fn check_timeout(mut self, timeout: Duration) -> Self {
        self.check_timeout = timeout;
        self
    }

    /// How often a call is tried again at most, default 2.
    #[must_use]
    pub const fn retries_max(mut self, retries: u32) -> Self {
        self.retries_max = retries;
        self
    }

    /// Connects to a sidecar's Unix socket; the base URL then only fills the `Host` header.
    #[cfg(unix)]
    #[must_use]
    pub fn unix_socket(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.unix_socket = Some(path.into());
        self
    }

    /// The client. Connects to nothing yet.
    ///
    /// # Errors
    /// When the key is missing, or a setting is not usable.
    pub fn build(self) -> Result<Client, ConfigError> {
        let key = self.api_key.as_deref().ok_or(ConfigError::NoKey)?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| ConfigError::Key)?;
        authorization.set_sensitive(true);
        let url = reqwest::Url::parse(&self.base_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| ConfigError::BaseUrl(self.base_url.clone()))?;
        let http = reqwest::Client::builder().default_headers(HeaderMap::from_iter([(AUTHORIZATION, authorization)]));
        #[cfg(not(target_arch = "wasm32"))]
        let http = native(http)?;
        #[cfg(unix)]
        let http = match self.unix_socket {
            Some(path) => http.unix_socket(path),
            None => http,
        };
        let http = http.build().map_err(|error| ConfigError::Http(error.to_string()))?;
        let transport =
            Transport { timeout: self.timeout, check_timeout: self.check_timeout, retries_max: self.retries_max };
        Ok(Client::over(api::Client::new_with_client(url.as_str().trim_end_matches('/'), http, transport)))
    }
}

/// TLS by ring with the system's certificates, whatever provider the program around us has; no redirects, which
/// would carry the key elsewhere.
#[cfg(not(target_arch = "wasm32"))]
fn native(http: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, ConfigError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Http(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(http
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("quotastack-rust/", env!("CARGO_PKG_VERSION"))))
}
