//! A relay between a server and Postgres that loses what a network loses: connections at any moment, and the answers to
//! COMMIT, with the transaction committed or not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

/// The name of the socket of a Postgres on its usual port.
const SOCKET: &str = ".s.PGSQL.5432";
/// Of so many messages one ends its connection.
const MESSAGES_PER_CUT: u64 = 1_000;
/// Of so many commits one loses its answer, and one is lost itself.
const COMMITS_PER_LOSS: u64 = 24;
/// A transaction of more statements than that has written something.
const READING_STATEMENTS_MAX: u64 = 10;

/// What was lost.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// Connections, at any message.
    pub(crate) connections: AtomicU64,
    /// COMMITs that never arrived.
    pub(crate) commits: AtomicU64,
    /// COMMITs that were carried out, and whose answers never arrived.
    pub(crate) answers: AtomicU64,
    /// The same, on a connection that stays open and says nothing more.
    pub(crate) silent: AtomicU64,
}

/// A running relay; ends when dropped.
pub(crate) struct Relay {
    pub(crate) url: String,
    pub(crate) lost: Arc<Lost>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    /// Relays to the Postgres of this URL; listens in `dir`. The first `silent` commits have their connections go
    /// silent; what else is lost follows from `seed`.
    pub(crate) fn start(url: &str, dir: &Path, silent: u64, seed: u64) -> Self {
        let (before, rest) = url.split_once("host=").expect("a private Postgres is reached by its socket");
        let (host, after) = rest.split_once('&').expect("and without TLS");
        let upstream = PathBuf::from(host).join(SOCKET);
        let listener = UnixListener::bind(dir.join(SOCKET)).unwrap();
        let lost = Arc::new(Lost::default());
        let chance = Arc::new(Chance { seed, drawn: AtomicU64::new(0), silent_left: AtomicU64::new(silent) });
        let task = tokio::spawn({
            let lost = Arc::clone(&lost);
            async move {
                loop {
                    let (server, _) = listener.accept().await.unwrap();
                    let (upstream, lost, chance) = (upstream.clone(), Arc::clone(&lost), Arc::clone(&chance));
                    tokio::spawn(async move {
                        let postgres = UnixStream::connect(upstream).await.expect("Postgres is there");
                        relay(server, postgres, &lost, &chance).await;
                    });
                }
            }
        });
        Self { url: format!("{before}host={}&{after}", dir.display()), lost, task }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Seeded chance.
struct Chance {
    seed: u64,
    drawn: AtomicU64,
    silent_left: AtomicU64,
}

impl Chance {
    fn below(&self, bound: u64) -> u64 {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        let mut mixed = self.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn goes_silent(&self) -> bool {
        self.silent_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

async fn relay(server: UnixStream, postgres: UnixStream, lost: &Lost, chance: &Chance) {
    let ((from_server, to_server), (from_postgres, to_postgres)) = (server.into_split(), postgres.into_split());
    let swallow = Swallow { on: AtomicBool::new(false), swallowed: Notify::new() };
    tokio::select! {
        () = answers(from_postgres, to_server, &swallow) => {}
        () = questions(from_server, to_postgres, &swallow, lost, chance) => {}
    }
}

/// Whether answers are lost from now on, and that one was.
struct Swallow {
    on: AtomicBool,
    swallowed: Notify,
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallow: &Swallow) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if swallow.on.load(Ordering::Acquire) {
            swallow.swallowed.notify_one();
        } else if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Message by message, until the connection ends or is ended.
async fn questions(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallow: &Swallow, lost: &Lost, chance: &Chance) {
    // The first message has no type.
    let (mut has_type, mut statements) = (false, 0);
    while let Ok(message) = read_message(&mut from, has_type).await {
        let is_commit = has_type && message.starts_with(b"Q") && message[5..].starts_with(b"commit");
        statements = match message.first() {
            Some(b'Q') if !is_commit => 0,
            Some(b'E') => statements + 1,
            _ => statements,
        };
        if is_commit && statements > READING_STATEMENTS_MAX && chance.goes_silent() {
            lost.silent.fetch_add(1, Ordering::Relaxed);
            swallow.on.store(true, Ordering::Release);
            if to.write_all(&message).await.is_ok() {
                // Until the server gives up on this connection.
                let _ = from.read(&mut [0]).await;
            }
            return;
        }
        let draw = if is_commit { chance.below(COMMITS_PER_LOSS) } else { COMMITS_PER_LOSS };
        match draw {
            0 => {
                lost.commits.fetch_add(1, Ordering::Relaxed);
                return;
            }
            1 => {
                lost.answers.fetch_add(1, Ordering::Relaxed);
                swallow.on.store(true, Ordering::Release);
                if to.write_all(&message).await.is_ok() {
                    swallow.swallowed.notified().await;
                }
                return;
            }
            _ if chance.below(MESSAGES_PER_CUT) == 0 => {
                lost.connections.fetch_add(1, Ordering::Relaxed);
                return;
            }
            _ => {}
        }
        if to.write_all(&message).await.is_err() {
            return;
        }
        has_type = true;
    }
}

/// One message: its type, if it has one, its length, and the rest.
async fn read_message(from: &mut OwnedReadHalf, has_type: bool) -> std::io::Result<Vec<u8>> {
    let head = usize::from(has_type);
    let mut message = vec![0; head + 4];
    from.read_exact(&mut message).await?;
    let length = u32::from_be_bytes(message[head..].try_into().unwrap());
    message.resize(head + usize::try_from(length).unwrap(), 0);
    from.read_exact(&mut message[head + 4..]).await?;
    Ok(message)
}
