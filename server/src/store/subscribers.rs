//! The subscribers of a variant: who has an earlier version of it.

use quotastack_core::ids::{EndUserId, SubscriptionId, VariantId};
use quotastack_core::subscription::Subscription;
use sqlx::Row;
use uuid::Uuid;

use crate::store::tx::Tx;
use crate::store::types::{LaneId, end_user_id, from_json, unsigned};

/// A live subscription to an earlier version of a variant.
#[derive(Debug, Clone)]
pub struct Subscriber {
    /// The subscription.
    pub subscription_id: SubscriptionId,
    /// Whose it is.
    pub end_user_id: EndUserId,
    /// As it is stored: what time has done since may not be in it.
    pub state: Subscription,
}

impl Tx {
    /// Up to `limit` live subscriptions of a lane to versions of a variant before `version`, after `after` in order of
    /// their ids.
    pub async fn list_subscribers(
        &mut self,
        lane_id: LaneId,
        variant_id: VariantId,
        version: u32,
        after: Option<SubscriptionId>,
        limit: usize,
    ) -> sqlx::Result<Vec<Subscriber>> {
        let rows = sqlx::query(
            "select s.subscription_id, a.end_user_id, s.state from subscriptions s
             join accounts a on a.lane_id = $1 and a.account_id = s.account_id
             where s.lane_id = $1 and s.live and s.variant_id = $2 and s.variant_version < $3 and s.subscription_id > $4
             order by s.subscription_id limit $5",
        )
        .bind(lane_id.0)
        .bind(variant_id.to_string())
        .bind(i64::from(version))
        .bind(after.map_or(Uuid::nil(), SubscriptionId::uuid))
        .bind(i64::try_from(limit).expect("pages are small"))
        .fetch_all(self.connection())
        .await?;
        let subscribers = rows.iter().map(|row| {
            Ok(Subscriber {
                subscription_id: SubscriptionId::from_uuid(row.try_get("subscription_id")?),
                end_user_id: end_user_id(row.try_get("end_user_id")?)?,
                state: from_json("state", row.try_get("state")?)?,
            })
        });
        subscribers.collect()
    }

    /// How many live subscriptions of these lanes are to versions of a variant before `version`; of one lane, after
    /// `after`.
    pub async fn count_subscribers(
        &mut self,
        lanes: &[LaneId],
        variant_id: VariantId,
        version: u32,
        after: Option<SubscriptionId>,
    ) -> sqlx::Result<u64> {
        let lanes: Vec<i64> = lanes.iter().map(|lane| lane.0).collect();
        let count: i64 = sqlx::query_scalar(
            "select count(*) from subscriptions
             where lane_id = any($1) and live and variant_id = $2 and variant_version < $3 and subscription_id > $4",
        )
        .bind(lanes)
        .bind(variant_id.to_string())
        .bind(i64::from(version))
        .bind(after.map_or(Uuid::nil(), SubscriptionId::uuid))
        .fetch_one(self.connection())
        .await?;
        unsigned("count", count)
    }
}
