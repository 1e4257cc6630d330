//! What a verifier reads: every account of a lane, page by page, with all that is stored of it.

use quotastack_core::ids::{AccountId, TenantId};
use quotastack_core::ledger::account::Account;
use sqlx::Row;
use uuid::Uuid;

use crate::store::keys::Environment;
use crate::store::tx::Tx;
use crate::store::types::{EnvironmentId, LaneId, named, unsigned};

/// An environment to be verified.
#[derive(Debug, Clone)]
pub struct EnvironmentRow {
    /// Its surrogate.
    pub id: EnvironmentId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Live or sandbox.
    pub environment: Environment,
}

impl Tx {
    /// Every environment there is. For the operator.
    pub async fn list_environments(&mut self) -> sqlx::Result<Vec<EnvironmentRow>> {
        let rows =
            sqlx::query("select environment_id, tenant_id, environment from environments order by environment_id")
                .fetch_all(self.connection())
                .await?;
        let environments = rows.iter().map(|row| {
            Ok(EnvironmentRow {
                id: EnvironmentId(row.try_get("environment_id")?),
                tenant_id: TenantId::from_uuid(row.try_get("tenant_id")?),
                environment: named("environment", row.try_get("environment")?)?,
            })
        });
        environments.collect()
    }

    /// How many accounts and entries a lane has.
    pub async fn count_lane(&mut self, lane_id: LaneId) -> sqlx::Result<(u64, u64)> {
        let row = sqlx::query(
            "select count(*) as accounts, coalesce(sum(seq), 0)::bigint as entries from accounts where lane_id = $1",
        )
        .bind(lane_id.0)
        .fetch_one(self.connection())
        .await?;
        Ok((unsigned("accounts", row.try_get("accounts")?)?, unsigned("entries", row.try_get("entries")?)?))
    }

    /// Up to `limit` accounts of a lane after `after`, in order of their ids, each with all of its blocks.
    pub async fn stored_accounts(
        &mut self,
        lane_id: LaneId,
        after: AccountId,
        limit: i64,
    ) -> sqlx::Result<Vec<Account>> {
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "select account_id from accounts where lane_id = $1 and account_id > $2 order by account_id limit $3",
        )
        .bind(lane_id.0)
        .bind(after.uuid())
        .bind(limit)
        .fetch_all(self.connection())
        .await?;
        let ids: Vec<AccountId> = ids.into_iter().map(AccountId::from_uuid).collect();
        let loaded = self.load_accounts_by_id(lane_id, &ids).await?;
        let mut accounts: Vec<Account> = loaded.into_iter().map(|(account, _)| account).collect();
        accounts.sort_unstable_by_key(|account| account.id);
        for (account_id, block) in self.load_used_up_blocks(lane_id, &ids).await? {
            let place = accounts.binary_search_by_key(&account_id, |account| account.id);
            accounts[place.expect("blocks were asked for these accounts only")].bring([block]);
        }
        Ok(accounts)
    }
}
