//! [`Error`]: what went wrong, by its stable code.

use progenitor_client::Error as Raw;

use crate::api::types::Problem;
use crate::transport::RETRYABLE;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server said no; the problem says why.
    #[error("{} ({}): {} [request {}]", .0.code, .0.status, .0.detail, .0.request_id)]
    Api(Box<Problem>),
    /// The request is not valid and was not sent.
    #[error("the request is not valid: {0}")]
    Invalid(String),
    /// The server could not be reached, or not in time.
    #[error("no answer from the server")]
    Connection(#[source] reqwest::Error),
    /// The answer is not what the contract says.
    #[error("the server's answer cannot be read: {0}")]
    Answer(String),
    /// A ledger is not what it should be.
    #[cfg(feature = "verify")]
    #[error(transparent)]
    BrokenLedger(#[from] crate::BrokenLedger),
    /// The client cannot be built.
    #[error(transparent)]
    Config(#[from] crate::ConfigError),
}

impl Error {
    /// The stable code of the contract's table `x-error-codes`, if the server answered.
    pub fn code(&self) -> Option<&str> {
        self.problem().map(|problem| problem.code.as_str())
    }

    /// The HTTP status, if the server answered.
    pub fn status(&self) -> Option<u16> {
        self.problem().and_then(|problem| u16::try_from(problem.status).ok())
    }

    /// Finds the request in the server's log.
    pub fn request_id(&self) -> Option<&str> {
        self.problem().map(|problem| problem.request_id.as_str())
    }

    /// Whether the same call may succeed later. The client has already retried when you see this.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Api(_) => self.status().is_some_and(|status| RETRYABLE.contains(&status)),
            Self::Connection(_) => true,
            _ => false,
        }
    }

    /// The server's problem document, if it answered.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Api(problem) => Some(problem),
            _ => None,
        }
    }
}

impl From<Raw<Problem>> for Error {
    fn from(raw: Raw<Problem>) -> Self {
        match raw {
            Raw::ErrorResponse(problem) => Self::Api(Box::new(problem.into_inner())),
            Raw::InvalidRequest(reason) => Self::Invalid(reason),
            Raw::CommunicationError(error) | Raw::ResponseBodyError(error) | Raw::InvalidUpgrade(error) => {
                if error.is_builder() { Self::Invalid(with_cause(&error)) } else { Self::Connection(error) }
            }
            Raw::InvalidResponsePayload(_, error) => Self::Answer(error.to_string()),
            Raw::UnexpectedResponse(response) => Self::Answer(format!("unexpected status {}", response.status())),
            // The transport's own errors travel as a problem document: see `transport::foreign_error`.
            Raw::Custom(text) => match serde_json::from_str(&text) {
                Ok(problem) => Self::Api(Box::new(problem)),
                Err(_) => Self::Answer(text),
            },
        }
    }
}

/// reqwest says "builder error" and keeps what is wrong for the cause.
fn with_cause(error: &reqwest::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
