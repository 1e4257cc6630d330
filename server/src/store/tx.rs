//! [`Store`] and [`Tx`]: transactions that have named their role and environment.
//!
//! `begin` and all that is set for the transaction go in one round trip. Nothing outlives the
//! transaction, so a pooler in transaction mode may sit in between.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgConnection, Postgres};

use crate::store::types::{EnvironmentId, LaneId};

/// How long a request waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of a dropped transaction may take, before its connection is closed instead.
const ROLLBACK_MAX: Duration = Duration::from_secs(10);
/// How statements are planned, said in every transaction, since behind a pooler no session is ours: once, with joins in the
/// order of the text, and rows found by an index. Estimates go wrong where it hurts: a join of a batch's keys with all entries
/// of a hot account looks cheap beside ten thousand quiet ones.
const PLANNER: &str = "set local plan_cache_mode = force_generic_plan; set local join_collapse_limit = 1; \
    set local enable_seqscan = off; set local enable_hashjoin = off; set local enable_mergejoin = off; set local jit = off";
/// Commands after which a kept connection first makes its plans anew; from then on whenever they have doubled. A plan for a
/// table with a few rows reads all of it, and is kept until the table is analysed.
const REPLAN_AFTER: u64 = 64;
/// `serialization_failure`, `deadlock_detected`, `admin_shutdown`, `crash_shutdown`, `cannot_connect_now`,
/// `idle_in_transaction_session_timeout`, `lock_not_available`, `query_canceled` (our own `statement_timeout`),
/// `read_only_sql_transaction` (a node that is no primary any more).
const RETRYABLE_SQLSTATES: [&str; 9] =
    ["40001", "40P01", "57P01", "57P02", "57P03", "25P03", "55P03", TOO_LONG, "25006"];
/// `query_canceled`.
const TOO_LONG: &str = "57014";

/// The database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
}

/// A connection without a transaction that its user keeps for the next one. Whoever takes turns among connections finds
/// each of them cold, and the pool asks each, on its way out and back, whether it is still there.
#[derive(Debug)]
pub struct Kept {
    connection: PoolConnection<Postgres>,
    /// Commands written since it was taken from the pool.
    commands: u64,
    /// How many there may be before plans are made anew.
    replan_at: u64,
}

/// A transaction of one environment (or of the operator); rolled back unless committed.
///
/// Not sqlx's: that one gives a connection back as it is if it is dropped while it begins, with an open transaction of
/// another environment, and waits for ever for one that has gone silent.
pub struct Tx {
    /// `None` once it has ended.
    connection: Option<Kept>,
}

impl Store {
    /// Connects lazily with up to `connections_max` connections.
    pub fn connect(database_url: &str, connections_max: u32) -> sqlx::Result<Self> {
        let options: PgConnectOptions = database_url.parse()?;
        // A server that froze must not hold a lane.
        let options = options.application_name("quotastack-server").options([
            ("statement_timeout", "5000"),
            ("lock_timeout", "5000"),
            ("idle_in_transaction_session_timeout", "5000"),
            ("tcp_keepalives_idle", "10"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    /// A transaction of one environment, as the role that row security binds.
    pub async fn begin(&self, environment_id: EnvironmentId) -> sqlx::Result<Tx> {
        let EnvironmentId(id) = environment_id;
        self.begin_with(format!(
            "begin; {PLANNER}; set local role quotastack_app; set local quotastack.environment_id = '{id}'"
        ))
        .await
    }

    /// The same, on a connection that was kept if there is one, and with a lane locked.
    pub async fn begin_locking(
        &self,
        kept: Option<Kept>,
        environment_id: EnvironmentId,
        lane_id: LaneId,
    ) -> sqlx::Result<Tx> {
        let (EnvironmentId(id), LaneId(lane)) = (environment_id, lane_id);
        let mut kept = match kept {
            Some(kept) => kept,
            None => self.acquire().await?,
        };
        let mut replan = "";
        if kept.commands >= kept.replan_at {
            kept.replan_at = kept.commands * 2;
            replan = "discard plans; ";
        }
        let begin = format!(
            "{replan}begin; {PLANNER}; set local role quotastack_app; set local quotastack.environment_id = '{id}'; \
             select from lanes where lane_id = {lane} for update"
        );
        begin_on(kept, begin).await
    }

    /// Whether somebody may be waiting for a connection, so that none should be kept.
    pub fn is_short(&self) -> bool {
        self.pool.num_idle() == 0 && self.pool.size() >= self.pool.options().get_max_connections()
    }

    /// A read-only transaction of one environment that sees one instant of the database.
    pub async fn begin_snapshot(&self, environment_id: EnvironmentId) -> sqlx::Result<Tx> {
        let EnvironmentId(id) = environment_id;
        self.begin_with(format!(
            "begin isolation level repeatable read, read only; {PLANNER}; set local role quotastack_app; \
             set local quotastack.environment_id = '{id}'"
        ))
        .await
    }

    /// A transaction without an environment: sees no tenant's row, may call the narrow cross-tenant functions.
    pub async fn begin_without_environment(&self) -> sqlx::Result<Tx> {
        self.begin_with("begin; set local role quotastack_app".to_owned()).await
    }

    /// A transaction of the operator: tenants, environments, keys and lanes.
    pub async fn begin_as_operator(&self) -> sqlx::Result<Tx> {
        self.begin_with("begin; set local role quotastack_admin".to_owned()).await
    }

    async fn begin_with(&self, statements: String) -> sqlx::Result<Tx> {
        begin_on(self.acquire().await?, statements).await
    }

    async fn acquire(&self) -> sqlx::Result<Kept> {
        Ok(Kept { connection: self.pool.acquire().await?, commands: 0, replan_at: REPLAN_AFTER })
    }

    /// Closes all connections after their transactions.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

async fn begin_on(kept: Kept, statements: String) -> sqlx::Result<Tx> {
    let mut tx = Tx { connection: Some(kept) };
    // Nothing of a caller is in the statements: role names are fixed, ids are integers.
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(tx.connection()).await?;
    Ok(tx)
}

impl Tx {
    /// The connection, for statements.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection.as_mut().expect("whoever ends a transaction consumes it").connection
    }

    /// Has its statements planned for what they are given: those that add up whole sets, rather than look rows up.
    pub async fn plan_for_sets(&mut self) -> sqlx::Result<()> {
        let settings = "set local plan_cache_mode = force_custom_plan; set local enable_hashjoin = on; \
                        set local join_collapse_limit = 8";
        sqlx::raw_sql(settings).execute(self.connection()).await?;
        Ok(())
    }

    /// Makes it durable. An error leaves open whether it is.
    pub async fn commit(self) -> sqlx::Result<()> {
        self.end("commit").await.map(drop)
    }

    /// The same, and keeps the connection, on which so many commands were written.
    pub async fn commit_and_keep(self, commands: usize) -> sqlx::Result<Kept> {
        let mut kept = self.end("commit").await?;
        kept.commands += commands as u64;
        Ok(kept)
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
        Ok(self.connection.take().expect("it has just been used"))
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        tokio::spawn(async move {
            let rollback = sqlx::raw_sql("rollback").execute(&mut *connection.connection);
            if !matches!(tokio::time::timeout(ROLLBACK_MAX, rollback).await, Ok(Ok(_))) {
                connection.connection.close_on_drop();
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

/// Whether a statement took longer than one may.
pub fn is_too_long(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == TOO_LONG)
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
