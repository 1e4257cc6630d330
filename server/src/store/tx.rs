//! [`Store`] and [`Tx`]: transactions that have named their role and environment.
//!
//! `begin`, `set local role` and `set local quotastack.environment_id` go in one round trip. Nothing outlives the
//! transaction, so a pooler in transaction mode may sit in between.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgConnection, Postgres};

use crate::store::types::EnvironmentId;

/// How long a request waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of a dropped transaction may take, before its connection is closed instead.
const ROLLBACK_MAX: Duration = Duration::from_secs(10);
/// How every connection plans: a statement's plan is the one that its text spells out, whatever the tables hold. Estimates
/// go wrong where it hurts: a fresh table's plan scans it and is kept while the table grows, and a join of a batch with all
/// entries of a hot account looks cheap among ten thousand quiet ones. So: planned once, joins as written, each row found
/// by an index. Golden plans show what comes of it.
const PLANNER: [(&str, &str); 6] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("join_collapse_limit", "1"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];
/// `serialization_failure`, `deadlock_detected`, `admin_shutdown`, `crash_shutdown`, `cannot_connect_now`,
/// `idle_in_transaction_session_timeout`, `lock_not_available`, `query_canceled` (our own `statement_timeout`).
const RETRYABLE_SQLSTATES: [&str; 8] = ["40001", "40P01", "57P01", "57P02", "57P03", "25P03", "55P03", "57014"];

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
}

/// A connection without a transaction that its user keeps for the next one. Whoever takes turns among connections finds
/// each of them cold, and the pool asks each, on its way out and back, whether it is still there.
#[derive(Debug)]
pub struct Kept(PoolConnection<Postgres>);

/// A transaction of one environment (or of the operator); rolled back unless committed.
///
/// Not sqlx's: that one gives a connection back as it is if it is dropped while it begins, with an open transaction of
/// another environment, and waits for ever for one that has gone silent.
pub struct Tx {
    /// `None` once it has ended.
    connection: Option<PoolConnection<Postgres>>,
}

impl Store {
    /// Connects lazily with up to `connections_max` connections.
    pub fn connect(database_url: &str, connections_max: u32) -> sqlx::Result<Self> {
        let options: PgConnectOptions = database_url.parse()?;
        // A server that froze must not hold a lane.
        let options = options
            .application_name("quotastack-server")
            .options([
                ("statement_timeout", "5000"),
                ("lock_timeout", "5000"),
                ("idle_in_transaction_session_timeout", "5000"),
                ("tcp_keepalives_idle", "10"),
            ])
            .options(PLANNER);
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    /// A transaction of one environment, as the role that row security binds.
    pub async fn begin(&self, environment_id: EnvironmentId) -> sqlx::Result<Tx> {
        self.begin_on(None, environment_id).await
    }

    /// The same on a connection that was kept, if there is one.
    pub async fn begin_on(&self, kept: Option<Kept>, environment_id: EnvironmentId) -> sqlx::Result<Tx> {
        let EnvironmentId(id) = environment_id;
        let connection = match kept {
            Some(Kept(connection)) => connection,
            None => self.pool.acquire().await?,
        };
        let begin = format!("begin; set local role quotastack_app; set local quotastack.environment_id = '{id}'");
        Self::begin_with(connection, begin).await
    }

    /// Whether somebody may be waiting for a connection, so that none should be kept.
    pub fn is_short(&self) -> bool {
        self.pool.num_idle() == 0 && self.pool.size() >= self.pool.options().get_max_connections()
    }

    /// A read-only transaction of one environment that sees one instant of the database.
    pub async fn begin_snapshot(&self, environment_id: EnvironmentId) -> sqlx::Result<Tx> {
        let EnvironmentId(id) = environment_id;
        let begin = format!(
            "begin isolation level repeatable read, read only; set local role quotastack_app; \
             set local quotastack.environment_id = '{id}'"
        );
        Self::begin_with(self.pool.acquire().await?, begin).await
    }

    /// A transaction without an environment: sees no tenant's row, may call the narrow cross-tenant functions.
    pub async fn begin_without_environment(&self) -> sqlx::Result<Tx> {
        Self::begin_with(self.pool.acquire().await?, "begin; set local role quotastack_app".to_owned()).await
    }

    /// A transaction of the operator: tenants, environments, keys and lanes.
    pub async fn begin_as_operator(&self) -> sqlx::Result<Tx> {
        Self::begin_with(self.pool.acquire().await?, "begin; set local role quotastack_admin".to_owned()).await
    }

    async fn begin_with(connection: PoolConnection<Postgres>, statement: String) -> sqlx::Result<Tx> {
        let mut tx = Tx { connection: Some(connection) };
        // Nothing of a caller is in the statement: role names are fixed, the id is an integer.
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(tx.connection()).await?;
        Ok(tx)
    }

    /// Closes all connections after their transactions.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl Tx {
    /// The connection, for statements.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("whoever ends a transaction consumes it")
    }

    /// Lets its statements join sets with sets by hashing one of them: those that add up, rather than look up.
    pub async fn join_sets(&mut self) -> sqlx::Result<()> {
        sqlx::raw_sql("set local enable_hashjoin = on").execute(self.connection()).await?;
        Ok(())
    }

    /// Makes it durable. An error leaves open whether it is.
    pub async fn commit(self) -> sqlx::Result<()> {
        self.commit_and_keep().await.map(drop)
    }

    /// The same, and keeps the connection.
    pub async fn commit_and_keep(self) -> sqlx::Result<Kept> {
        self.end("commit").await
    }

    /// Ends it without a trace, and with it its locks.
    pub async fn rollback(self) -> sqlx::Result<()> {
        self.rollback_and_keep().await.map(drop)
    }

    /// The same, and keeps the connection.
    pub async fn rollback_and_keep(self) -> sqlx::Result<Kept> {
        self.end("rollback").await
    }

    async fn end(mut self, statement: &'static str) -> sqlx::Result<Kept> {
        sqlx::raw_sql(statement).execute(self.connection()).await?;
        Ok(Kept(self.connection.take().expect("it has just been used")))
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        tokio::spawn(async move {
            let rollback = sqlx::raw_sql("rollback").execute(&mut *connection);
            if !matches!(tokio::time::timeout(ROLLBACK_MAX, rollback).await, Ok(Ok(_))) {
                connection.close_on_drop();
            }
        });
    }
}

/// Whether running the same transaction again may succeed: lost connections, restarts, serialisation, deadlock.
pub fn is_retryable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => true,
        sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            RETRYABLE_SQLSTATES.contains(&code.as_ref()) || code.starts_with("08") || code.starts_with("53")
        }),
        _ => false,
    }
}

/// Whether a row of this key is there already; engines may add suffixes to constraint names.
pub fn is_duplicate_of(error: &sqlx::Error, constraint: &str) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.is_unique_violation() && error.constraint().is_some_and(|name| name.starts_with(constraint))
    })
}

/// Whether the error says that the database was never migrated: a table, a column or a role is missing.
pub fn is_unmigrated(error: &sqlx::Error) -> bool {
    // undefined_table, undefined_column, undefined_function; `set role` of a role that is not there.
    const SQLSTATES: [&str; 4] = ["42P01", "42703", "42883", "22023"];
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| SQLSTATES.contains(&code.as_ref()))
}
