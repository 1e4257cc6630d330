//! What happens over one connection: hello, then deltas, heartbeats, batches and fetches side by side.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quinn::{Connection, SendStream};
use quotastack_core::limits::FOLLOW_HASHES_MAX;
use quotastack_core::time::Timestamp;
use quotastack_core::wire::{Delta, Hello, Mode, Secret, ServerControl, SidecarControl, Welcome, follow_hash};
use secrecy::ExposeSecret;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Counter;
use crate::engine::Engine;
use crate::fetch::Fetch;
use crate::lease::Asked;
use crate::link::LinkError;
use crate::link::requests::{fetch, lease, return_lease, send_batch};
use crate::link::run::Identity;
use crate::link::stream::{Incoming, send};

/// How long the server may take to answer hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the server's clock is asked for, and its process seen to be alive.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Heartbeats without an answer after which the link is given up: a server that was killed sends no farewell, and
/// one that started again on its address does not know this connection.
const UNANSWERED_MAX: u32 = 3;
/// How often leases are looked at that are over or idle.
const LEASES_INTERVAL: Duration = Duration::from_millis(100);
/// Changes that are not on disk yet; beyond, deltas wait: a first load must not fill the memory.
const BACKLOG_MAX: usize = 20_000;

/// A connection over which the server took the sidecar in.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    engine: &'a Arc<Engine>,
    connection: &'a Connection,
    link: u64,
    to_server: SendStream,
    from_server: Incoming,
}

impl<'a> Session<'a> {
    /// Says hello, and names the accounts that are followed.
    pub(crate) async fn begin(
        engine: &'a Arc<Engine>,
        connection: &'a Connection,
        identity: &Identity,
    ) -> Result<Self, LinkError> {
        let (mut to_server, from_server) = connection.open_bi().await?;
        let mut from_server = Incoming::new(from_server);
        let hello = {
            let core = engine.lock();
            Hello {
                key: Secret(identity.key.expose_secret().to_owned()),
                sidecar_id: identity.sidecar_id,
                run_id: identity.run_id,
                software: concat!("quotastack-sidecar ", env!("CARGO_PKG_VERSION")).to_owned(),
                mode: engine.mode,
                cursor: core.machine.cursor(),
                catalogue_version: core.machine.catalogue_version(),
            }
        };
        let sent_at = Counter::now();
        send(&mut to_server, &SidecarControl::Hello(hello)).await?;
        let answer = tokio::time::timeout(HELLO_TIMEOUT, from_server.next()).await;
        let welcome = match answer.map_err(|_| LinkError::ConnectTimeout)?? {
            Some(ServerControl::Welcome(welcome)) => welcome,
            Some(ServerControl::Refused { code, reason }) => return Err(LinkError::Refused { code, reason }),
            Some(ServerControl::Heartbeat { .. }) | None => return Err(LinkError::Ended("control stream")),
        };
        engine.clock.measured(sent_at, Counter::now(), welcome.server_now);
        let link = engine.link_up(&welcome)?;
        let mut session = Self { engine, connection, link, to_server, from_server };
        if engine.mode == Mode::OnDemand {
            session.follow(&welcome).await?;
        }
        Ok(session)
    }

    async fn follow(&mut self, welcome: &Welcome) -> Result<(), LinkError> {
        let mut hashes = self.engine.lock().machine.followed_beside_stored();
        if welcome.resume {
            hashes.extend(self.engine.stored.lock().iter().map(follow_hash));
        }
        let mut rest = hashes.as_slice();
        loop {
            let (part, after) = rest.split_at(rest.len().min(FOLLOW_HASHES_MAX));
            let follow = SidecarControl::Follow { hashes: part.to_vec(), complete: after.is_empty() };
            send(&mut self.to_server, &follow).await?;
            if after.is_empty() {
                return Ok(());
            }
            rest = after;
        }
    }

    /// Runs until the connection breaks or the sidecar stops (`Ok`).
    pub(crate) async fn run(
        self,
        (fetches, leases): &mut (mpsc::Receiver<Fetch>, mpsc::Receiver<Asked>),
        stop: &CancellationToken,
    ) -> Result<(), LinkError> {
        let Self { engine, connection, link, to_server, from_server } = self;
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            error = take_deltas(engine, connection, link) => error,
            error = keep_alive(engine, to_server, from_server) => error,
            () = send_batches(engine, connection, link) => Ok(()),
            () = send_fetches(engine, connection, link, fetches) => Ok(()),
            () = ask_for_leases(engine, connection, link, leases) => Ok(()),
            () = return_leases(engine, connection, link) => Ok(()),
        }
    }
}

