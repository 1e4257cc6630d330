//! The state machine of subscriptions: [`next`], one pure function over every pair of state and happening.
//!
//! No pair is left to a wildcard: a new state or a new happening does not compile until each of its pairs is decided.
//! docs/subscriptions.md shows the table that a test makes of it. Every operation and all that time does moves
//! subscriptions through here and nowhere else.

use serde::{Deserialize, Serialize};

use crate::subscription::state::SubscriptionStatus;

/// What can happen to a subscription: what callers ask for, then what time and other subscriptions do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// The next period is paid for, or after an unrenewed end the one that has begun.
    Renew,
    /// A payment that had failed, or was missing, arrived.
    MarkPaid,
    /// A payment failed.
    MarkOverdue,
    /// The trial becomes a subscription now.
    Convert,
    /// The trial will become one at its end.
    ConvertAtTrialEnd,
    /// Another variant, version or quantity from now on.
    Change,
    /// The same inside a trial, with the same end.
    ChangeInTrial,
    /// Another variant, version or quantity from the end of the period on.
    ChangeAtPeriodEnd,
    /// It pauses now.
    Pause,
    /// It will pause at the end of the period.
    PauseAtPeriodEnd,
    /// It goes on after a pause.
    Resume,
    /// It is over now.
    Cancel,
    /// It will be over at the end of the last paid period.
    CancelAtPeriodEnd,
    /// What was asked for the end of the period is taken back.
    Uncancel,
    /// Its start has come, with a trial.
    StartsInTrial,
    /// Its start has come.
    Starts,
    /// The trial ends and converts.
    TrialConverts,
    /// The trial ends and was all.
    TrialExpires,
    /// A period ends and the next one begins.
    PeriodTurns,
    /// A period ends and the next one is not paid for.
    PeriodUnpaid,
    /// Nobody paid within the grace period.
    GraceEnds,
    /// The instant of a pause has come.
    PauseFallsDue,
    /// The end of a pause has come.
    ResumeFallsDue,
    /// The instant of a cancellation has come.
    CancelFallsDue,
    /// The contract's term is over and another follows.
    ContractRenews,
    /// The contract's term is over.
    ContractEnds,
    /// Of a fallback: the end user has subscribed to something else.
    Replaced,
    /// Of an add-on: the base is over. Of a scheduled one: there is no room for it at its start.
    BaseEnds,
    /// Of an add-on: the base pauses.
    BasePauses,
    /// Of an add-on: the base goes on.
    BaseResumes,
}

impl Happening {
    /// Every happening.
    pub const ALL: [Self; 30] = [
        Self::Renew,
        Self::MarkPaid,
        Self::MarkOverdue,
        Self::Convert,
        Self::ConvertAtTrialEnd,
        Self::Change,
        Self::ChangeInTrial,
        Self::ChangeAtPeriodEnd,
        Self::Pause,
        Self::PauseAtPeriodEnd,
        Self::Resume,
        Self::Cancel,
        Self::CancelAtPeriodEnd,
        Self::Uncancel,
        Self::StartsInTrial,
        Self::Starts,
        Self::TrialConverts,
        Self::TrialExpires,
        Self::PeriodTurns,
        Self::PeriodUnpaid,
        Self::GraceEnds,
        Self::PauseFallsDue,
        Self::ResumeFallsDue,
        Self::CancelFallsDue,
        Self::ContractRenews,
        Self::ContractEnds,
        Self::Replaced,
        Self::BaseEnds,
        Self::BasePauses,
        Self::BaseResumes,
    ];

    /// Where it leads from most states: what a refusal names as the state that was asked for.
    pub const fn aim(self) -> SubscriptionStatus {
        use SubscriptionStatus as S;
        match self {
            Self::Renew
            | Self::MarkPaid
            | Self::Convert
            | Self::ConvertAtTrialEnd
            | Self::Change
            | Self::ChangeAtPeriodEnd
            | Self::Resume
            | Self::Uncancel
            | Self::Starts
            | Self::TrialConverts
            | Self::PeriodTurns
            | Self::ResumeFallsDue
            | Self::ContractRenews
            | Self::BaseResumes => S::Active,
            Self::ChangeInTrial | Self::StartsInTrial => S::Trialing,
            Self::MarkOverdue | Self::PeriodUnpaid => S::PastDue,
            Self::Pause | Self::PauseAtPeriodEnd | Self::PauseFallsDue | Self::BasePauses => S::Paused,
            Self::Cancel | Self::CancelAtPeriodEnd | Self::CancelFallsDue | Self::Replaced | Self::BaseEnds => {
                S::Canceled
            }
            Self::TrialExpires | Self::GraceEnds | Self::ContractEnds => S::Expired,
        }
    }
}

