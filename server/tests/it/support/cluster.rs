//! A fresh database for each test, copied from a migrated template on one private Postgres per test run.
//!
//! Under nextest every test is a process of its own, so the cluster lives in a process of its own too: this binary
//! again, running the ignored test `hold` below. The first test that needs the cluster starts the holder; each test
//! process keeps a shared lock on `users` as long as it lives; the holder drops the databases of processes that ended,
//! and when it gets the lock for itself for a while, it stops Postgres and removes everything. A run that was killed is
//! cleaned up the same way, since the kernel releases the locks.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quotastack_server::app::operator;
use quotastack_server::postgres::{Durability, Error, Options, PrivatePostgres};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;

use super::wait::until;

const TEMPLATE: &str = "template_migrated";
const DIR_PREFIX: &str = "quotastack-tests-";
const HOLDER_DIR_VAR: &str = "QUOTASTACK_TEST_CLUSTER";
/// How long a cluster outlives its last user. A longer gap between two tests costs a new cluster, nothing else.
const IDLE_MAX: Duration = Duration::from_secs(10);
const HOLDER_TICK: Duration = Duration::from_millis(500);

/// A database of this test's own, migrated and empty. Dropped by the holder after this process has ended.
pub(crate) struct TestDb {
    /// As the cluster's owner.
    pub(crate) url: String,
}

/// Creates a database from the migrated template.
pub(crate) async fn fresh_database() -> TestDb {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let owner_url = owner_url().await;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("t_{}_{number}", std::process::id());
    let mut owner = PgConnection::connect(owner_url).await.expect("the cluster takes connections");
    // A name of an earlier process with the same id may still be there.
    for sql in
        [format!("drop database if exists {name} with (force)"), format!("create database {name} template {TEMPLATE}")]
    {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut owner).await.expect("a database is created from the template");
    }
    TestDb { url: of_database(owner_url, &name) }
}

fn of_database(owner_url: &str, name: &str) -> String {
    let replaced = owner_url.replacen("/quotastack?", &format!("/{name}?"), 1);
    assert_ne!(owner_url, replaced, "the private Postgres gives the URL of its database `quotastack`");
    replaced
}

/// The run's cluster, which stays as long as this process lives.
async fn owner_url() -> &'static str {
    static CLUSTER: OnceCell<(String, File)> = OnceCell::const_new();
    let (url, _users) = CLUSTER.get_or_init(join_cluster).await;
    url
}

async fn join_cluster() -> (String, File) {
    let dir = std::env::temp_dir().join(format!("{DIR_PREFIX}{}", run_id()));
    loop {
        fs::create_dir_all(&dir).expect("the temporary directory is writable");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("a directory we created can be changed");
        let (Ok(start), Ok(users)) = (open_lock(&dir, "start"), open_lock(&dir, "users")) else { continue };
        start.lock().expect("locks work here");
        // Waits while a holder is just leaving.
        users.lock_shared().expect("locks work here");
        let is_current = fs::metadata(dir.join("users")).is_ok_and(|there| {
            let ours = users.metadata().expect("an open file has metadata");
            (there.dev(), there.ino()) == (ours.dev(), ours.ino())
        });
        if !is_current {
            // We locked the files of a cluster that was removed meanwhile.
            continue;
        }
        let url = match published_url(&dir).await {
            Some(url) => url,
            None => start_holder(&dir).await,
        };
        return (url, users);
    }
}

/// One cluster per run and per build: nextest names its runs, `cargo test` is the parent of one process per run.
fn run_id() -> String {
    let run = std::env::var("NEXTEST_RUN_ID")
        .unwrap_or_else(|_| rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get()).to_string());
    let build = own_program().metadata().expect("this program exists").mtime_nsec();
    format!("{run}-{build}")
}

fn own_program() -> PathBuf {
    std::env::current_exe().expect("a test knows its own program")
}

fn open_lock(dir: &Path, name: &str) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(dir.join(name))
}

/// The URL a holder wrote, if its Postgres answers.
async fn published_url(dir: &Path) -> Option<String> {
    let url = fs::read_to_string(dir.join("url")).ok()?;
    PgConnection::connect(&url).await.ok()?.close().await.ok()?;
    Some(url)
}

