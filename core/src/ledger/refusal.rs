//! Why a command is refused: a closed list, each with the data to explain it and its stable code.

use serde::{Deserialize, Serialize};

use crate::catalogue::OveragePolicy;
use crate::credits::{AmountOutOfRange, Credits};
use crate::ids::{BlockId, FeatureKey, PackageId, ReservationId, SubscriptionId, TopupId, UsageId, VariantId};
use crate::problem::Code;
use crate::subscription::SubscriptionStatus;
use crate::subscription::machine::Happening;
use crate::time::Timestamp;

/// Why a command was refused. Nothing has changed but what time alone did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The feature's policy or the call says `block`, and there is not enough.
    #[error("the event costs {cost} and {spendable} can be spent; grant credits or use fewer units", cost = cost.get(), spendable = spendable.get())]
    InsufficientCredits {
        /// What the event costs.
        cost: Credits,
        /// What can be spent on the feature.
        spendable: Credits,
    },
    /// The debt would go below the feature's limit.
    #[error("the feature's debt would be {debt}, its overdraft limit is {limit}", debt = debt.get(), limit = limit.get())]
    OverdraftLimit {
        /// What the debt would be.
        debt: Credits,
        /// The limit.
        limit: Credits,
    },
    /// The same key was used for another event.
    #[error("this idempotency key belongs to a usage event with another payload; use a new key for a new event")]
    IdempotencyConflict,
    /// No such feature.
    #[error("there is no feature {0}; create it first")]
    FeatureUnknown(FeatureKey),
    /// The feature has no price.
    #[error("the feature {0} has no price in force and cannot be charged")]
    FeatureUnpriced(FeatureKey),
    /// `on_insufficient` asks for an overdraft that the feature does not allow.
    #[error("on_insufficient may only be overdraft or notify where the feature's overage_policy is one of them")]
    OverdraftNotAllowed {
        /// The feature's policy.
        policy: OveragePolicy,
    },
    /// `effective_at` of usage is outside its window.
    #[error("effective_at of usage must lie within 35 days before and 5 minutes after now ({now})")]
    OutsideLateWindow {
        /// The account's now.
        now: Timestamp,
    },
    /// A grant of nothing or less.
    #[error("the amount of a grant must be more than 0")]
    GrantNotPositive,
    /// A block that would end before it began.
    #[error("expires_at must be after both now ({now}) and effective_at")]
    GrantAlreadyExpired {
        /// The account's now.
        now: Timestamp,
    },
    /// A sum would leave the range of amounts.
    #[error(transparent)]
    AmountOutOfRange(AmountOutOfRangeRefusal),
    /// The account has as many live blocks as one may have.
    #[error("the account has 10000 live blocks; wait until some are used up or expire")]
    TooManyBlocks,
    /// No such variant.
    #[error("there is no plan variant {0}")]
    VariantUnknown(VariantId),
    /// A billing period without an end before the end of time.
    #[error("the billing period would end after the last instant that can be named; use a shorter one")]
    PeriodWithoutEnd,
    /// The end user has a live base subscription already.
    #[error("the end user already has a live base subscription ({0}); only one is possible")]
    BaseSubscriptionLive(SubscriptionId),
    /// An add-on without a live base, or with a fallback as base.
    #[error(
        "an add-on needs a live base subscription that is no fallback; subscribe the end user to a base plan first"
    )]
    NoBaseSubscription,
    /// Another base subscription is to begin.
    #[error("the subscription {0} is scheduled to begin; cancel it first")]
    SubscriptionScheduled(SubscriptionId),
    /// No such subscription.
    #[error("there is no subscription {0}")]
    SubscriptionUnknown(SubscriptionId),
    /// The subscription is in a state in which this cannot happen.
    #[error("{}", not_possible(*id, *from, *asked))]
    InvalidTransition {
        /// The subscription.
        id: SubscriptionId,
        /// The state it is in.
        from: SubscriptionStatus,
        /// What was asked for.
        asked: Happening,
    },
    /// The next period is paid for.
    #[error("the next period of the subscription {0} is renewed already; renew again in that period")]
    AlreadyRenewed(SubscriptionId),
    /// The period ends too late to be renewed now.
    #[error("the period can be renewed from {from} on")]
    RenewalNotDue {
        /// From when on it can.
        from: Timestamp,
    },
    /// Periods follow each other without renewal, or the subscription will be canceled.
    #[error("the subscription {0} is not renewed: it goes on by itself, or it will be canceled")]
    NotRenewable(SubscriptionId),
    /// The variant takes no new subscribers.
    #[error("the plan variant {0} is archived; use another one")]
    VariantArchived(VariantId),
    /// A change to what is there already.
    #[error("the subscription {0} is on this variant, version and quantity already")]
    NothingToChange(SubscriptionId),
    /// From a base plan to an add-on, or the other way round.
    #[error("a subscription cannot change between a base plan and an add-on")]
    OtherPlanKind,
    /// A start before now.
    #[error("start_at must not lie before now ({now})")]
    StartInPast {
        /// The account's now.
        now: Timestamp,
    },
    /// An imported period that does not run now.
    #[error("period_start must lie up to one period before now ({now}), without start_at")]
    ImportOutOfRange {
        /// The account's now.
        now: Timestamp,
    },
    /// A pause that would end before it began.
    #[error("resume_at must be after the pause begins ({from})")]
    ResumeNotAfterPause {
        /// When the pause begins.
        from: Timestamp,
    },
    /// The subscription is paused, and nothing else gives the feature.
    #[error("the subscription that gives the feature {0} is paused; resume it")]
    SubscriptionPaused(FeatureKey),
    /// The subscription is past due, and nothing else gives the feature.
    #[error("the subscription that gives the feature {0} is past due; renew it")]
    SubscriptionPastDue(FeatureKey),
    /// The end user's plan does not give the feature.
    #[error("the end user's plan does not give the feature {0}")]
    FeatureNotInPlan(FeatureKey),
    /// The end user has no plan, and the feature needs one.
    #[error("the feature {0} needs a plan, and the end user has none")]
    NoSubscription(FeatureKey),
    /// The feature is no metered one.
    #[error("the feature {0} is not metered: check it, there is nothing to consume")]
    NotMetered(FeatureKey),
    /// No such usage event.
    #[error("there is no usage event {0}")]
    UsageUnknown(UsageId),
    /// No such block.
    #[error("there is no block {0}")]
    BlockUnknown(BlockId),
    /// The block was voided or refunded before.
    #[error("the block {0} was ended before; nothing can be taken from it")]
    BlockEnded(BlockId),
    /// No such top-up.
    #[error("there is no top-up {0}")]
    TopupUnknown(TopupId),
    /// The payment was booked with another order.
    #[error("this payment_reference belongs to the top-up {0}, which says something else; a payment is booked once")]
    PaymentReferenceUsed(TopupId),
    /// The package is not sold any more.
    #[error("the top-up package {0} is archived; use another one")]
    PackageArchived(PackageId),
    /// A refund of nothing, or of more than there is.
    #[error("{}", refund_out_of_range(*left))]
    RefundOutOfRange {
        /// What was not refunded before.
        left: Credits,
    },
    /// No such reservation.
    #[error("there is no reservation {0}")]
    ReservationUnknown(ReservationId),
    /// The lease belongs to another run of a sidecar.
    #[error("the lease {0} belongs to another run of a sidecar")]
    LeaseOfAnother(ReservationId),
    /// The reservation was committed.
    #[error("the reservation {0} was committed and is closed")]
    ReservationCommitted(ReservationId),
    /// The reservation was released.
    #[error("the reservation {0} was released and is closed")]
    ReservationReleased(ReservationId),
    /// The reservation's time ran out.
    #[error("the reservation {0} has expired; commit it with late: \"debit\" to charge it as ordinary usage")]
    ReservationExpired(ReservationId),
    /// A commit above what was reserved, with `over_commit: reject`.
    #[error("the commit costs {cost}, the reservation has {reserved}", cost = cost.get(), reserved = reserved.get())]
    OverCommit {
        /// What the commit costs.
        cost: Credits,
        /// What is held, and what it could not hold.
        reserved: Credits,
    },
    /// A time to live beyond its bounds.
    #[error("a reservation lives 1 second to 24 hours")]
    TtlOutOfRange,
    /// The account has as many open reservations as one may have.
    #[error("the account has 1000 open reservations; commit or release some")]
    TooManyHolds,
    /// The account has as many overrides as one may have.
    #[error("the end user has 100 overrides; remove some")]
    TooManyOverrides,
    /// The end user has no override of the feature.
    #[error("the end user has no override of the feature {0}")]
    OverrideUnknown(FeatureKey),
    /// A correction by nothing.
    #[error("the amount of an adjustment must not be 0")]
    AdjustmentZero,
    /// A positive correction makes a block of its own.
    #[error("an adjustment above 0 makes a block of its own; leave block_id out")]
    AdjustmentNamesBlock,
}

