//! What can go wrong with a request, each with the stable code that callers see.

use quotastack_core::ledger::refusal::Refusal;
use quotastack_core::problem::Code;
use quotastack_core::time::Timestamp;

use crate::store::tx::is_retryable;

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The rules refuse the command.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A field says what it may not; the pointer names it.
    #[error("{detail}")]
    Invalid {
        /// JSON pointer into the request.
        pointer: String,
        /// What to do.
        detail: String,
    },
    /// The thing named in the path, or referred to, does not exist here.
    #[error("{0}")]
    NotFound(String),
    /// Something of this name exists already.
    #[error("{0}")]
    AlreadyExists(String),
    /// As things stand it cannot be done.
    #[error("{0}")]
    NotPossible(String),
    /// The `Idempotency-Key` belongs to another request.
    #[error("this Idempotency-Key was used for a request with another body; use a new key for a new request")]
    KeyReused,
    /// No key, or none that is valid.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The key lacks a scope.
    #[error("the API key lacks the scope {scope}; use a key that has it")]
    Forbidden {
        /// The missing scope.
        scope: &'static str,
    },
    /// There was no room or no time to carry it out.
    #[error("the server is busy; nothing was done, try again")]
    Overloaded,
    /// What is asked for lies behind more entries than one request reads; those read need not be read again.
    #[error("this end user's history is being read up to there; ask again")]
    NotReadYet,
    /// The database is away; nothing was done.
    #[error("the database did not answer; nothing was done, try again")]
    Unavailable,
    /// The database did not say whether it was done; the same key finds out.
    #[error("it is not known whether the change was made; send the same request with the same key again")]
    OutcomeUnknown,
    /// The sandbox clock is set, and not all that became due is written yet; the same key goes on.
    #[error(
        "the clock is set, its present was {now}, and what became due is still being written; send the same request with the same key again, or set the clock to its present, until the answer is 200"
    )]
    CatchingUp {
        /// The clock's present when it was set.
        now: Timestamp,
    },
    /// A fault of ours.
    #[error("an internal error occurred; the request_id helps us to find it")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl AppError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Invalid { .. } => Code::ValidationFailed,
            Self::NotFound(_) => Code::NotFound,
            Self::AlreadyExists(_) => Code::AlreadyExists,
            Self::NotPossible(_) => Code::InvalidTransition,
            Self::KeyReused => Code::IdempotencyKeyReused,
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::Forbidden { .. } => Code::Forbidden,
            Self::Overloaded | Self::NotReadYet | Self::Unavailable => Code::Overloaded,
            Self::OutcomeUnknown => Code::OutcomeUnknown,
            Self::CatchingUp { .. } => Code::CatchingUp,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// The request field that the error is about.
    pub fn pointer(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => refusal.pointer(),
            Self::Invalid { pointer, .. } => Some(pointer),
            _ => None,
        }
    }

    /// A field that says what it may not.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid { pointer: pointer.into(), detail: detail.into() }
    }
}

impl From<sqlx::Error> for AppError {
    fn from(error: sqlx::Error) -> Self {
        if is_retryable(&error) {
            tracing::warn!(%error, "the database did not answer");
            Self::Unavailable
        } else {
            Self::Internal(Box::new(error))
        }
    }
}
