//! Names of things: TypeIDs that we mint ([`typed`]) and the tenant's own strings ([`text`]).
//!
//! Ids are minted outside and handed in. The last byte of an account-scoped id is its end user's [`bucket`], so
//! that an id finds its lane without a lookup.

mod bucket;
mod text;
mod typed;

pub use bucket::{Bucket, LaneCount, bucket};
pub use text::{CapGroup, EndUserId, FeatureKey, IdempotencyKey, InvalidText, PaymentReference};
pub use typed::{
    AccountId, BlockId, EventId, InvalidId, KeyId, PackageId, PlanId, ReservationId, SidecarId, SubscriptionId,
    TenantId, TopupId, UsageId, VariantId, uuid_v7,
};
