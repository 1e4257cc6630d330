//! Listeners and connections: bare hyper, HTTP/1.1 with keep-alive, over TCP and a Unix socket.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Listen;
use crate::http::body::UNFINISHED_GRACE;
use crate::http::guard::Guard;
use crate::http::router::{self, Api};
use crate::sidecar::Sidecar;

/// How long a caller may take over the head of a request; also how long an idle connection is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// How long to wait after the operating system refused a connection, for want of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const SOCKET_MODE: u32 = 0o660;

/// Why the local API cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Neither TCP nor a Unix socket.
    #[error("the local API needs an address or a Unix socket to listen on")]
    Nowhere,
    /// An address that others can reach, without a token.
    #[error("{0} can be reached from other machines: set a token (--token), or listen on a loopback address")]
    NeedsToken(SocketAddr),
    /// The operating system refused an address.
    #[error("cannot listen on {address}: {source}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The operating system refused a socket path.
    #[error("cannot listen on the Unix socket {path}: {source}")]
    Uds {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The running local API.
#[derive(Debug)]
pub struct LocalApi {
    tcp: Option<SocketAddr>,
    uds: Option<PathBuf>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl LocalApi {
    /// Listens and serves `sidecar`. With a Prometheus handle, `/metrics` renders it.
    pub async fn start(
        sidecar: Arc<Sidecar>,
        listen: &Listen,
        metrics: Option<PrometheusHandle>,
    ) -> Result<Self, ListenError> {
        if listen.tcp.is_none() && listen.uds.is_none() {
            return Err(ListenError::Nowhere);
        }
        let slots = Arc::new(Semaphore::new(sidecar.limits().connections_max));
        let mut local = Self { tcp: None, uds: None, stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let api = Arc::new(Api::new(sidecar, metrics, local.stop.clone()));
        if let Some(address) = listen.tcp {
            let guard = Guard::of_tcp(address, listen.token.as_ref()).ok_or(ListenError::NeedsToken(address))?;
            let failed = |source| ListenError::Tcp { address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            local.tcp = Some(listener.local_addr().map_err(failed)?);
            local.accept(Listener::Tcp(listener), guard, Arc::clone(&api), Arc::clone(&slots));
        }
        if let Some(path) = &listen.uds {
            let listener = bind_uds(path).map_err(|source| ListenError::Uds { path: path.clone(), source })?;
            local.uds = Some(path.clone());
            local.accept(Listener::Uds(listener), Guard::Socket, api, slots);
        }
        local.tasks.close();
        Ok(local)
    }

    /// The address it listens on.
    pub fn tcp(&self) -> Option<SocketAddr> {
        self.tcp
    }

    /// The Unix socket it listens on.
    pub fn uds(&self) -> Option<&Path> {
        self.uds.as_deref()
    }

    /// Takes no more requests, and waits until those under way are answered or `limit` has passed; for those that
    /// have not come whole only a few seconds.
    pub async fn drain(self, limit: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!(connections = self.tasks.len(), "stopping with requests under way");
        }
        if let Some(path) = &self.uds {
            let _ = std::fs::remove_file(path);
        }
    }

    fn accept(&self, listener: Listener, guard: Guard, api: Arc<Api>, slots: Arc<Semaphore>) {
        let (stop, tasks) = (self.stop.clone(), self.tasks.clone());
        let guard = Arc::new(guard);
        self.tasks.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let connection = match accepted {
                    Ok(connection) => connection,
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                };
                // Beyond the limit a connection is closed at once: waiting would only hide that it is reached.
                let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
                let (api, guard, stop) = (Arc::clone(&api), Arc::clone(&guard), stop.clone());
                tasks.spawn(async move {
                    match connection {
                        Connection::Tcp(stream) => serve(stream, api, guard, stop).await,
                        Connection::Uds(stream) => serve(stream, api, guard, stop).await,
                    }
                    drop(slot);
                });
            }
        });
    }
}

enum Listener {
    Tcp(TcpListener),
    Uds(UnixListener),
}

enum Connection {
    Tcp(TcpStream),
    Uds(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // An answer is one small write: waiting for more would only delay it.
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }
            Self::Uds(listener) => Ok(Connection::Uds(listener.accept().await?.0)),
        }
    }
}

async fn serve<S>(stream: S, api: Arc<Api>, guard: Arc<Guard>, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let has_asked = AtomicBool::new(false);
    let service = service_fn(|request| {
        has_asked.store(true, Ordering::Relaxed);
        let (api, guard) = (Arc::clone(&api), Arc::clone(&guard));
        async move { Ok::<_, Infallible>(router::answer(&api, &guard, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.pipeline_flush(true).timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // How a connection ends is the caller's affair; what it asked for was answered or it went away.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // Whoever has not even finished its first head is not waited for either.
            let ended = tokio::time::timeout(UNFINISHED_GRACE, connection.as_mut()).await;
            if ended.is_err() && has_asked.load(Ordering::Relaxed) {
                let _ = connection.await;
            }
        }
    }
}

/// A socket left by a process that was killed is replaced; anything else at that path is not ours to remove.
fn bind_uds(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers on it")),
            Err(_) => std::fs::remove_file(path)?,
        },
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket")),
        Err(_) => {}
    }
    // Bound under another name and renamed, so that the path never stands open with the default mode.
    let unfinished = path.with_extension("new");
    let _ = std::fs::remove_file(&unfinished);
    let listener = UnixListener::bind(&unfinished)?;
    std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    std::fs::rename(&unfinished, path)?;
    Ok(listener)
}
