//! Commands: what a caller can ask of an account. What comes of them: [`super::outcome`], [`super::refusal`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::credits::{Credits, Units};
use crate::entitlement::terms::Override;
use crate::ids::{
    BlockId, CapGroup, FeatureKey, IdempotencyKey, PackageId, PaymentReference, ReservationId, SidecarId, TopupId,
    UsageId,
};
use crate::ledger::block::BlockKind;
use crate::ledger::entry::Actor;
use crate::ledger::quote::PricedBy;
use crate::subscription::order::{Subscribe, SubscriptionOrder};
use crate::time::{Period, Timestamp};

/// Properties of an event, sorted by name.
pub type Properties = BTreeMap<String, String>;

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
    /// Record usage: work that was done.
    Usage(Usage),
    /// Subscribe to a variant of a plan.
    Subscribe(Subscribe),
    /// Ask something of a subscription.
    Subscription(SubscriptionOrder),
    /// Record usage if the end user may: work that is about to be done.
    Consume(Usage),
    /// Undo usage.
    Void(Void),
    /// Set credit aside if the end user may.
    Reserve(Reserve),
    /// Turn what a reservation holds into usage.
    Commit(Commit),
    /// Give back what a reservation holds.
    Release(ReservationId),
    /// Let a reservation live longer.
    Extend(Extend),
    /// Set credit aside that a sidecar may spend without asking.
    OpenLease(OpenLease),
    /// Give back what a lease holds.
    ReturnLease(ReturnLease),
    /// Correct the balance.
    Adjust(Adjust),
    /// End a block.
    VoidBlock(VoidBlock),
    /// Grant credit that was bought.
    TopUp(TopupOrder),
    /// Take back credit that was bought.
    Refund(Refund),
    /// Give the end user terms of their own.
    SetOverride(Override),
    /// Take the end user's own terms for a feature away.
    RemoveOverride(FeatureKey),
    /// Write down what time alone has done.
    Advance,
}

impl Command {
    /// The usage event that it would record, if it is known before.
    pub const fn usage(&self) -> Option<&Usage> {
        match self {
            Self::Usage(usage) | Self::Consume(usage) => Some(usage),
            _ => None,
        }
    }
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
    /// Whose accumulation cap it counts against.
    pub cap_group: Option<CapGroup>,
    /// What the usable blocks of its cap group may have in all.
    pub accumulation_cap: Option<Credits>,
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
    /// Properties of the event.
    pub properties: Properties,
    /// When, if the caller said so.
    pub effective_at: Option<Timestamp>,
    /// What to do on a shortfall; `None` = the feature's policy.
    pub on_insufficient: Option<OnInsufficient>,
    /// Set by a sidecar that has acknowledged the event: when it was admitted. Such an event is always recorded; a
    /// shortfall becomes debt, whatever the policy.
    pub admitted_at: Option<Timestamp>,
    /// Set where a sidecar has admitted it under a lease.
    pub leased: Option<Leased>,
}

impl Usage {
    /// What makes a repeat the same event: feature, units, properties, and the time if the caller gave one.
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint_of(&(&self.feature_key, self.units, &self.properties, self.effective_at))
    }
}

/// What an event that was admitted under a lease cost there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leased {
    /// The lease.
    pub id: ReservationId,
    /// 0 or more; what the ledger books.
    pub cost: Credits,
    /// Which price said so.
    pub priced_by: PricedBy,
}

/// Who holds a lease: one run of one sidecar. No other run spends or returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHolder {
    /// The sidecar.
    pub sidecar_id: SidecarId,
    /// Random at each of its starts.
    pub run_id: [u8; 16],
}

/// Set credit aside that a sidecar may spend without asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenLease {
    /// Its id, minted by the sidecar.
    pub id: ReservationId,
    /// Who asks.
    pub holder: LeaseHolder,
    /// What it is for.
    pub feature_key: FeatureKey,
    /// Less than this is of no use; 0 or more.
    pub need: Credits,
    /// More than this is not asked for.
    pub want: Credits,
}

