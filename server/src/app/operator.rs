//! Tenants and keys, for the operator's commands and for `dev`.

use quotastack_core::ids::{KeyId, TenantId, uuid_v7};
use quotastack_core::time::Timestamp;
use secrecy::SecretString;
use uuid::Uuid;

use crate::app::auth::Scope;
use crate::app::{clock, secret};
use crate::store::keys::Environment;
use crate::store::migrate;
use crate::store::operator::{KeyRow, NewKey, TenantRow};
use crate::store::tx::{Store, Tx, is_unmigrated};
use crate::store::types::{EnvironmentId, LaneId};

/// Lanes of a new environment: each is one writer and one feed.
pub const LANES_DEFAULT: u16 = 2;
/// Characters of a tenant's name.
const NAME_CHARS_MAX: usize = 200;
/// Smallest credit units per displayed credit, of a new tenant.
pub const CREDIT_SCALE_DEFAULT: i64 = 1_000;

/// Brings a database to this version's schema.
pub async fn migrate(database_url: &str) -> anyhow::Result<()> {
    migrate::run(database_url, Uuid::from_bytes(clock::random())).await
}

/// What the operator does.
#[derive(Debug)]
pub struct Operator {
    store: Store,
}

/// A key just made. The secret is never shown again.
#[derive(Debug)]
pub struct MintedKey {
    /// Its id.
    pub key_id: KeyId,
    /// The secret.
    pub secret: SecretString,
}

impl Operator {
    /// Acts on this database; its login must be a member of `quotastack_admin`.
    pub const fn new(store: Store) -> Self {
        Self { store }
    }

    async fn begin(&self) -> anyhow::Result<Tx> {
        let mut tx = self.store.begin_as_operator().await.map_err(explained)?;
        tx.schema_version().await.map_err(explained)?;
        Ok(tx)
    }

    /// Creates a tenant with its two environments and their lanes.
    pub async fn create_tenant(&self, name: &str) -> anyhow::Result<TenantRow> {
        let is_name = (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control);
        anyhow::ensure!(is_name, "a tenant's name has 1 to 200 characters, none of them a control character");
        let now = clock::now();
        let tenant_id = TenantId::from_uuid(uuid_v7(now, clock::random(), None));
        let tenant =
            TenantRow { tenant_id, name: name.to_owned(), credit_scale: CREDIT_SCALE_DEFAULT, created_at: now };
        let mut tx = self.begin().await?;
        tx.insert_tenant(&tenant).await?;
        for environment in [Environment::Live, Environment::Sandbox] {
            let id = EnvironmentId(random_id());
            tx.insert_environment(id, tenant_id, environment).await?;
            let lanes: Vec<LaneId> = (0..LANES_DEFAULT).map(|_| LaneId(random_id())).collect();
            tx.insert_lanes(id, &lanes, Timestamp::default()).await?;
        }
        tx.commit().await?;
        Ok(tenant)
    }

    /// All tenants, oldest first.
    pub async fn list_tenants(&self) -> anyhow::Result<Vec<TenantRow>> {
        Ok(self.begin().await?.list_tenants().await?)
    }

    /// Makes a key for one environment of a tenant.
    pub async fn create_key(
        &self,
        tenant_id: TenantId,
        environment: Environment,
        name: &str,
        scopes: &[Scope],
        expires_at: Option<Timestamp>,
    ) -> anyhow::Result<MintedKey> {
        let now = clock::now();
        let minted = MintedKey {
            key_id: KeyId::from_uuid(uuid_v7(now, clock::random(), None)),
            secret: secret::mint(environment),
        };
        let scopes: Vec<String> = scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
        let mut tx = self.begin().await?;
        let environment_id = tx.find_environment(tenant_id, environment).await?;
        let environment_id = environment_id.ok_or_else(|| anyhow::anyhow!("there is no tenant {tenant_id}"))?;
        tx.insert_api_key(&NewKey {
            key_id: minted.key_id,
            environment_id,
            name,
            hint: &secret::hint(environment, &minted.secret),
            hash: secret::hash(&minted.secret),
            scopes: &scopes,
            created_at: now,
            expires_at,
        })
        .await?;
        tx.commit().await?;
        Ok(minted)
    }

    /// The keys of a tenant, oldest first.
    pub async fn list_keys(&self, tenant_id: TenantId) -> anyhow::Result<Vec<KeyRow>> {
        Ok(self.begin().await?.list_api_keys(tenant_id).await?)
    }

    /// Revokes a key; servers refuse it within 5 s.
    pub async fn revoke_key(&self, key_id: KeyId) -> anyhow::Result<()> {
        let mut tx = self.begin().await?;
        anyhow::ensure!(
            tx.revoke_api_key(key_id, clock::now()).await?,
            "there is no key {key_id}, or it was revoked before"
        );
        Ok(tx.commit().await?)
    }
}

/// What an operator is told of an error of the database.
fn explained(error: sqlx::Error) -> anyhow::Error {
    if is_unmigrated(&error) {
        anyhow::anyhow!("the database was not migrated; run `quotastack-server migrate` first")
    } else {
        anyhow::Error::new(error).context("the database does not answer")
    }
}

/// A random positive id; a repeated one would be refused by its primary key.
fn random_id() -> i64 {
    i64::from_be_bytes(clock::random()) & i64::MAX
}
