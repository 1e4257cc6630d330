//! The crash matrix: the server killed at every named point around a commit, and Postgres at most of them, while callers
//! send every kind of write. What was acknowledged is in the ledger exactly once, a repeat gets the first answer, and `ledger
//! verify` finds nothing.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quotastack_server::app::auth::Scope;
use quotastack_server::app::operator::{Operator, migrate};
use quotastack_server::fault::Point;
use quotastack_server::postgres::{Options, PrivatePostgres};
use quotastack_server::store::keys::Environment;
use quotastack_server::store::tx::Store;
use rustix::process::Signal;
use secrecy::ExposeSecret;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::client::Client;
use crate::support::cluster::fresh_database;
use crate::support::process::{Running, serve_command};
use crate::support::scratch::scratch_dir;
use crate::support::wait::until;
use crate::support::workload::{Caller, Door, Ledger, set_up};

const ROUNDS: u64 = 10;
const CALLERS: u64 = 6;
const PARTS: usize = 2;

/// A database with callers who send their writes to whatever server is there.
struct Stage {
    url: String,
    key: String,
    dir: TempDir,
    place: watch::Sender<Option<Client>>,
    stop: Arc<AtomicBool>,
    callers: JoinSet<Ledger>,
}

impl Stage {
    async fn new(url: String) -> Self {
        let operator = Operator::new(Store::connect(&url, 1).unwrap());
        let tenant_id = operator.create_tenant("a tenant").await.unwrap().tenant_id;
        let key = operator.create_key(tenant_id, Environment::Live, "all", &[Scope::Full], None).await.unwrap();
        let (place, door) = Door::new();
        let key = key.secret.expose_secret().to_owned();
        let mut stage = Self { url, key, dir: scratch_dir(), place, stop: Arc::default(), callers: JoinSet::new() };
        let variants = set_up(&stage.start(&[]).client(&stage.key)).await;
        stage.place.send_replace(None);
        for number in 0..CALLERS {
            let mut caller = Caller::new(
                &format!("caller-{number}"),
                &format!("user-{}", number / 2),
                &variants,
                door.clone(),
                number,
            );
            let stop = Arc::clone(&stage.stop);
            stage.callers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    caller.episode().await;
                }
                caller.repeat().await;
                caller.into_ledger()
            });
        }
        stage
    }

    /// Starts a server, which the callers then use.
    fn start(&self, environment: &[(&str, &str)]) -> Running {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = serve_command(&self.url, self.dir.path());
        let server = Running::start_logging(command.envs(environment.iter().copied()), log);
        self.place.send_replace(Some(server.client(&self.key)));
        server
    }

    /// The end of a server that the callers use.
    fn gone(&self) {
        self.place.send_replace(None);
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    /// Waits, unless a caller fails meanwhile.
    async fn wait<T>(&mut self, condition: impl Future<Output = T>) -> T {
        tokio::select! {
            value = condition => value,
            failed = self.callers.join_next() => panic!("a caller ended: {:?}", failed.map(|failed| failed.is_ok())),
        }
    }

    /// Ends the callers, and holds what they were told against the ledger.
    async fn finish(mut self) {
        let _server = self.start(&[]);
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Ledger::default();
        while let Some(ledger) = self.callers.join_next().await {
            sum = sum.and(ledger.unwrap());
        }
        sum.must_be_all_of(&self.url).await;
    }
}

/// The points at which Postgres is killed: between two statements of one transaction its death is the same.
const POSTGRES_POINTS: [Point; 12] = [
    Point::LockUnderway,
    Point::AfterLock,
    Point::AfterLoad,
    Point::AfterDecide,
    Point::WriteUnderway,
    Point::BeforeCommit,
    Point::CommitUnderway,
    Point::AfterCommit,
    Point::BeforeReply,
    Point::CatalogueLocked,
    Point::CatalogueBeforeCommit,
    Point::CatalogueCommitUnderway,
];

/// A part of the points, so that several tests walk all of them at once.
fn part(points: &'static [Point], number: usize) -> impl Iterator<Item = Point> {
    points.iter().copied().skip(number).step_by(PARTS)
}

async fn the_server_dies(number: usize) {
    let mut stage = Stage::new(fresh_database().await.url).await;
    for point in part(Point::ALL, number) {
        for round in 0..ROUNDS {
            let fault = format!("{}:{}", point.name(), 1 + (round * 3) % 5);
            eprintln!("round {round}: {fault}");
            let mut server = stage.start(&[("QUOTASTACK_FAULT", &fault)]);
            let status = stage.wait(server.ended()).await;
            stage.gone();
            let log = || fs::read_to_string(stage.log()).unwrap();
            assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "round {round}: {fault}: {}", log());
        }
    }
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_killed_at_every_point_of_a_write_first_part() {
    the_server_dies(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_killed_at_every_point_of_a_write_second_part() {
    the_server_dies(1).await;
}

/// The process of this Postgres that is to die, and one by which a restart is seen.
async fn victim(url: &str, cluster: &Path, round: u64) -> (i32, i32) {
    let checkpointer = until("Postgres is back", async || checkpointer(url).await.ok()).await;
    // Mostly one of its processes, after which it starts all of them again by itself; at times the first of them.
    if round.is_multiple_of(5) {
        let file = fs::read_to_string(cluster.join("data/postmaster.pid")).unwrap();
        (file.lines().next().unwrap().parse().unwrap(), checkpointer)
    } else {
        (checkpointer, checkpointer)
    }
}

async fn checkpointer(url: &str) -> sqlx::Result<i32> {
    let mut owner = PgConnection::connect(url).await?;
    let sql = "select pid from pg_stat_activity where backend_type = 'checkpointer'";
    sqlx::query_scalar(sql).fetch_one(&mut owner).await
}

async fn postgres_dies(of: usize) {
    let dir = scratch_dir();
    let mut postgres = PrivatePostgres::start(Options::new(dir.path())).await.unwrap();
    let url = postgres.database_url().to_owned();
    migrate(&url).await.unwrap();
    let mut stage = Stage::new(url.clone()).await;
    let order = stage.dir.path().join("victim");
    for (number, point) in (0_u64..).zip(part(&POSTGRES_POINTS, of)) {
        let fault = format!("{}:{}", point.name(), 1 + number % 3);
        let server = stage.start(&[("QUOTASTACK_FAULT", &fault), ("QUOTASTACK_FAULT_VICTIM", order.to_str().unwrap())]);
        for round in 0..ROUNDS {
            let what = format!("round {round}: {fault}");
            eprintln!("{what}");
            let (pid, before) = victim(&url, &dir.path().join("cluster"), round).await;
            let draft = order.with_extension("new");
            fs::write(&draft, pid.to_string()).unwrap();
            fs::rename(&draft, &order).unwrap();
            stage.wait(until(&what, async || (!order.exists()).then_some(()))).await;
            let restarted = async || checkpointer(&url).await.ok().filter(|pid| *pid != before);
            stage.wait(until(&what, restarted)).await;
        }
        drop(server);
        stage.gone();
        // Its supervisor waits longer after each death; a new one begins anew.
        postgres.stop().await.unwrap();
        postgres = PrivatePostgres::start(Options::new(dir.path())).await.unwrap();
    }
    stage.finish().await;
    postgres.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_killed_at_points_of_a_write_first_part() {
    postgres_dies(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_killed_at_points_of_a_write_second_part() {
    postgres_dies(1).await;
}
