//! Top-up packages.

use quotastack_core::catalogue::TopupPackage;
use quotastack_core::ids::PackageId;
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::store::tx::Tx;
use crate::store::types::{EnvironmentId, Ts, from_json, to_json};

/// A top-up package.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PackageRow {
    /// Its id.
    pub package_id: PackageId,
    /// What it is.
    pub package: TopupPackage,
    /// Since when nobody can buy it.
    pub archived_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Tx {
    /// Stores a package.
    pub async fn insert_package(
        &mut self,
        environment_id: EnvironmentId,
        package_id: PackageId,
        package: &TopupPackage,
        now: Timestamp,
    ) -> sqlx::Result<()> {
        sqlx::query(
            "insert into topup_packages (environment_id, package_id, definition, created_at) values ($1, $2, $3, $4)",
        )
        .bind(environment_id.0)
        .bind(package_id.uuid())
        .bind(to_json(package))
        .bind(Ts(now))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Replaces what a package is.
    pub async fn replace_package(
        &mut self,
        environment_id: EnvironmentId,
        package_id: PackageId,
        package: &TopupPackage,
    ) -> sqlx::Result<()> {
        sqlx::query("update topup_packages set definition = $3 where environment_id = $1 and package_id = $2")
            .bind(environment_id.0)
            .bind(package_id.uuid())
            .bind(to_json(package))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Archives a package, if it is not.
    pub async fn archive_package(
        &mut self,
        environment_id: EnvironmentId,
        package_id: PackageId,
        now: Timestamp,
    ) -> sqlx::Result<()> {
        sqlx::query(
            "update topup_packages set archived_at = coalesce(archived_at, $3)
             where environment_id = $1 and package_id = $2",
        )
        .bind(environment_id.0)
        .bind(package_id.uuid())
        .bind(Ts(now))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// One package.
    pub async fn find_package(
        &mut self,
        environment_id: EnvironmentId,
        package_id: PackageId,
    ) -> sqlx::Result<Option<PackageRow>> {
        let row = sqlx::query(
            "select package_id, definition, archived_at, created_at from topup_packages
             where environment_id = $1 and package_id = $2",
        )
        .bind(environment_id.0)
        .bind(package_id.uuid())
        .fetch_optional(self.connection())
        .await?;
        row.as_ref().map(from_row).transpose()
    }

    /// Up to `limit` packages after `after`, oldest first, without the archived ones.
    pub async fn list_packages(
        &mut self,
        environment_id: EnvironmentId,
        after: Option<PackageId>,
        limit: i64,
    ) -> sqlx::Result<Vec<PackageRow>> {
        let rows = sqlx::query(
            "select package_id, definition, archived_at, created_at from topup_packages
             where environment_id = $1 and package_id > $2 and archived_at is null order by package_id limit $3",
        )
        .bind(environment_id.0)
        .bind(after.map_or(Uuid::nil(), PackageId::uuid))
        .bind(limit)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(from_row).collect()
    }
}

fn from_row(row: &PgRow) -> sqlx::Result<PackageRow> {
    Ok(PackageRow {
        package_id: PackageId::from_uuid(row.try_get("package_id")?),
        package: from_json("definition", row.try_get("definition")?)?,
        archived_at: row.try_get::<Option<Ts>, _>("archived_at")?.map(|at| at.0),
        created_at: row.try_get::<Ts, _>("created_at")?.0,
    })
}
