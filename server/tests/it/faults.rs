//! Failures injected at random: serialization failures and deadlocks raised by the database itself, also at COMMIT,
//! backends that are terminated, and a network that loses connections and the answers to COMMIT. The ledger comes out as
//! it does without them, and callers hear nothing but the documented errors.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quotastack_server::app::auth::Scope;
use quotastack_server::app::operator::Operator;
use quotastack_server::store::keys::Environment;
use quotastack_server::store::tx::Store;
use secrecy::ExposeSecret;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::task::JoinSet;

use crate::support::client::Client;
use crate::support::cluster::fresh_database;
use crate::support::process::{Running, serve_command};
use crate::support::relay::Relay;
use crate::support::scratch::scratch_dir;
use crate::support::workload::{Caller, Door, Ledger, set_up};
use crate::writer::kill_connections;

const CALLERS: u64 = 8;
const EPISODES: u64 = 2;
/// Connections that go silent after a COMMIT: each costs the time that a run may take.
const SILENT: u64 = 1;
/// Where the failures come from; another one in the environment runs others.
const SEED: u64 = 7;

fn seed() -> u64 {
    let seed = std::env::var("QUOTASTACK_TEST_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    eprintln!("QUOTASTACK_TEST_SEED={seed}");
    seed
}

/// A database with a tenant's key.
struct Place {
    url: String,
    key: String,
}

impl Place {
    async fn new() -> Self {
        let url = fresh_database().await.url;
        let operator = Operator::new(Store::connect(&url, 1).unwrap());
        let tenant_id = operator.create_tenant("a tenant").await.unwrap().tenant_id;
        let key = operator.create_key(tenant_id, Environment::Live, "all", &[Scope::Full], None).await.unwrap();
        Self { url, key: key.secret.expose_secret().to_owned() }
    }

    async fn owner(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }
}

/// The callers' writes, each caller with an end user of its own: the order of an account's commands is then the same
/// whatever happens.
async fn send_all(client: &Client, variants: &[String; 2]) -> Ledger {
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let (name, user) = (format!("caller-{number}"), format!("user-{number}"));
        let mut caller = Caller::new(&name, &user, variants, Door::to(client), number);
        callers.spawn(async move {
            for _ in 0..EPISODES {
                caller.episode().await;
            }
            caller.repeat().await;
            caller.into_ledger()
        });
    }
    callers.join_all().await.into_iter().fold(Ledger::default(), Ledger::and)
}

/// Every entry without what differs between two runs: ids, instants and hashes.
async fn entries(place: &Place) -> Vec<String> {
    let sql =
        "select concat_ws(' ', end_user_id, e.seq, kind, amount, balance_after, reserved_after, debt_after, cause,
          feature_key, units, (select string_agg((part - 0)::text, ' ')
            from jsonb_array_elements(allocations) as part)) as line
        from entries e join accounts using (lane_id, account_id) order by end_user_id, e.seq";
    sqlx::query_scalar(sql).fetch_all(&mut place.owner().await).await.unwrap()
}

/// Has a part of all transactions that write fail, which part is decided by the seed and the transaction's number.
async fn inject(place: &Place, seed: u64) {
    let tables = [
        "accounts",
        "feed",
        "blocks",
        "subscriptions",
        "entries",
        "entry_reasons",
        "usage_events",
        "usage_voids",
        "reservations",
        "topups",
        "events",
        "account_requests",
        "lanes",
        "environments",
        "catalogue_requests",
    ];
    let function = format!(
        "create function fail_at_random() returns trigger language plpgsql as $$
         declare
           drawn bigint := hashint8extended(pg_current_xact_id()::text::bigint, {seed} + tg_argv[0]::bigint) & 1023;
         begin
           if drawn < 12 then
             raise exception 'injected' using errcode = case when drawn % 2 = 0 then '40001' else '40P01' end;
           end if;
           return null;
         end $$"
    );
    let mut statements = vec![function];
    for (number, table) in tables.iter().enumerate() {
        statements.push(format!(
            "create trigger fail after insert or update on {table} for each statement execute function
             fail_at_random({number})"
        ));
    }
    for (number, table) in ["entries", "account_requests", "catalogue_requests"].iter().enumerate() {
        statements.push(format!(
            "create constraint trigger fail_at_commit after insert on {table} deferrable initially deferred
             for each row execute function fail_at_random({})",
            100 + number
        ));
    }
    let mut owner = place.owner().await;
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut owner).await.unwrap();
    }
}

