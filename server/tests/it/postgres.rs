//! The embedded Postgres, with real processes: it keeps data, survives the death of Postgres and of the server, and has
//! one owner.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use quotastack_server::postgres::{Error, Options, PrivatePostgres};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::cluster::fresh_database;
use crate::support::scratch::scratch_dir;
use crate::support::wait::until;

const SERVER_DIR_VAR: &str = "QUOTASTACK_TEST_POSTGRES_DIR";

async fn start(dir: &Path) -> PrivatePostgres {
    PrivatePostgres::start(Options::new(dir)).await.expect("Postgres starts")
}

async fn run(url: &str, sql: &'static str) {
    let mut connection = PgConnection::connect(url).await.expect("Postgres takes connections");
    sqlx::raw_sql(sql).execute(&mut connection).await.expect("the statement is right");
}

async fn ask(url: &str, sql: &str) -> Result<String, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await
}

fn data(dir: &Path) -> PathBuf {
    dir.join("cluster/data")
}

fn pid_of_postgres(dir: &Path) -> Option<Pid> {
    let text = fs::read_to_string(data(dir).join("postmaster.pid")).ok()?;
    Pid::from_raw(text.lines().next()?.parse().ok()?)
}

#[tokio::test]
async fn data_survive_a_stop_and_the_url_stays() {
    let dir = scratch_dir();
    let first = start(dir.path()).await;
    run(first.database_url(), "create table kept (word text); insert into kept values ('yes')").await;
    let url = first.database_url().to_owned();
    first.stop().await.unwrap();
    assert!(ask(&url, "select word from kept").await.is_err(), "Postgres still answers after stop");
    assert_eq!(pid_of_postgres(dir.path()), None);

    let second = start(dir.path()).await;
    assert_eq!(second.database_url(), url);
    assert_eq!(ask(&url, "select word from kept").await.unwrap(), "yes");
    second.stop().await.unwrap();
}

