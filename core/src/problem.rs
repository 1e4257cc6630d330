//! The closed list of error codes, each with its HTTP status and title. Server and sidecar answer alike.
//!
//! Source: openapi.yaml, "Errors".

/// A stable error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// No key, or none that we know.
    Unauthenticated,
    /// The key lacks a scope.
    Forbidden,
    /// No such thing, here.
    NotFound,
    /// No such method for this path.
    MethodNotAllowed,
    /// The body has another media type.
    UnsupportedMediaType,
    /// A field has a wrong value, or is unknown.
    ValidationFailed,
    /// An amount beyond 2^53 - 1.
    AmountOutOfRange,
    /// The `Idempotency-Key` was used for another request.
    IdempotencyKeyReused,
    /// The usage key was used for another event.
    IdempotencyConflict,
    /// Not enough credit.
    InsufficientCredits,
    /// Debt would pass the limit.
    OverdraftLimit,
    /// Not possible in this state.
    InvalidTransition,
    /// Something of this name exists.
    AlreadyExists,
    /// The feature does not exist.
    FeatureUnknown,
    /// The feature has no price.
    FeatureUnpriced,
    /// The account has too many live blocks.
    TooManyBlocks,
    /// The end user's plan does not give the feature.
    FeatureNotInPlan,
    /// The feature needs a plan, and the end user has none.
    NoSubscription,
    /// The subscription that gives the feature is paused.
    SubscriptionPaused,
    /// The subscription that gives the feature is past due.
    SubscriptionPastDue,
    /// The next period is renewed.
    AlreadyRenewed,
    /// The period cannot be renewed yet.
    RenewalNotDue,
    /// The reservation was committed.
    ReservationCommitted,
    /// The reservation was released.
    ReservationReleased,
    /// The reservation's time ran out.
    ReservationExpired,
    /// The commit costs more than was reserved.
    OverCommit,
    /// The operation exists for sandbox keys only.
    SandboxOnly,
    /// The body is too large.
    PayloadTooLarge,
    /// No room to queue, or no answer in time; nothing was done.
    Overloaded,
    /// The database did not say whether it was done; the same key finds out.
    OutcomeUnknown,
    /// The sandbox clock is set, and not all that became due is written yet; the same key goes on.
    CatchingUp,
    /// The sidecar's outbox is full; nothing was recorded.
    OutboxFull,
    /// The server cannot be reached and the sidecar cannot answer alone.
    UpstreamUnavailable,
    /// A fault of ours.
    Internal,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 34] = [
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::UnsupportedMediaType,
        Self::ValidationFailed,
        Self::AmountOutOfRange,
        Self::IdempotencyKeyReused,
        Self::IdempotencyConflict,
        Self::InsufficientCredits,
        Self::OverdraftLimit,
        Self::InvalidTransition,
        Self::AlreadyExists,
        Self::FeatureUnknown,
        Self::FeatureUnpriced,
        Self::TooManyBlocks,
        Self::FeatureNotInPlan,
        Self::NoSubscription,
        Self::SubscriptionPaused,
        Self::SubscriptionPastDue,
        Self::AlreadyRenewed,
        Self::RenewalNotDue,
        Self::ReservationCommitted,
        Self::ReservationReleased,
        Self::ReservationExpired,
        Self::OverCommit,
        Self::SandboxOnly,
        Self::PayloadTooLarge,
        Self::Overloaded,
        Self::OutcomeUnknown,
        Self::CatchingUp,
        Self::OutboxFull,
        Self::UpstreamUnavailable,
        Self::Internal,
    ];

    /// Code text, HTTP status and title.
    const fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::Unauthenticated => ("unauthenticated", 401, "The API key is missing or not valid"),
            Self::Forbidden => ("forbidden", 403, "The API key lacks a scope"),
            Self::NotFound => ("not_found", 404, "Not found"),
            Self::MethodNotAllowed => ("method_not_allowed", 405, "Method not allowed"),
            Self::UnsupportedMediaType => ("unsupported_media_type", 415, "Unsupported media type"),
            Self::ValidationFailed => ("validation_failed", 422, "The request is not valid"),
            Self::AmountOutOfRange => ("amount_out_of_range", 422, "The amount is out of range"),
            Self::IdempotencyKeyReused => {
                ("idempotency_key_reused", 422, "The idempotency key was used for another request")
            }
            Self::IdempotencyConflict => ("idempotency_conflict", 409, "The usage key was used for another event"),
            Self::InsufficientCredits => ("insufficient_credits", 402, "Insufficient credits"),
            Self::OverdraftLimit => ("overdraft_limit", 402, "Overdraft limit reached"),
            Self::InvalidTransition => ("invalid_transition", 409, "Not possible in this state"),
            Self::AlreadyExists => ("already_exists", 409, "Already exists"),
            Self::FeatureUnknown => ("feature_unknown", 409, "Unknown feature"),
            Self::FeatureUnpriced => ("feature_unpriced", 409, "The feature has no price"),
            Self::TooManyBlocks => ("too_many_blocks", 409, "Too many live blocks"),
            Self::FeatureNotInPlan => ("feature_not_in_plan", 409, "Not in the end user's plan"),
            Self::NoSubscription => ("no_subscription", 409, "The end user has no plan"),
            Self::SubscriptionPaused => ("subscription_paused", 409, "The subscription is paused"),
            Self::SubscriptionPastDue => ("subscription_past_due", 409, "The subscription is past due"),
            Self::AlreadyRenewed => ("already_renewed", 409, "The next period is renewed already"),
            Self::RenewalNotDue => ("renewal_not_due", 409, "The period cannot be renewed yet"),
            Self::ReservationCommitted => ("reservation_committed", 409, "The reservation was committed"),
            Self::ReservationReleased => ("reservation_released", 409, "The reservation was released"),
            Self::ReservationExpired => ("reservation_expired", 409, "The reservation has expired"),
            Self::OverCommit => ("over_commit", 409, "The commit costs more than was reserved"),
            Self::SandboxOnly => ("sandbox_only", 409, "Only in the sandbox"),
            Self::PayloadTooLarge => ("payload_too_large", 413, "The request body is too large"),
            Self::Overloaded => ("overloaded", 503, "Overloaded"),
            Self::OutcomeUnknown => ("outcome_unknown", 503, "Not known whether it was done"),
            Self::CatchingUp => ("catching_up", 503, "The clock is set and the ledger is catching up"),
            Self::OutboxFull => ("outbox_full", 503, "The outbox is full"),
            Self::UpstreamUnavailable => ("upstream_unavailable", 503, "The server cannot be reached"),
            Self::Internal => ("internal", 500, "Internal error"),
        }
    }

    /// The code as callers see it.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        self.row().1
    }

    /// A short title for people.
    pub const fn title(self) -> &'static str {
        self.row().2
    }

    /// The code of this text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}