/// The serialisable form of [`AmountOutOfRange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the resulting amount would leave the range of +-9007199254740991 (2^53 - 1)")]
pub struct AmountOutOfRangeRefusal;

impl From<AmountOutOfRange> for Refusal {
    fn from(_: AmountOutOfRange) -> Self {
        Self::AmountOutOfRange(AmountOutOfRangeRefusal)
    }
}

fn refund_out_of_range(left: Credits) -> String {
    if left.is_positive() {
        format!("the amount of a refund must be 1 to {}, what was not refunded before", left.get())
    } else {
        "the top-up was refunded in full before: there is nothing left to refund".to_owned()
    }
}

/// Names the operation and the state it is not possible in, and what helps where something does.
fn not_possible(id: SubscriptionId, from: SubscriptionStatus, asked: Happening) -> String {
    let operation = operation(asked);
    format!("the subscription {id} is {}: {operation} is not possible{}", from.name(), what_helps(from, asked))
}

/// An operation as the API names it.
const fn operation(asked: Happening) -> &'static str {
    match asked {
        Happening::Renew => "renew",
        Happening::MarkPaid => "mark_paid",
        Happening::MarkOverdue => "mark_overdue",
        Happening::Convert => "convert",
        Happening::ConvertAtTrialEnd => "convert at trial_end",
        Happening::Change | Happening::ChangeInTrial => "change",
        Happening::ChangeAtPeriodEnd => "change at period_end",
        Happening::Pause => "pause",
        Happening::PauseAtPeriodEnd => "pause at period_end",
        Happening::Resume => "resume",
        Happening::Cancel => "cancel",
        Happening::CancelAtPeriodEnd => "cancel at period_end",
        Happening::Uncancel => "uncancel",
        // Nobody asks for what time does.
        _ => "this",
    }
}

