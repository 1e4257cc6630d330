//! The schema, and how it gets there. Run by `quotastack-server migrate`, and by `dev` at each start.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Connection, PgConnection, SqlSafeStr};
use uuid::Uuid;

const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "roles", include_str!("../../migrations/0001_roles.sql")),
    (2, "catalogue", include_str!("../../migrations/0002_catalogue.sql")),
    (3, "ledger", include_str!("../../migrations/0003_ledger.sql")),
    (4, "row security", include_str!("../../migrations/0004_row_security.sql")),
];

/// Brings the database to this version's schema; does nothing where it is there already. A new database begins the
/// history `epoch`. Needs a login that may create roles and tables, and that row security does not bind.
pub async fn run(database_url: &str, epoch: Uuid) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(database_url).await?;
    let migrations = MIGRATIONS.map(|(version, description, sql)| {
        Migration::new(version, Cow::Borrowed(description), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.to_vec()).run(&mut connection).await?;
    sqlx::query("insert into history (epoch) values ($1) on conflict do nothing")
        .bind(epoch)
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(())
}
