//! Accepts connections, in bounds: how many, how long a request's head may take, and how long the end may take.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 8_192;
/// How long a request's head may take, and a connection may be silent.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long to wait after the system has refused to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections without a request may take to end.
const CLOSE_MAX: Duration = Duration::from_millis(500);
/// How long requests that are being carried out may take once the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// The REST API on a socket.
#[derive(Debug)]
pub struct Rest {
    stop: CancellationToken,
    end: CancellationToken,
    connections: TaskTracker,
    requests: TaskTracker,
}

impl Rest {
    /// Serves `routes`; `requests` has a token for each request that is being carried out.
    pub fn start(listener: TcpListener, routes: Router, requests: TaskTracker) -> Self {
        raise_descriptors();
        let rest = Self {
            stop: CancellationToken::new(),
            end: CancellationToken::new(),
            connections: TaskTracker::new(),
            requests,
        };
        rest.connections.spawn(accept(listener, routes, rest.connections.clone(), rest.stop.clone(), rest.end.clone()));
        rest
    }

    /// Accepts nothing more, lets what is being carried out end (within a bound), then closes what is still open.
    pub async fn stop(self) {
        self.stop.cancel();
        self.requests.close();
        if tokio::time::timeout(DRAIN_MAX, self.requests.wait()).await.is_err() {
            tracing::warn!("some requests were still open when the time to drain was over");
        }
        self.connections.close();
        let _ = tokio::time::timeout(CLOSE_MAX, self.connections.wait()).await;
        self.end.cancel();
        self.connections.wait().await;
    }
}

/// Every connection is a descriptor, and the usual soft limit is far below the hard one.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

async fn accept(
    listener: TcpListener,
    routes: Router,
    connections: TaskTracker,
    stop: CancellationToken,
    end: CancellationToken,
) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async {
            let permit = Arc::clone(&free).acquire_owned().await.expect("nobody closes it");
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            () = stop.cancelled() => return,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(serve(stream, routes.clone(), permit, stop.clone(), end.clone()));
            }
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    routes: Router,
    _permit: OwnedSemaphorePermit,
    stop: CancellationToken,
    end: CancellationToken,
) {
    // Answers are small: none should wait for another one's packet.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = std::pin::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            // An error is the caller's: it went away, or what it sent is no HTTP.
            _ = connection.as_mut() => return,
            () = end.cancelled() => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
