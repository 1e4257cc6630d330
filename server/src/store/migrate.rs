//! The schema, and how it gets there. Run by `quotastack-server migrate`, and by `dev` at each start.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Connection, PgConnection, SqlSafeStr};
use uuid::Uuid;

const MIGRATIONS: &[(i32, &str, &str)] = &[
    (1, "roles", include_str!("../../migrations/0001_roles.sql")),
    (2, "catalogue", include_str!("../../migrations/0002_catalogue.sql")),
    (3, "ledger", include_str!("../../migrations/0003_ledger.sql")),
    (4, "row security", include_str!("../../migrations/0004_row_security.sql")),
    (5, "ledger rules", include_str!("../../migrations/0005_ledger_rules.sql")),
    (6, "due", include_str!("../../migrations/0006_due.sql")),
    (7, "retention", include_str!("../../migrations/0007_retention.sql")),
    (8, "usage rollups", include_str!("../../migrations/0008_usage_rollups.sql")),
    (9, "checkpoints", include_str!("../../migrations/0009_checkpoints.sql")),
    (10, "live blocks", include_str!("../../migrations/0010_live_blocks.sql")),
    (11, "claw-back", include_str!("../../migrations/0011_claw_back.sql")),
    (12, "plans over time", include_str!("../../migrations/0012_plans_over_time.sql")),
    (13, "variant versions", include_str!("../../migrations/0013_variant_versions.sql")),
    (15, "sidecars", include_str!("../../migrations/0015_sidecars.sql")),
    (16, "rollups in time", include_str!("../../migrations/0016_rollups_in_time.sql")),
    (17, "tallies", include_str!("../../migrations/0017_tallies.sql")),
    (18, "leases", include_str!("../../migrations/0018_leases.sql")),
    (19, "used-up blocks", include_str!("../../migrations/0019_used_up_blocks.sql")),
];

/// The version of the schema that this server reads and writes: the last migration's.
pub const SCHEMA_VERSION: i32 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// Brings the database to this version's schema; does nothing where it is there already. A new database begins the
/// history `epoch`. Needs a login that may create roles and tables, and that row security does not bind.
pub async fn run(database_url: &str, epoch: Uuid) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(database_url).await?;
    let migrations = MIGRATIONS.iter().map(|&(version, description, sql)| {
        Migration::new(version.into(), Cow::Borrowed(description), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect()).run(&mut connection).await?;
    sqlx::query(
        "insert into history (epoch, schema_version) values ($1, $2)
         on conflict (singleton) do update set schema_version = greatest(history.schema_version, excluded.schema_version)",
    )
    .bind(epoch)
    .bind(SCHEMA_VERSION)
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(())
}
