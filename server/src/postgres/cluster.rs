//! Bring a Postgres up on the claimed directory and wait until it answers.
//!
//! Called by the supervisor at the first start and after each death. Cancelling [`Cluster::bring_up`] is safe: the
//! process it was waiting for stays in the caller's slot.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use super::Error;
use super::binaries::Binaries;
use super::initdb;
use super::place::Place;
use super::postmaster::Postmaster;
use super::private::{DATABASE, Durability, OWNER, Options};
use super::settings::enforced;

/// No answer at all on the socket for so long is a failure. "Starting up" is an answer: a recovery may take as long as
/// it needs.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_millis(20);
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
const LOG_TAIL_LINES: usize = 10;
/// SQLSTATE `cannot_connect_now`: starting, recovering or shutting down.
const CANNOT_CONNECT_NOW: &str = "57P03";

#[derive(Debug)]
pub(super) struct Cluster {
    place: Place,
    binaries: Binaries,
    durability: Durability,
}

enum Answer {
    Ready,
    NotYet,
    None,
}

impl Cluster {
    /// Takes the directory for this process and creates the cluster if there is none.
    pub(super) async fn open(options: &Options) -> Result<Self, Error> {
        let place = Place::claim(&options.data_dir)?;
        let existing = place.existing_major()?;
        let binaries = Binaries::find(&place.user, existing).await?;
        if existing.is_none() {
            initdb::create(&place, &binaries, options.durability).await?;
        }
        Ok(Self { place, binaries, durability: options.durability })
    }

    pub(super) fn database_url(&self) -> String {
        let socket_dir = self.place.socket_dir.display();
        format!("postgres://{OWNER}@localhost:5432/{DATABASE}?host={socket_dir}&sslmode=disable")
    }

    /// Adopts the Postgres that a killed server left, if it answers; otherwise starts one. Returns when it takes
    /// connections; on an error the process that failed, if any, is in `slot`.
    pub(super) async fn bring_up(&self, slot: &mut Option<Postmaster>) -> Result<(), Error> {
        let data = self.place.data();
        if let Some(left) = Postmaster::left_behind(&data) {
            let left = slot.insert(left);
            match self.answers(left).await {
                Ok(()) => {
                    tracing::info!(
                        pid = left.pid(),
                        "adopted the private Postgres that an earlier server left running"
                    );
                    return Ok(());
                }
                Err(why) => {
                    tracing::warn!(pid = left.pid(), %why, "an earlier server left a Postgres that cannot be used");
                    left.stop().await?;
                }
            }
        }
        for stale in [data.join("postmaster.pid"), self.place.socket_lock()] {
            // Postgres takes any living process with that id for itself, also one that is no Postgres.
            match fs::remove_file(&stale) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &stale)(error));
                }
                _ => {}
            }
        }
        let started = slot.insert(self.spawn()?);
        self.answers(started).await?;
        tracing::info!(pid = started.pid(), data = %data.display(), "private Postgres is ready");
        Ok(())
    }

    fn spawn(&self) -> Result<Postmaster, Error> {
        let log = self.place.startup_log();
        let stderr = File::create(&log).map_err(Error::io("write", &log))?;
        let program = self.binaries.postgres();
        let mut command = self.place.user.command(&program);
        command.arg("-D").arg(self.place.data());
        for setting in enforced(&self.place, self.durability) {
            command.args(["-c", &setting]);
        }
        // Its own process group: Ctrl-C in a terminal must reach the server alone, which drains before it stops
        // Postgres.
        command.process_group(0).stdout(Stdio::null()).stderr(stderr);
        let child = tokio::process::Command::from(command).spawn().map_err(Error::io("run", &program))?;
        Ok(Postmaster::of_child(child, self.place.data()))
    }

    async fn answers(&self, postmaster: &mut Postmaster) -> Result<(), Error> {
        let url = self.database_url();
        let mut silent_since = Instant::now();
        loop {
            match probe(&url).await {
                Answer::Ready => return Ok(()),
                Answer::NotYet => silent_since = Instant::now(),
                Answer::None if silent_since.elapsed() > SILENCE_MAX => {
                    return Err(Error::Silent { pid: postmaster.pid(), waited_s: SILENCE_MAX.as_secs() });
                }
                Answer::None => {}
            }
            tokio::select! {
                () = postmaster.ended() => return Err(self.exited()),
                () = tokio::time::sleep(PROBE_EVERY) => {}
            }
        }
    }

    fn exited(&self) -> Error {
        let day_logs = fs::read_dir(self.place.log_dir()).into_iter().flatten().flatten().map(|entry| entry.path());
        let written_at = |path: &PathBuf| fs::metadata(path).and_then(|found| found.modified()).ok();
        let newest = day_logs.max_by_key(written_at);
        let log = [Some(self.place.startup_log()), newest].iter().flatten().map(|path| tail(path)).collect();
        Error::Exited { log }
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
    format!("{}:\n{}\n", log.display(), last.join("\n"))
}

async fn probe(url: &str) -> Answer {
    match tokio::time::timeout(PROBE_TIMEOUT, PgConnection::connect(url)).await {
        Ok(Ok(connection)) => {
            let _ = connection.close().await;
            Answer::Ready
        }
        Ok(Err(sqlx::Error::Database(error))) if error.code().as_deref() == Some(CANNOT_CONNECT_NOW) => Answer::NotYet,
        // Any other refusal, such as "too many connections", comes from a Postgres that is up.
        Ok(Err(sqlx::Error::Database(_))) => Answer::Ready,
        Ok(Err(_)) | Err(_) => Answer::None,
    }
}
