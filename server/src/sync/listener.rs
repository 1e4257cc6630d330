//! The endpoint that sidecars connect to: who may connect, and how many.
//!
//! Before a sidecar has shown its key it has one stream, one short frame and three seconds.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use quinn::{Endpoint, Incoming, ServerConfig, TransportConfig, VarInt, default_runtime};
use socket2::SockRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::sync::session;
use crate::sync::shared::End;
use crate::sync::stream::LinkError;
use crate::sync::tls::Identity;

/// Sidecars at a time.
const SESSIONS_MAX: usize = 4_096;
/// Connections that have not shown a key yet; beyond half of it, addresses must prove themselves.
const UNKNOWN_MAX: usize = 256;
/// A silent connection is dropped after this time.
const IDLE_TIMEOUT_MS: u32 = 15_000;
/// Below half of it, so that a lost packet does not end a session.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Streams of a sidecar before its key is known: the control stream.
const STREAMS_UNKNOWN: VarInt = VarInt::from_u32(1);
/// Bytes that it may have on their way before its key is known, and after.
const WINDOW_UNKNOWN: VarInt = VarInt::from_u32(16 << 10);
pub(super) const WINDOW_KNOWN: VarInt = VarInt::from_u32(8 << 20);
/// Pages of the feed that are read from the database at a time, for all sessions: a fleet that returns at once, or
/// loads whole environments, leaves connections to the writers.
const PAGES_MAX: usize = 2;
/// Bytes that the kernel holds for us.
const UDP_BUFFER_BYTES: usize = 4 << 20;
/// How long sessions may take to end when the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// A bound endpoint with its sessions.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Listener {
    /// Binds the endpoint and takes sidecars in.
    pub fn start(app: Arc<App>, address: SocketAddr, identity: &Identity) -> anyhow::Result<Self> {
        let mut config = ServerConfig::with_crypto(identity.quic_config()?);
        config.transport_config(Arc::new(transport()));
        let socket = UdpSocket::bind(address)?;
        raise_buffers(&socket);
        let runtime = default_runtime().context("the listener needs a running tokio")?;
        let endpoint = Endpoint::new(identity.endpoint_config(), Some(config), socket, runtime)?;
        let address = endpoint.local_addr()?;
        let listener = Self { endpoint, address, stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let accept = accept(listener.endpoint.clone(), app, listener.stop.clone(), listener.tasks.clone());
        listener.tasks.spawn(accept);
        Ok(listener)
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Ends all sessions. What they had not been answered, sidecars send again.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(CLOSE_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("some sidecar sessions did not end in time");
        }
        self.endpoint.close(VarInt::from_u32(0), b"the server stops");
        // The last packets; who does not get them notices by itself.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.endpoint.wait_idle()).await;
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIMEOUT_MS).into()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(STREAMS_UNKNOWN)
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .receive_window(WINDOW_UNKNOWN)
        .datagram_receive_buffer_size(None);
    transport
}

/// The kernel may give less; then bursts cost more packets.
fn raise_buffers(socket: &UdpSocket) {
    let socket = SockRef::from(socket);
    for result in [socket.set_recv_buffer_size(UDP_BUFFER_BYTES), socket.set_send_buffer_size(UDP_BUFFER_BYTES)] {
        if let Err(error) = result {
            tracing::debug!(%error, "the UDP buffers stay as they are");
        }
    }
}

async fn accept(endpoint: Endpoint, app: Arc<App>, stop: CancellationToken, tasks: TaskTracker) {
    let sessions = Arc::new(Semaphore::new(SESSIONS_MAX));
    let unknown = Arc::new(Semaphore::new(UNKNOWN_MAX));
    let end = End { app, pages: Arc::new(Semaphore::new(PAGES_MAX)) };
    loop {
        let incoming = tokio::select! {
            () = stop.cancelled() => return,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        let busy = unknown.available_permits() < UNKNOWN_MAX / 2;
        if busy && !incoming.remote_address_validated() && incoming.may_retry() {
            // It may retry, so this cannot fail.
            let _ = incoming.retry();
            continue;
        }
        let permits = (Arc::clone(&sessions).try_acquire_owned(), Arc::clone(&unknown).try_acquire_owned());
        let (Ok(session), Ok(unknown)) = permits else {
            incoming.refuse();
            continue;
        };
        tasks.spawn(take_in(incoming, end.clone(), stop.clone(), (session, unknown)));
    }
}

async fn take_in(
    incoming: Incoming,
    end: End,
    stop: CancellationToken,
    (_session, unknown): (OwnedSemaphorePermit, OwnedSemaphorePermit),
) {
    let address = incoming.remote_address();
    let connection = match incoming.await {
        Ok(connection) => connection,
        Err(error) => {
            tracing::debug!(%address, %error, "a handshake failed");
            return;
        }
    };
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = session::run(&connection, end, unknown) => ended,
    };
    let reason = match &ended {
        Ok(()) => "the server stops".to_owned(),
        Err(error) => error.to_string(),
    };
    match ended {
        Err(LinkError::Wire(_) | LinkError::Unexpected(_) | LinkError::Server(_)) => {
            tracing::warn!(%address, reason, "a sidecar's session ended");
        }
        _ => tracing::debug!(%address, reason, "a sidecar's session ended"),
    }
    connection.close(VarInt::from_u32(0), reason.as_bytes());
}