/// The state after `happening` in `state`; `None` = it cannot happen there.
pub const fn next(state: SubscriptionStatus, happening: Happening) -> Option<SubscriptionStatus> {
    use Happening as H;
    use SubscriptionStatus as S;
    match happening {
        H::Renew => match state {
            S::Active | S::PastDue => Some(S::Active),
            S::Paused => Some(S::Paused),
            S::Scheduled | S::Trialing | S::Canceled | S::Expired => None,
        },
        H::MarkPaid => match state {
            S::PastDue => Some(S::Active),
            S::Scheduled | S::Trialing | S::Active | S::Paused | S::Canceled | S::Expired => None,
        },
        H::MarkOverdue => match state {
            S::Active => Some(S::PastDue),
            S::Scheduled | S::Trialing | S::PastDue | S::Paused | S::Canceled | S::Expired => None,
        },
        H::Convert | H::TrialConverts => match state {
            S::Trialing => Some(S::Active),
            S::Scheduled | S::Active | S::PastDue | S::Paused | S::Canceled | S::Expired => None,
        },
        H::ConvertAtTrialEnd | H::ChangeInTrial => match state {
            S::Trialing => Some(S::Trialing),
            S::Scheduled | S::Active | S::PastDue | S::Paused | S::Canceled | S::Expired => None,
        },
        H::Change => match state {
            S::Trialing | S::Active | S::PastDue => Some(S::Active),
            S::Scheduled | S::Paused | S::Canceled | S::Expired => None,
        },
        H::ChangeAtPeriodEnd | H::PauseAtPeriodEnd => match state {
            S::Active => Some(S::Active),
            S::Scheduled | S::Trialing | S::PastDue | S::Paused | S::Canceled | S::Expired => None,
        },
        H::Pause | H::PauseFallsDue | H::BasePauses => match state {
            S::Active => Some(S::Paused),
            S::Scheduled | S::Trialing | S::PastDue | S::Paused | S::Canceled | S::Expired => None,
        },
        H::Resume | H::ResumeFallsDue | H::BaseResumes => match state {
            S::Paused => Some(S::Active),
            S::Scheduled | S::Trialing | S::Active | S::PastDue | S::Canceled | S::Expired => None,
        },
        H::Cancel | H::BaseEnds => match state {
            S::Scheduled | S::Trialing | S::Active | S::PastDue | S::Paused => Some(S::Canceled),
            S::Canceled | S::Expired => None,
        },
        H::CancelAtPeriodEnd | H::Uncancel => match state {
            S::Trialing => Some(S::Trialing),
            S::Active => Some(S::Active),
            S::Scheduled | S::PastDue | S::Paused | S::Canceled | S::Expired => None,
        },
        H::StartsInTrial => match state {
            S::Scheduled => Some(S::Trialing),
            S::Trialing | S::Active | S::PastDue | S::Paused | S::Canceled | S::Expired => None,
        },
        H::Starts => match state {
            S::Scheduled => Some(S::Active),
            S::Trialing | S::Active | S::PastDue | S::Paused | S::Canceled | S::Expired => None,
        },
        H::TrialExpires => match state {
            S::Trialing => Some(S::Expired),
            S::Scheduled | S::Active | S::PastDue | S::Paused | S::Canceled | S::Expired => None,
        },
        H::PeriodTurns | H::ContractRenews => match state {
            S::Active => Some(S::Active),
            S::PastDue => Some(S::PastDue),
            S::Scheduled | S::Trialing | S::Paused | S::Canceled | S::Expired => None,
        },
        H::PeriodUnpaid => match state {
            S::Active | S::PastDue => Some(S::PastDue),
            S::Scheduled | S::Trialing | S::Paused | S::Canceled | S::Expired => None,
        },
        H::GraceEnds => match state {
            S::PastDue => Some(S::Expired),
            S::Scheduled | S::Trialing | S::Active | S::Paused | S::Canceled | S::Expired => None,
        },
        H::CancelFallsDue => match state {
            S::Trialing | S::Active | S::PastDue => Some(S::Canceled),
            S::Scheduled | S::Paused | S::Canceled | S::Expired => None,
        },
        H::ContractEnds => match state {
            S::Active | S::PastDue => Some(S::Expired),
            S::Scheduled | S::Trialing | S::Paused | S::Canceled | S::Expired => None,
        },
        H::Replaced => match state {
            S::Trialing | S::Active | S::PastDue | S::Paused => Some(S::Canceled),
            S::Scheduled | S::Canceled | S::Expired => None,
        },
    }
}
