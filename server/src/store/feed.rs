//! The feed of a lane, read back from the database: for readers that have fallen out of the ring, and for commits
//! of other servers.

use quotastack_core::catalogue::Catalogue;
use quotastack_core::ids::{AccountId, EndUserId};
use quotastack_core::state::AccountState;
use uuid::Uuid;

use crate::store::tx::Tx;
use crate::store::types::{LaneId, signed};

impl Tx {
    /// Up to `limit` states with a stamp above `after`, in the order of their stamps. Run it in a snapshot, so that
    /// a stamp never names two contents.
    pub async fn states_after(
        &mut self,
        lane_id: LaneId,
        after: u64,
        limit: i64,
        catalogue: &Catalogue,
    ) -> sqlx::Result<Vec<AccountState>> {
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "select account_id from feed where lane_id = $1 and feed_seq > $2 order by feed_seq limit $3",
        )
        .bind(lane_id.0)
        .bind(signed(after))
        .bind(limit)
        .fetch_all(self.connection())
        .await?;
        let ids: Vec<AccountId> = ids.into_iter().map(AccountId::from_uuid).collect();
        let mut accounts = self.load_accounts_by_id(lane_id, &ids).await?;
        accounts.sort_unstable_by_key(|(_, stamp)| *stamp);
        Ok(accounts.iter().map(|(account, stamp)| AccountState::publish(account, *stamp, catalogue)).collect())
    }

    /// The id of the database's history.
    pub async fn epoch(&mut self) -> sqlx::Result<[u8; 16]> {
        let epoch: Uuid = sqlx::query_scalar("select epoch from history").fetch_one(self.connection()).await?;
        Ok(epoch.into_bytes())
    }

    /// The version of the database's schema.
    pub async fn schema_version(&mut self) -> sqlx::Result<i32> {
        sqlx::query_scalar("select schema_version from history").fetch_one(self.connection()).await
    }

    /// The whole state of one end user, of whatever size, if anything was ever written for them.
    pub async fn state_of(
        &mut self,
        lane_id: LaneId,
        end_user_id: &EndUserId,
        catalogue: &Catalogue,
    ) -> sqlx::Result<Option<AccountState>> {
        let mut found = self.load_accounts(lane_id, std::slice::from_ref(end_user_id)).await?;
        Ok(found.remove(end_user_id).map(|(account, stamp)| AccountState::whole(&account, stamp, catalogue)))
    }
}
