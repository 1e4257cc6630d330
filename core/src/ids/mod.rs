//! Names of things: TypeIDs that we mint ([`typed`]) and the tenant's own strings ([`text`]).
//!
//! Ids are minted outside and handed in. The last byte of an account-scoped id is its end user's [`bucket`], so
//! that an id finds its lane without a lookup.

mod bucket;
mod text;
mod typed;

pub use bucket::{Bucket, LaneCount, bucket};
pub use text::{EndUserId, FeatureKey, IdempotencyKey, InvalidText};
pub use typed::{
    AccountId, BlockId, EventId, InvalidId, KeyId, PlanId, SidecarId, SubscriptionId, TenantId, UsageId, VariantId,
    uuid_v7,
};
