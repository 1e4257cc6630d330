//! Tenants, environments, keys: what the operator's commands do. Acts as `quotastack_admin`.

use quotastack_core::ids::{KeyId, LaneCount, TenantId};
use quotastack_core::time::Timestamp;
use sqlx::Row;

use crate::store::keys::Environment;
use crate::store::tx::Tx;
use crate::store::types::{EnvironmentId, LaneId, Ts, name_of, named};

/// A tenant and its two environments.
#[derive(Debug, Clone)]
pub struct TenantRow {
    /// Its id.
    pub tenant_id: TenantId,
    /// Its name.
    pub name: String,
    /// Smallest credit units per displayed credit.
    pub credit_scale: i64,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A key to be stored.
#[derive(Debug)]
pub struct NewKey<'a> {
    /// Its id.
    pub key_id: KeyId,
    /// The environment it opens.
    pub environment_id: EnvironmentId,
    /// A name for people.
    pub name: &'a str,
    /// The start and end of the secret, to recognise it by.
    pub hint: &'a str,
    /// BLAKE3 of the secret.
    pub hash: [u8; 32],
    /// What it may do.
    pub scopes: &'a [String],
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is void.
    pub expires_at: Option<Timestamp>,
}

/// A key as lists show it.
#[derive(Debug, Clone)]
pub struct KeyRow {
    /// Its id.
    pub key_id: KeyId,
    /// The environment it opens.
    pub environment: Environment,
    /// A name for people.
    pub name: String,
    /// The start and end of the secret.
    pub hint: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Tx {
    /// Stores a tenant.
    pub async fn insert_tenant(&mut self, tenant: &TenantRow) -> sqlx::Result<()> {
        sqlx::query("insert into tenants (tenant_id, name, credit_scale, created_at) values ($1, $2, $3, $4)")
            .bind(tenant.tenant_id.uuid())
            .bind(&tenant.name)
            .bind(tenant.credit_scale)
            .bind(Ts(tenant.created_at))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Stores an environment of a tenant.
    pub async fn insert_environment(
        &mut self,
        environment_id: EnvironmentId,
        tenant_id: TenantId,
        environment: Environment,
    ) -> sqlx::Result<()> {
        sqlx::query(
            "insert into environments (environment_id, tenant_id, environment, catalogue_version) values ($1, $2, $3, 1)",
        )
        .bind(environment_id.0)
        .bind(tenant_id.uuid())
        .bind(name_of(&environment))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Stores the lanes of an environment, one per id.
    pub async fn insert_lanes(
        &mut self,
        environment_id: EnvironmentId,
        lane_ids: &[LaneId],
        now: Timestamp,
    ) -> sqlx::Result<()> {
        let count = u16::try_from(lane_ids.len()).ok().and_then(LaneCount::new);
        assert!(count.is_some(), "an environment has a power of two of lanes");
        let ids: Vec<i64> = lane_ids.iter().map(|id| id.0).collect();
        let numbers: Vec<i16> = (0..).take(ids.len()).collect();
        sqlx::query(
            "insert into lanes (lane_id, environment_id, number, last_now)
             select lane_id, $2, number, $4 from unnest($1::bigint[], $3::smallint[]) as t (lane_id, number)",
        )
        .bind(ids)
        .bind(environment_id.0)
        .bind(numbers)
        .bind(Ts(now))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Stores a key.
    pub async fn insert_api_key(&mut self, key: &NewKey<'_>) -> sqlx::Result<()> {
        sqlx::query(
            "insert into api_keys (key_id, environment_id, name, hint, hash, scopes, created_at, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(key.key_id.uuid())
        .bind(key.environment_id.0)
        .bind(key.name)
        .bind(key.hint)
        .bind(key.hash.as_slice())
        .bind(key.scopes)
        .bind(Ts(key.created_at))
        .bind(key.expires_at.map(Ts))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Marks a key as revoked; false if there is none, or it was revoked before.
    pub async fn revoke_api_key(&mut self, key_id: KeyId, now: Timestamp) -> sqlx::Result<bool> {
        let done = sqlx::query("update api_keys set revoked_at = $2 where key_id = $1 and revoked_at is null")
            .bind(key_id.uuid())
            .bind(Ts(now))
            .execute(self.connection())
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// All tenants, oldest first.
    pub async fn list_tenants(&mut self) -> sqlx::Result<Vec<TenantRow>> {
        let rows = sqlx::query("select tenant_id, name, credit_scale, created_at from tenants order by tenant_id")
            .fetch_all(self.connection())
            .await?;
        let tenants = rows.iter().map(|row| {
            Ok(TenantRow {
                tenant_id: TenantId::from_uuid(row.try_get("tenant_id")?),
                name: row.try_get("name")?,
                credit_scale: row.try_get("credit_scale")?,
                created_at: row.try_get::<Ts, _>("created_at")?.0,
            })
        });
        tenants.collect()
    }

    /// The id of a tenant's environment.
    pub async fn find_environment(
        &mut self,
        tenant_id: TenantId,
        environment: Environment,
    ) -> sqlx::Result<Option<EnvironmentId>> {
        let id =
            sqlx::query_scalar("select environment_id from environments where tenant_id = $1 and environment = $2")
                .bind(tenant_id.uuid())
                .bind(name_of(&environment))
                .fetch_optional(self.connection())
                .await?;
        Ok(id.map(EnvironmentId))
    }

    /// The keys of a tenant, oldest first.
    pub async fn list_api_keys(&mut self, tenant_id: TenantId) -> sqlx::Result<Vec<KeyRow>> {
        let rows = sqlx::query(
            "select k.key_id, e.environment, k.name, k.hint, k.scopes, k.created_at, k.revoked_at
             from api_keys k join environments e using (environment_id) where e.tenant_id = $1 order by k.key_id",
        )
        .bind(tenant_id.uuid())
        .fetch_all(self.connection())
        .await?;
        let keys = rows.iter().map(|row| {
            Ok(KeyRow {
                key_id: KeyId::from_uuid(row.try_get("key_id")?),
                environment: named("environment", row.try_get("environment")?)?,
                name: row.try_get("name")?,
                hint: row.try_get("hint")?,
                scopes: row.try_get("scopes")?,
                created_at: row.try_get::<Ts, _>("created_at")?.0,
                revoked_at: row.try_get::<Option<Ts>, _>("revoked_at")?.map(|at| at.0),
            })
        });
        keys.collect()
    }
}