async fn start_holder(dir: &Path) -> String {
    let _ = fs::remove_file(dir.join("url"));
    let log = dir.join("holder.log");
    let output = File::create(&log).expect("the log of the holder can be created");
    let mut holder = Command::new(own_program())
        .args(["--exact", "support::cluster::hold", "--ignored", "--nocapture"])
        .env(HOLDER_DIR_VAR, dir)
        // Not in the group that the test runner kills with a test.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a file can be shared"))
        .stderr(output)
        .spawn()
        .expect("this program can be run again");
    until("the cluster for the tests is ready", async || {
        if let Some(status) = holder.try_wait().expect("a child can be waited for") {
            panic!("the cluster for the tests ended with {status}: {}", fs::read_to_string(&log).unwrap_or_default());
        }
        published_url(dir).await
    })
    .await
}

/// Not a test: the process that holds the cluster (see above). Without its variable it does nothing.
#[tokio::test]
#[ignore = "the process behind `fresh_database`, which starts it"]
async fn hold() {
    let Some(dir) = std::env::var_os(HOLDER_DIR_VAR).map(PathBuf::from) else { return };
    let options = Options { data_dir: dir.join("postgres"), durability: Durability::Throwaway };
    let postgres = PrivatePostgres::start(options).await.expect("Postgres starts");
    let mut owner = PgConnection::connect(postgres.database_url()).await.expect("Postgres answers");
    prepare_template(&mut owner, postgres.database_url()).await;
    publish(&dir, postgres.database_url());

    let users = open_lock(&dir, "users").expect("the test that started us made it");
    let mut used_at = Instant::now();
    loop {
        tokio::time::sleep(HOLDER_TICK).await;
        drop_abandoned(&mut owner).await;
        match users.try_lock() {
            Ok(()) if used_at.elapsed() > IDLE_MAX => break,
            Ok(()) => users.unlock().expect("a lock that is held can be released"),
            Err(_) => used_at = Instant::now(),
        }
    }
    drop(owner);
    postgres.stop().await.expect("Postgres stops");
    remove(&dir);
    remove_abandoned_clusters().await;
}

/// Whoever locks a file in `dir` meanwhile sees that the name is gone, and begins again.
fn remove(dir: &Path) {
    let gone = dir.with_extension("gone");
    if fs::rename(dir, &gone).is_ok() {
        let _ = fs::remove_dir_all(gone);
    }
}

/// Ends and removes what holders that were killed have left.
async fn remove_abandoned_clusters() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let dir = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(DIR_PREFIX) {
            continue;
        }
        let Ok(users) = open_lock(&dir, "users") else { continue };
        if users.try_lock().is_err() {
            continue;
        }
        if dir.join("postgres/cluster/data").exists() {
            let options = Options { data_dir: dir.join("postgres"), durability: Durability::Throwaway };
            match PrivatePostgres::start(options).await {
                Ok(left) => left.stop().await.expect("Postgres stops"),
                // Its holder lives.
                Err(Error::InUse { .. }) => continue,
                Err(_) => {}
            }
        }
        remove(&dir);
    }
}

async fn prepare_template(owner: &mut PgConnection, owner_url: &str) {
    for sql in [format!("drop database if exists {TEMPLATE} with (force)"), format!("create database {TEMPLATE}")] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *owner).await.expect("the template is created");
    }
    operator::migrate(&of_database(owner_url, TEMPLATE)).await.expect("the migrations run on an empty database");
}

fn publish(dir: &Path, url: &str) {
    let draft = dir.join("url.new");
    fs::write(&draft, url).expect("the cluster's directory is writable");
    fs::rename(draft, dir.join("url")).expect("the cluster's directory is writable");
}

/// Drops the databases of test processes that have ended.
async fn drop_abandoned(owner: &mut PgConnection) {
    let names: Vec<String> = sqlx::query_scalar("select datname from pg_database where datname ~ '^t_[0-9]+_[0-9]+$'")
        .fetch_all(&mut *owner)
        .await
        .expect("the catalogue can be read");
    for name in names {
        let pid = name.split('_').nth(1).and_then(|pid| pid.parse().ok()).and_then(rustix::process::Pid::from_raw);
        let ended = pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_err());
        if ended {
            let sql = format!("drop database if exists {name} with (force)");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *owner).await.expect("an abandoned database can be dropped");
        }
    }
}
