//! The server's HTTP address, for calls that are passed through.

use std::path::Path;
use std::time::Duration;

use reqwest::{Certificate, Client, Url, redirect};

use crate::link::tls::{TrustError, read_ca_file};

/// How long the server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the server may take between two parts of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the server's address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Not a URL.
    #[error("the upstream {0:?} is no http or https URL, for example http://127.0.0.1:8080")]
    Url(String),
    /// Certificates cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The client cannot be built.
    #[error("cannot set up the HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// An HTTP client and where it calls.
#[derive(Debug)]
pub(crate) struct Upstream {
    client: Client,
    base: String,
}

impl Upstream {
    pub(crate) fn new(base: &str, ca_file: Option<&Path>) -> Result<Self, UpstreamError> {
        let parsed = Url::parse(base).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if parsed.is_none() {
            return Err(UpstreamError::Url(base.to_owned()));
        }
        // One TLS provider for the process; a second call finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // The answer is the caller's to follow, and the server is reached directly.
        let mut builder = Client::builder().redirect(redirect::Policy::none()).no_proxy();
        builder = builder.connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT);
        if let Some(path) = ca_file {
            let certificates = read_ca_file(path)?;
            let certificates: Result<Vec<_>, _> =
                certificates.iter().map(|certificate| Certificate::from_der(certificate)).collect();
            builder = builder.tls_certs_only(certificates?);
        }
        Ok(Self { client: builder.build()?, base: base.trim_end_matches('/').to_owned() })
    }

    /// The address.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The URL of a path with its query, as long as it is under `/v1/` and arrives as it was sent: a URL resolves dot
    /// segments, however they are written, and the call would be one for another resource.
    pub(crate) fn url(&self, path_and_query: &str) -> Option<Url> {
        let path = path_and_query.split('?').next().unwrap_or_default();
        if path.contains('\\') || path.split('/').any(is_dots) {
            return None;
        }
        let root = Url::parse(&format!("{}/v1/", self.base)).ok()?;
        let url = Url::parse(&format!("{}{path_and_query}", self.base)).ok()?;
        url.path().starts_with(root.path()).then_some(url)
    }
}

fn is_dots(segment: &str) -> bool {
    let segment = segment.to_ascii_lowercase().replace("%2e", ".");
    matches!(segment.as_str(), "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_the_api_are_passed_on() {
        let upstream = Upstream::new("http://127.0.0.1:8080/base/", None).unwrap();
        let url = |target| upstream.url(target).map(|url| url.to_string());
        assert_eq!(url("/v1/plans?limit=1").unwrap(), "http://127.0.0.1:8080/base/v1/plans?limit=1");
        assert_eq!(url("/v1/end_users/..a/x?p=/../").unwrap(), "http://127.0.0.1:8080/base/v1/end_users/..a/x?p=/../");
        for bad in ["/v1/../metrics", "/v1/%2e%2e/metrics", "/metrics", "@example.com/v1/"] {
            assert_eq!(url(bad), None, "{bad}");
        }
        for bad in ["/v1/end_users/%2e%2E/credits", "/v1/end_users/.%2e", "/v1/./plans", "/v1/x\\..\\plans"] {
            assert_eq!(url(bad), None, "{bad}");
        }
        assert!(Upstream::new("localhost:8080", None).is_err());
    }
}