#[tokio::test]
async fn the_cluster_is_durable_checksummed_utf8_and_closed_to_the_network() {
    let dir = scratch_dir();
    let postgres = start(dir.path()).await;
    for (setting, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("listen_addresses", ""),
        ("timezone", "UTC"),
        ("max_connections", "200"),
    ] {
        let found = ask(postgres.database_url(), &format!("show {setting}")).await.unwrap();
        assert_eq!(found, value, "{setting}");
    }
    let collation = "select datcollate::text from pg_database where datname = current_database()";
    assert_eq!(ask(postgres.database_url(), collation).await.unwrap(), "C");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_postgres_is_started_again_with_everything_committed() {
    let dir = scratch_dir();
    let postgres = start(dir.path()).await;
    let url = postgres.database_url();
    run(url, "create table kept (word text); insert into kept values ('yes')").await;
    for _ in 0..2 {
        let killed = pid_of_postgres(dir.path()).unwrap();
        kill_process(killed, Signal::KILL).unwrap();
        let word = until("Postgres answers again", async || {
            let started_again = pid_of_postgres(dir.path()).is_some_and(|pid| pid != killed);
            if started_again { ask(url, "select word from kept").await.ok() } else { None }
        })
        .await;
        assert_eq!(word, "yes");
    }
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn the_postgres_of_a_killed_server_is_adopted_watched_and_stopped() {
    let dir = scratch_dir();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres::server_process", "--ignored", "--nocapture"])
        .env(SERVER_DIR_VAR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let url =
        lines.find_map(|line| Some(line.unwrap().strip_prefix("ready ")?.to_owned())).expect("the server started");
    run(&url, "create table kept (word text); insert into kept values ('yes')").await;
    server.kill().unwrap();
    server.wait().unwrap();

    let left = pid_of_postgres(dir.path());
    let postgres = start(dir.path()).await;
    assert_eq!(pid_of_postgres(dir.path()), left, "the running Postgres was not adopted");
    assert_eq!(ask(postgres.database_url(), "select word from kept").await.unwrap(), "yes");

    kill_process(left.unwrap(), Signal::KILL).unwrap();
    until("another Postgres answers in its place", async || {
        ask(postgres.database_url(), "select word from kept").await.ok().filter(|_| pid_of_postgres(dir.path()) != left)
    })
    .await;
    postgres.stop().await.unwrap();
    assert_eq!(pid_of_postgres(dir.path()), None);
}

/// Not a test: the server that the test above kills. Without its variable it does nothing.
#[tokio::test]
#[ignore = "a process of another test, which starts it"]
async fn server_process() {
    let Some(dir) = std::env::var_os(SERVER_DIR_VAR) else { return };
    let postgres = start(Path::new(&dir)).await;
    println!("\nready {}", postgres.database_url());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_second_server_on_the_same_directory_is_refused_by_name() {
    let dir = scratch_dir();
    let first = start(dir.path()).await;
    let refused = PrivatePostgres::start(Options::new(dir.path())).await.unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }), "{refused:?}");
    let message = refused.to_string();
    for part in [dir.path().to_str().unwrap(), &std::process::id().to_string(), "another directory"] {
        assert!(message.contains(part), "{part:?} is missing in {message}");
    }
    assert!(ask(first.database_url(), "select 'still here'").await.is_ok());
    first.stop().await.unwrap();
    start(dir.path()).await.stop().await.unwrap();
}

#[tokio::test]
async fn a_path_too_long_or_too_odd_for_a_socket_works() {
    let dir = scratch_dir();
    for name in ["x".repeat(120), "a, \"b\" ü+%2F'".to_owned()] {
        let data_dir = dir.path().join(name);
        let postgres = start(&data_dir).await;
        let found = ask(postgres.database_url(), "show data_directory").await.unwrap();
        assert_eq!(Path::new(&found), data(&data_dir));

        let socket_dir = PathBuf::from(ask(postgres.database_url(), "show unix_socket_directories").await.unwrap());
        assert_eq!(fs::metadata(&socket_dir).unwrap().permissions().mode() & 0o777, 0o700);
        postgres.stop().await.unwrap();
        assert!(!socket_dir.exists(), "a directory outside is left behind");
    }
}

#[tokio::test]
async fn a_stale_pid_file_that_names_another_process_does_not_prevent_a_start() {
    let dir = scratch_dir();
    start(dir.path()).await.stop().await.unwrap();
    // This test's own process: alive, and no Postgres.
    let data = data(dir.path());
    fs::write(data.join("postmaster.pid"), format!("{}\n{}\n", std::process::id(), data.display())).unwrap();
    let postgres = start(dir.path()).await;
    assert_eq!(ask(postgres.database_url(), "select 'up'").await.unwrap(), "up");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_set_up_that_was_interrupted_begins_again() {
    let dir = scratch_dir();
    start(dir.path()).await.stop().await.unwrap();
    let data = data(dir.path());
    fs::rename(&data, data.with_extension("new")).unwrap();
    fs::remove_file(data.with_extension("new").join("PG_VERSION")).unwrap();
    let postgres = start(dir.path()).await;
    assert_eq!(ask(postgres.database_url(), "select current_database()::text").await.unwrap(), "quotastack");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn dropping_without_stop_ends_postgres_too() {
    let dir = scratch_dir();
    drop(start(dir.path()).await);
    until("Postgres has ended", async || pid_of_postgres(dir.path()).is_none().then_some(())).await;
}

#[tokio::test]
async fn a_start_that_fails_shows_what_postgres_said() {
    let dir = scratch_dir();
    start(dir.path()).await.stop().await.unwrap();
    let conf = data(dir.path()).join("postgresql.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, format!("{text}\nno_such_setting = 1\n")).unwrap();
    let error = PrivatePostgres::start(Options::new(dir.path())).await.unwrap_err().to_string();
    assert!(error.contains("no_such_setting"), "{error}");

    fs::write(&conf, text).unwrap();
    start(dir.path()).await.stop().await.unwrap();
}

#[tokio::test]
async fn as_root_a_closed_directory_gets_its_cluster_elsewhere_and_says_where() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = scratch_dir();
    // Closed to others, as root's home is.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let postgres = start(dir.path()).await;
    run(postgres.database_url(), "create table kept (word text); insert into kept values ('yes')").await;
    postgres.stop().await.unwrap();

    let location = dir.path().join("location");
    let base = PathBuf::from(fs::read_to_string(&location).unwrap().trim());
    assert!(base.join("cluster/data/PG_VERSION").exists() && !dir.path().join("cluster").exists());
    let postgres = start(dir.path()).await;
    assert_eq!(ask(postgres.database_url(), "select word from kept").await.unwrap(), "yes");
    postgres.stop().await.unwrap();

    fs::remove_dir_all(&base).unwrap();
    let gone = PrivatePostgres::start(Options::new(dir.path())).await.unwrap_err();
    assert!(matches!(gone, Error::Moved { .. }), "an empty database was begun: {gone:?}");
}

#[tokio::test]
async fn each_test_database_is_migrated_and_fresh() {
    let (one, other) = tokio::join!(fresh_database(), fresh_database());
    assert_ne!(one.url, other.url);
    assert_eq!(ask(&one.url, "select to_regclass('lanes')::text").await.unwrap(), "lanes");
    run(&one.url, "create table mine (x int)").await;
    assert_eq!(ask(&one.url, "select to_regclass('mine')::text").await.unwrap(), "mine");
    assert_eq!(ask(&other.url, "select coalesce(to_regclass('mine')::text, 'none')").await.unwrap(), "none");
}
