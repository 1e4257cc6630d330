//! Whose key a request carries.

use quotastack_core::ids::{KeyId, TenantId};
use sqlx::Row;

use crate::store::tx::Store;
use crate::store::types::{EnvironmentId, Ts, named};
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Which of a tenant's two environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// The real one.
    Live,
    /// For trying things out, with a clock that can be set.
    Sandbox,
}

impl Environment {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Sandbox => "sandbox",
        }
    }
}

/// A key as it is stored; the secret itself never is.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// Its id.
    pub key_id: KeyId,
    /// The environment it opens.
    pub environment_id: EnvironmentId,
    /// Live or sandbox.
    pub environment: Environment,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// What it may do, as text.
    pub scopes: Vec<String>,
    /// From when on it is void.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Store {
    /// The key whose secret has this hash.
    pub async fn find_api_key(&self, hash: &[u8; 32]) -> sqlx::Result<Option<StoredKey>> {
        let mut tx = self.begin_without_environment().await?;
        let row =
            sqlx::query("select * from find_api_key($1)").bind(hash.as_slice()).fetch_optional(tx.connection()).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(StoredKey {
            key_id: KeyId::from_uuid(row.try_get("key_id")?),
            environment_id: EnvironmentId(row.try_get("environment_id")?),
            environment: named("environment", row.try_get("environment")?)?,
            tenant_id: TenantId::from_uuid(row.try_get("tenant_id")?),
            scopes: row.try_get("scopes")?,
            expires_at: row.try_get::<Option<Ts>, _>("expires_at")?.map(|at| at.0),
            revoked_at: row.try_get::<Option<Ts>, _>("revoked_at")?.map(|at| at.0),
        }))
    }
}
