//! Commands: what a caller can ask of an account, what comes of it, and why it may be refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalogue::OveragePolicy;
use crate::credits::{AmountOutOfRange, Credits, Units};
use crate::ids::{Bucket, EventId, FeatureKey, IdempotencyKey, UsageId, VariantId, uuid_v7};
use crate::ledger::block::{Block, BlockKind};
use crate::ledger::entry::{Actor, Allocation};
use crate::ledger::wallet::Totals;
use crate::problem::Code;
use crate::subscription::Subscription;
use crate::time::Timestamp;

/// A command with everything fixed that a repeated run must find unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The instant of the command, before lane and account time are taken into account.
    pub now: Timestamp,
    /// Who asks.
    pub actor: Actor,
    /// From which all ids minted on the way are derived.
    pub seed: [u8; 16],
    /// What is asked.
    pub command: Command,
}

/// What can be asked of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Grant a block of credit.
    Grant(Grant),
    /// Record usage.
    Usage(Usage),
    /// Subscribe to a variant of a plan.
    Subscribe(Subscribe),
}

/// Grant a block of credit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Promo, top-up or adjustment.
    pub kind: BlockKind,
    /// More than 0.
    pub amount: Credits,
    /// Burn priority, 0 first.
    pub priority: u8,
    /// From when it counts; `None` = now.
    pub effective_at: Option<Timestamp>,
    /// When it ends; `None` = never.
    pub expires_at: Option<Timestamp>,
    /// Whether something was paid for it.
    pub paid: bool,
    /// Whether it pays debts.
    pub settles_debt: bool,
    /// Sorted and distinct; empty = any feature.
    pub feature_keys: Vec<FeatureKey>,
}

/// What the caller wants done where credit runs short, beside the feature's policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnInsufficient {
    /// Refuse.
    Block,
    /// Take what is there.
    Cap,
    /// Owe the rest; only where the policy is `overdraft` or `notify`.
    Overdraft,
    /// As overdraft, with a notice.
    Notify,
}

/// One usage event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Its id, minted before the first attempt.
    pub id: UsageId,
    /// Unique per end user for ever.
    pub key: IdempotencyKey,
    /// What was used.
    pub feature_key: FeatureKey,
    /// How much.
    pub units: Units,
    /// Properties of the event, sorted by name.
    pub properties: BTreeMap<String, String>,
    /// When, if the caller said so.
    pub effective_at: Option<Timestamp>,
    /// What to do on a shortfall; `None` = the feature's policy.
    pub on_insufficient: Option<OnInsufficient>,
    /// Set by a sidecar that has acknowledged the event: when it was admitted. Such an event is always recorded; a
    /// shortfall becomes debt, whatever the policy.
    pub admitted_at: Option<Timestamp>,
}

impl Usage {
    /// What makes a repeat the same event: feature, units, properties, and the time if the caller gave one.
    pub fn fingerprint(&self) -> Fingerprint {
        let payload = (&self.feature_key, self.units, &self.properties, self.effective_at);
        let bytes = postcard::to_stdvec(&payload).expect("a payload has no form that postcard refuses");
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
        fingerprint
    }
}

/// The first 16 bytes of BLAKE3 over a payload.
pub type Fingerprint = [u8; 16];

/// Subscribe to the latest version of a variant, from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// The variant.
    pub variant_id: VariantId,
    /// Seats, at least 1.
    pub quantity: u32,
}

/// A recorded usage event, and all that its first answer said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// Its id.
    pub id: UsageId,
    /// Its key.
    pub key: IdempotencyKey,
    /// Of the first payload.
    pub fingerprint: Fingerprint,
    /// What was used.
    pub feature_key: FeatureKey,
    /// How much.
    pub units: Units,
    /// Properties of the event.
    pub properties: BTreeMap<String, String>,
    /// Its price.
    pub cost: Credits,
    /// What was taken or is owed; less than `cost` only where it was capped.
    pub charged: Credits,
    /// When it counts.
    pub effective_at: Timestamp,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// `seq` of its `usage` entry.
    pub seq: u64,
    /// The account's totals with it.
    pub totals: Totals,
    /// The account's version with it.
    pub version: u64,
    /// Which blocks paid, as amounts taken.
    pub allocations: Vec<Allocation>,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A block was granted.
    Granted {
        /// The block, after it has paid the debts it may pay.
        block: Block,
        /// The account's totals.
        totals: Totals,
        /// The account's version.
        version: u64,
        /// The instant of the grant.
        now: Timestamp,
    },
    /// Usage was recorded, now or (`replayed`) before.
    Used {
        /// The record.
        record: UsageRecord,
        /// Whether this is a repeat of an event already recorded.
        replayed: bool,
    },
    /// A subscription was created.
    Subscribed {
        /// Its state.
        subscription: Subscription,
    },
}

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
    BaseSubscriptionLive(crate::ids::SubscriptionId),
    /// An add-on without a live base.
    #[error("an add-on needs a live base subscription; subscribe the end user to a base plan first")]
    NoBaseSubscription,
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
            | Self::PeriodWithoutEnd => Code::ValidationFailed,
            Self::AmountOutOfRange(_) => Code::AmountOutOfRange,
            Self::TooManyBlocks => Code::TooManyBlocks,
            Self::VariantUnknown(_) => Code::NotFound,
            Self::BaseSubscriptionLive(_) | Self::NoBaseSubscription => Code::InvalidTransition,
        }
    }

    /// The request field that the refusal is about, as a JSON pointer.
    pub const fn pointer(&self) -> Option<&'static str> {
        match self {
            Self::OverdraftNotAllowed { .. } => Some("/on_insufficient"),
            Self::OutsideLateWindow { .. } => Some("/effective_at"),
            Self::GrantNotPositive => Some("/amount"),
            Self::GrantAlreadyExpired { .. } => Some("/expires_at"),
            Self::VariantUnknown(_) => Some("/plan_variant_id"),
            _ => None,
        }
    }
}

/// Mints the ids of one command from its seed, the same ones at every run. Events have a series of their own: what
/// time did before the command announces some of them, and that may differ between two runs.
#[derive(Debug)]
pub struct IdMint {
    now: Timestamp,
    seed: [u8; 16],
    bucket: Bucket,
    things: u32,
    events: u32,
}

impl IdMint {
    /// A mint for a command of an account in `bucket`.
    pub const fn new(now: Timestamp, seed: [u8; 16], bucket: Bucket) -> Self {
        Self { now, seed, bucket, things: 0, events: 0 }
    }

    /// The next id of a block or a subscription.
    pub fn next_uuid(&mut self) -> uuid::Uuid {
        self.things += 1;
        self.mint(b't', self.things)
    }

    /// The next id of an event.
    pub fn next_event_id(&mut self) -> EventId {
        self.events += 1;
        EventId::from_uuid(self.mint(b'e', self.events))
    }

    fn mint(&self, series: u8, count: u32) -> uuid::Uuid {
        let mut input = [0; 21];
        input[..16].copy_from_slice(&self.seed);
        input[16] = series;
        input[17..].copy_from_slice(&count.to_be_bytes());
        let mut random = [0; 10];
        random.copy_from_slice(&blake3::hash(&input).as_bytes()[..10]);
        uuid_v7(self.now, random, Some(self.bucket))
    }
}