const fn what_helps(from: SubscriptionStatus, asked: Happening) -> &'static str {
    use Happening as H;
    use SubscriptionStatus as S;
    match (from, asked) {
        (S::Canceled | S::Expired, _) => "; it is over, create another one",
        (S::Scheduled, _) => "; until it starts it can only be canceled (at now)",
        (_, H::MarkPaid) => "; no payment of it is missing",
        (S::Trialing, H::MarkOverdue) => "; a trial is not paid for",
        (_, H::Convert | H::ConvertAtTrialEnd) => "; only a trial is converted",
        (S::Trialing, H::Renew) => "; convert it instead",
        (S::Trialing, H::ChangeAtPeriodEnd) => "; change it now",
        (S::Trialing, H::Pause | H::PauseAtPeriodEnd) => "; convert it first",
        (S::Paused, H::Resume) => "; it paused with its base subscription, resume that",
        (_, H::Resume) => "; only what is paused is resumed",
        (S::Paused, H::Pause) => "; it pauses already",
        (S::Paused, H::CancelAtPeriodEnd) => "; cancel it now, or resume it first",
        (S::Paused, _) => "; resume it first",
        (S::PastDue, H::MarkOverdue) => "; that a payment is missing is known",
        (S::PastDue, H::CancelAtPeriodEnd) => "; cancel it now, or pay for it first (renew or mark_paid)",
        (S::PastDue, _) => "; pay for it first (renew or mark_paid)",
        _ => "",
    }
}