/// Give back what a lease holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnLease {
    /// The lease.
    pub id: ReservationId,
    /// Who gives.
    pub holder: LeaseHolder,
    /// How much in all since it was opened: a repeat gives nothing more.
    pub returned: Credits,
}

/// The first 16 bytes of BLAKE3 over a payload.
pub type Fingerprint = [u8; 16];

fn fingerprint_of(payload: &impl Serialize) -> Fingerprint {
    let bytes = postcard::to_stdvec(payload).expect("a payload has no form that postcard refuses");
    let mut fingerprint = [0; 16];
    fingerprint.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
    fingerprint
}

/// Undo a usage event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Void {
    /// The event.
    pub usage_id: UsageId,
    /// Why, in the caller's words.
    pub reason: Option<String>,
}

/// Set credit aside for work whose extent is not known yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserve {
    /// Its id, minted before the first attempt.
    pub id: ReservationId,
    /// What it is for.
    pub feature_key: FeatureKey,
    /// The estimate.
    pub units: Units,
    /// Properties of the event.
    pub properties: Properties,
    /// How long it lives, in microseconds.
    pub ttl_micros: i64,
    /// What to do on a shortfall; `None` = the feature's policy.
    pub on_insufficient: Option<OnInsufficient>,
}

/// What a commit does with a cost above what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverCommit {
    /// Takes the difference in burn order, then follows the feature's policy.
    #[default]
    Draw,
    /// Charges no more than what was reserved.
    Cap,
    /// Refuses.
    Reject,
}

/// Turn what a reservation holds into usage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// The id of the usage, minted before the first attempt.
    pub usage_id: UsageId,
    /// Units of this commit.
    pub units: Units,
    /// Whether it closes the reservation.
    pub is_final: bool,
    /// What to do above what is held.
    pub over_commit: OverCommit,
    /// Whether a commit after the reservation's end becomes ordinary usage.
    pub debit_late: bool,
}

/// Let a reservation live longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extend {
    /// The reservation.
    pub reservation_id: ReservationId,
    /// How long from now, in microseconds.
    pub ttl_micros: i64,
}

/// Correct the balance by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjust {
    /// Signed, not 0.
    pub amount: Credits,
    /// Why.
    pub reason: String,
    /// Below 0: the block to take from.
    pub block_id: Option<BlockId>,
    /// Below 0: take from what may pay for this feature. Above 0: the scope of the new block.
    pub feature_key: Option<FeatureKey>,
    /// Whether what is not there becomes debt.
    pub allow_negative: bool,
    /// Above 0: burn priority of the new block.
    pub priority: u8,
    /// Above 0: when the new block ends.
    pub expires_at: Option<Timestamp>,
}

/// End a block before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoidBlock {
    /// The block.
    pub block_id: BlockId,
    /// Why.
    pub reason: String,
}

/// Grant credit that was bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopupOrder {
    /// Its id, minted before the first attempt.
    pub id: TopupId,
    /// The payment; unique per end user for ever.
    pub payment_reference: PaymentReference,
    /// The package, if it is one.
    pub package_id: Option<PackageId>,
    /// What was paid, in the currency's smallest unit.
    pub price_paid: Option<Credits>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// The block.
    pub grant: Grant,
    /// Whether it can be bought now; a repeat of a payment is answered all the same.
    pub is_on_sale: bool,
    /// When the block ends, counted from the top-up; where `grant` does not say.
    pub expires_after: Option<Period>,
}

impl TopupOrder {
    /// What makes a repeat the same order.
    pub fn fingerprint(&self) -> Fingerprint {
        // What a package is may change between two requests; that it was this one does not.
        let bought = self.package_id.is_none().then_some((self.grant.amount, self.price_paid, &self.currency));
        let rules = self.package_id.is_none().then_some((&self.grant.feature_keys, self.grant.priority));
        fingerprint_of(&(self.package_id, bought, rules, self.grant.expires_at))
    }
}

/// Take back credit that was bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// The top-up.
    pub topup_id: TopupId,
    /// How much; `None` = all that was not refunded before.
    pub amount: Option<Credits>,
    /// Whether what was spent is owed.
    pub claw_back_spent: bool,
    /// Why, in the caller's words.
    pub reason: Option<String>,
}