/// Takes locks in the other order than a batch does, so that Postgres itself finds a deadlock and ends the batch.
async fn make_deadlocks(place: &Place, count: i64) {
    let mut owner = place.owner().await;
    let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
    loop {
        let all = "set deadlock_timeout = '30s'; begin; lock table usage_events in exclusive mode;
                   select 1 from lanes for update; rollback";
        sqlx::raw_sql(all).execute(&mut owner).await.unwrap();
        sqlx::raw_sql("select pg_stat_clear_snapshot()").execute(&mut owner).await.unwrap();
        let found: i64 = sqlx::query_scalar(deadlocks).fetch_one(&mut owner).await.unwrap();
        if found >= count {
            return;
        }
    }
}

/// A counter's value, of all its labels.
fn counted(metrics: &str, name: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn injected_failures_leave_the_ledger_that_there_is_without_them() {
    let seed = seed();
    let quiet = Place::new().await;
    let dir = scratch_dir();
    let server = Running::start(&mut serve_command(&quiet.url, dir.path()));
    let client = server.client(&quiet.key);
    let variants = set_up(&client).await;
    send_all(&client, &variants).await.must_be_all_of(&quiet.url).await;
    let metrics = client.get("/metrics").await.text;
    assert_eq!(counted(&metrics, "quotastack_writer_retries_total"), 0, "nothing was injected yet");
    drop(server);

    eprintln!("now with failures");
    let noisy = Place::new().await;
    let relay = Relay::start(&noisy.url, dir.path(), SILENT, seed);
    let server = Running::start(&mut serve_command(&noisy.url, dir.path()));
    let variants = set_up(&server.client(&noisy.key)).await;
    drop(server);
    inject(&noisy, seed).await;
    // Its log is shown with a failure.
    let server = Running::start_logging(&mut serve_command(&relay.url, dir.path()), Stdio::inherit());
    let client = server.client(&noisy.key);
    let (killer, killed) = kill_connections(noisy.owner().await, Duration::from_millis(250));
    let ledger = send_all(&client, &variants).await;
    killer.abort();
    eprintln!("all is sent");
    ledger.must_be_all_of(&noisy.url).await;
    assert_eq!(entries(&noisy).await, entries(&quiet).await);

    let metrics = client.get("/metrics").await.text;
    let retries = counted(&metrics, "quotastack_writer_retries_total");
    let catalogue_retries = counted(&metrics, "quotastack_catalogue_retries_total");
    let lost = &relay.lost;
    let counts =
        [&lost.connections, &lost.commits, &lost.answers, &lost.silent].map(|count| count.load(Ordering::Relaxed));
    let killed = killed.load(Ordering::Relaxed);
    eprintln!("retries {retries} and {catalogue_retries}, lost {counts:?}, killed {killed}");
    assert!(counts.iter().all(|count| *count > 0) && killed > 0, "lost {counts:?}, killed {killed}");
    assert!(retries > 10 && catalogue_retries > 0, "{retries} and {catalogue_retries}");
    assert_eq!(counted(&metrics, "quotastack_writer_poison_total"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlocks_that_postgres_finds_leave_the_ledger_that_there_is_without_them() {
    const DEADLOCKS: i64 = 3;
    let place = Place::new().await;
    let dir = scratch_dir();
    let server = Running::start(&mut serve_command(&place.url, dir.path()));
    let client = server.client(&place.key);
    let variants = set_up(&client).await;
    let mut caller = Caller::new("caller", "user", &variants, Door::to(&client), 1);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let caller = tokio::spawn(async move {
        while !stopped.load(Ordering::Relaxed) {
            caller.episode().await;
        }
        caller.repeat().await;
        caller.into_ledger()
    });
    make_deadlocks(&place, DEADLOCKS).await;
    stop.store(true, Ordering::Relaxed);
    caller.await.unwrap().must_be_all_of(&place.url).await;
    let metrics = client.get("/metrics").await.text;
    assert!(counted(&metrics, "quotastack_writer_retries_total") >= DEADLOCKS.cast_unsigned());
}
