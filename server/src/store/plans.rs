//! Plans and the versions of their variants.

use quotastack_core::catalogue::{PlanKind, Variant};
use quotastack_core::ids::{PlanId, VariantId};
use quotastack_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::store::tx::Tx;
use crate::store::types::{EnvironmentId, Ts, from_json, name_of, named, to_json};

/// A plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanRow {
    /// Its id.
    pub plan_id: PlanId,
    /// Its name.
    pub name: String,
    /// Base or add-on.
    pub kind: PlanKind,
    /// When it was created.
    pub created_at: Timestamp,
}

/// One version of a variant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VariantRow {
    /// The variant's id.
    pub variant_id: VariantId,
    /// Its name.
    pub name: String,
    /// When this version was made.
    pub created_at: Timestamp,
    /// Its rules.
    pub variant: Variant,
}

macro_rules! select_plans {
    () => {
        "select plan_id, name, kind, created_at from plans where environment_id = $1"
    };
}

macro_rules! select_variants {
    () => {
        "select distinct on (variant_id) variant_id, name, definition, created_at from variants where environment_id = $1"
    };
}

impl Tx {
    /// Stores a plan.
    pub async fn insert_plan(&mut self, environment_id: EnvironmentId, plan: &PlanRow) -> sqlx::Result<()> {
        sqlx::query("insert into plans (environment_id, plan_id, name, kind, created_at) values ($1, $2, $3, $4, $5)")
            .bind(environment_id.0)
            .bind(plan.plan_id.uuid())
            .bind(&plan.name)
            .bind(name_of(&plan.kind))
            .bind(Ts(plan.created_at))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Gives a plan another name.
    pub async fn rename_plan(&mut self, environment_id: EnvironmentId, id: PlanId, name: &str) -> sqlx::Result<()> {
        sqlx::query("update plans set name = $3 where environment_id = $1 and plan_id = $2")
            .bind(environment_id.0)
            .bind(id.uuid())
            .bind(name)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// One plan.
    pub async fn find_plan(&mut self, environment_id: EnvironmentId, id: PlanId) -> sqlx::Result<Option<PlanRow>> {
        let row = sqlx::query(concat!(select_plans!(), " and plan_id = $2"))
            .bind(environment_id.0)
            .bind(id.uuid())
            .fetch_optional(self.connection())
            .await?;
        row.as_ref().map(plan_from_row).transpose()
    }

    /// Up to `limit` plans after `after`, oldest first.
    pub async fn list_plans(
        &mut self,
        environment_id: EnvironmentId,
        after: Option<PlanId>,
        limit: i64,
    ) -> sqlx::Result<Vec<PlanRow>> {
        let rows = sqlx::query(concat!(select_plans!(), " and plan_id > $2 order by plan_id limit $3"))
            .bind(environment_id.0)
            .bind(after.map_or(Uuid::nil(), PlanId::uuid))
            .bind(limit)
            .fetch_all(self.connection())
            .await?;
        rows.iter().map(plan_from_row).collect()
    }

    /// Stores a version of a variant.
    pub async fn insert_variant(&mut self, environment_id: EnvironmentId, row: &VariantRow) -> sqlx::Result<()> {
        let version = i32::try_from(row.variant.version).expect("versions count edits");
        sqlx::query(
            "insert into variants (environment_id, variant_id, version, plan_id, name, definition, created_at)
             values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(environment_id.0)
        .bind(row.variant_id.uuid())
        .bind(version)
        .bind(row.variant.plan_id.uuid())
        .bind(&row.name)
        .bind(to_json(&row.variant))
        .bind(Ts(row.created_at))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// A version of a variant; the latest where none is named.
    pub async fn find_variant(
        &mut self,
        environment_id: EnvironmentId,
        id: VariantId,
        version: Option<u32>,
    ) -> sqlx::Result<Option<VariantRow>> {
        let row = sqlx::query(concat!(
            select_variants!(),
            " and variant_id = $2 and ($3::bigint is null or version = $3) order by variant_id, version desc"
        ))
        .bind(environment_id.0)
        .bind(id.uuid())
        .bind(version.map(i64::from))
        .fetch_optional(self.connection())
        .await?;
        row.as_ref().map(variant_from_row).transpose()
    }

    /// Stores other rules for a version of a variant that is there.
    pub async fn rewrite_variant(
        &mut self,
        environment_id: EnvironmentId,
        id: VariantId,
        variant: &Variant,
    ) -> sqlx::Result<()> {
        sqlx::query(
            "update variants set definition = $4 where environment_id = $1 and variant_id = $2 and version = $3",
        )
        .bind(environment_id.0)
        .bind(id.uuid())
        .bind(i64::from(variant.version))
        .bind(to_json(variant))
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// The variant whose latest version is the fallback, if it is another one than `except`.
    pub async fn find_fallback(
        &mut self,
        environment_id: EnvironmentId,
        except: VariantId,
    ) -> sqlx::Result<Option<VariantId>> {
        let found: Option<Uuid> = sqlx::query_scalar(concat!(
            "select variant_id from (",
            select_variants!(),
            " order by variant_id, version desc) as latest
              where variant_id <> $2 and definition @> '{\"fallback\": true, \"archived\": false}' limit 1"
        ))
        .bind(environment_id.0)
        .bind(except.uuid())
        .fetch_optional(self.connection())
        .await?;
        Ok(found.map(VariantId::from_uuid))
    }

    /// Up to `limit` variants of a plan after `after`, oldest first, each in its latest version.
    pub async fn list_variants(
        &mut self,
        environment_id: EnvironmentId,
        plan_id: PlanId,
        after: Option<VariantId>,
        limit: i64,
    ) -> sqlx::Result<Vec<VariantRow>> {
        let rows = sqlx::query(concat!(
            select_variants!(),
            " and plan_id = $2 and variant_id > $3 order by variant_id, version desc limit $4"
        ))
        .bind(environment_id.0)
        .bind(plan_id.uuid())
        .bind(after.map_or(Uuid::nil(), VariantId::uuid))
        .bind(limit)
        .fetch_all(self.connection())
        .await?;
        rows.iter().map(variant_from_row).collect()
    }
}

fn plan_from_row(row: &PgRow) -> sqlx::Result<PlanRow> {
    Ok(PlanRow {
        plan_id: PlanId::from_uuid(row.try_get("plan_id")?),
        name: row.try_get("name")?,
        kind: named("kind", row.try_get("kind")?)?,
        created_at: row.try_get::<Ts, _>("created_at")?.0,
    })
}

fn variant_from_row(row: &PgRow) -> sqlx::Result<VariantRow> {
    Ok(VariantRow {
        variant_id: VariantId::from_uuid(row.try_get("variant_id")?),
        name: row.try_get("name")?,
        created_at: row.try_get::<Ts, _>("created_at")?.0,
        variant: from_json("definition", row.try_get("definition")?)?,
    })
}