impl Refusal {
    /// The stable code of the refusal over HTTP.
    pub const fn code(&self) -> Code {
        match self {
            Self::InsufficientCredits { .. } => Code::InsufficientCredits,
            Self::OverdraftLimit { .. } => Code::OverdraftLimit,
            Self::IdempotencyConflict => Code::IdempotencyConflict,
            Self::FeatureUnknown(_) => Code::FeatureUnknown,
            Self::FeatureUnpriced(_) => Code::FeatureUnpriced,
            Self::OverdraftNotAllowed { .. }
            | Self::OutsideLateWindow { .. }
            | Self::GrantNotPositive
            | Self::GrantAlreadyExpired { .. }
            | Self::PeriodWithoutEnd
            | Self::VariantArchived(_)
            | Self::OtherPlanKind
            | Self::StartInPast { .. }
            | Self::ImportOutOfRange { .. }
            | Self::ResumeNotAfterPause { .. }
            | Self::NotMetered(_)
            | Self::RefundOutOfRange { .. }
            | Self::PackageArchived(_)
            | Self::TtlOutOfRange
            | Self::AdjustmentZero
            | Self::AdjustmentNamesBlock => Code::ValidationFailed,
            Self::AmountOutOfRange(_) => Code::AmountOutOfRange,
            Self::TooManyBlocks => Code::TooManyBlocks,
            Self::VariantUnknown(_)
            | Self::SubscriptionUnknown(_)
            | Self::UsageUnknown(_)
            | Self::BlockUnknown(_)
            | Self::TopupUnknown(_)
            | Self::ReservationUnknown(_)
            | Self::OverrideUnknown(_) => Code::NotFound,
            Self::BaseSubscriptionLive(_)
            | Self::NoBaseSubscription
            | Self::SubscriptionScheduled(_)
            | Self::InvalidTransition { .. }
            | Self::NotRenewable(_)
            | Self::NothingToChange(_)
            | Self::BlockEnded(_)
            | Self::LeaseOfAnother(_)
            | Self::TooManyHolds
            | Self::TooManyOverrides => Code::InvalidTransition,
            Self::AlreadyRenewed(_) => Code::AlreadyRenewed,
            Self::RenewalNotDue { .. } => Code::RenewalNotDue,
            Self::SubscriptionPaused(_) => Code::SubscriptionPaused,
            Self::SubscriptionPastDue(_) => Code::SubscriptionPastDue,
            Self::FeatureNotInPlan(_) => Code::FeatureNotInPlan,
            Self::NoSubscription(_) => Code::NoSubscription,
            Self::PaymentReferenceUsed(_) => Code::IdempotencyConflict,
            Self::ReservationCommitted(_) => Code::ReservationCommitted,
            Self::ReservationReleased(_) => Code::ReservationReleased,
            Self::ReservationExpired(_) => Code::ReservationExpired,
            Self::OverCommit { .. } => Code::OverCommit,
        }
    }

    /// The request field that the refusal is about, as a JSON pointer.
    pub const fn pointer(&self) -> Option<&'static str> {
        match self {
            Self::OverdraftNotAllowed { .. } => Some("/on_insufficient"),
            Self::OutsideLateWindow { .. } => Some("/effective_at"),
            Self::GrantNotPositive => Some("/amount"),
            Self::GrantAlreadyExpired { .. } => Some("/expires_at"),
            Self::VariantUnknown(_) | Self::VariantArchived(_) | Self::OtherPlanKind => Some("/plan_variant_id"),
            Self::StartInPast { .. } => Some("/start_at"),
            Self::ImportOutOfRange { .. } => Some("/period_start"),
            Self::ResumeNotAfterPause { .. } => Some("/resume_at"),
            Self::NotMetered(_) => Some("/feature_key"),
            Self::PackageArchived(_) => Some("/package_id"),
            Self::RefundOutOfRange { .. } | Self::AdjustmentZero => Some("/amount"),
            Self::AdjustmentNamesBlock => Some("/block_id"),
            Self::TtlOutOfRange => Some("/ttl_seconds"),
            _ => None,
        }
    }
}