async fn take_deltas(engine: &Engine, connection: &Connection, link: u64) -> Result<(), LinkError> {
    let mut deltas = Incoming::new(connection.accept_uni().await?);
    while let Some(delta) = deltas.next::<Delta>().await? {
        let taken = engine.receive(link, |machine, held, _| {
            machine.delta(delta, held)?;
            Ok::<_, LinkError>(machine.replica_backlog())
        });
        if taken.transpose()?.is_some_and(|backlog| backlog > BACKLOG_MAX) {
            room_in_backlog(engine).await;
        }
    }
    Err(LinkError::Ended("stream of deltas"))
}

/// Waits until the replica's writer has caught up.
async fn room_in_backlog(engine: &Engine) {
    loop {
        let changed = engine.changed.notified();
        if engine.lock().machine.replica_backlog() <= BACKLOG_MAX / 2 {
            return;
        }
        changed.await;
    }
}

async fn keep_alive(engine: &Engine, mut to_server: SendStream, mut from_server: Incoming) -> Result<(), LinkError> {
    let mut tick = tokio::time::interval(HEARTBEAT_INTERVAL);
    let mut unanswered = 0;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                if unanswered == UNANSWERED_MAX {
                    return Err(LinkError::Silent);
                }
                unanswered += 1;
                let report = engine.report();
                send(&mut to_server, &SidecarControl::Heartbeat { sent_at: Counter::now().to_wire(), report }).await?;
            }
            message = from_server.next() => match message? {
                Some(ServerControl::Heartbeat { sent_at, server_now }) => {
                    unanswered = 0;
                    engine.clock.measured(Counter::from_wire(sent_at), Counter::now(), server_now);
                }
                Some(ServerControl::Refused { code, reason }) => return Err(LinkError::Refused { code, reason }),
                Some(ServerControl::Welcome(_)) | None => return Err(LinkError::Ended("control stream")),
            }
        }
    }
}

/// Sends what is due, and looks again when something was committed or answered, or time makes something due.
async fn send_batches(engine: &Arc<Engine>, connection: &Connection, link: u64) {
    loop {
        let due = engine.batches_due.notified();
        let (batches, wake_in) = {
            let mut core = engine.lock();
            let now = engine.now(&mut core);
            let (batches, wake) = core.machine.poll(now);
            (batches, wake.map(|wake| until(wake, now)))
        };
        // What is old enough is removed from the outbox.
        engine.outbox_signal.set();
        for batch in batches {
            tokio::spawn(send_batch(Arc::clone(engine), connection.clone(), link, batch));
        }
        match wake_in {
            Some(wake_in) => {
                let _ = tokio::time::timeout(wake_in, due).await;
            }
            None => due.await,
        }
    }
}

fn until(wake: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(wake.micros_since(now)).unwrap_or(0))
}

async fn ask_for_leases(engine: &Arc<Engine>, connection: &Connection, link: u64, leases: &mut mpsc::Receiver<Asked>) {
    while let Some(asked) = leases.recv().await {
        tokio::spawn(lease(Arc::clone(engine), connection.clone(), link, asked));
    }
}

/// Gives back what is over or idle, and everything when the sidecar stops.
async fn return_leases(engine: &Arc<Engine>, connection: &Connection, link: u64) {
    let mut tick = tokio::time::interval(LEASES_INTERVAL);
    loop {
        tick.tick().await;
        let all = engine.ending.load(Ordering::Acquire);
        let returns = engine.receive(link, |machine, _, now| machine.end_leases(now, all)).unwrap_or_default();
        for returned in returns {
            tokio::spawn(return_lease(Arc::clone(engine), connection.clone(), link, returned));
        }
    }
}

async fn send_fetches(engine: &Arc<Engine>, connection: &Connection, link: u64, fetches: &mut mpsc::Receiver<Fetch>) {
    while let Some(asked) = fetches.recv().await {
        tokio::spawn(fetch(Arc::clone(engine), connection.clone(), link, asked));
    }
}
