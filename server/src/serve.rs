//! A running server: REST and the link to sidecars over one [`App`]. Started by the command line and by tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::app::{App, AppConfig};
use crate::http::router::router;
use crate::http::state::ApiState;
use crate::sync::listener::Listener;
use crate::sync::tls::Identity;

/// How long requests that are under way may take once the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// How a server is set up.
#[derive(Debug)]
pub struct ServerConfig {
    /// The database.
    pub app: AppConfig,
    /// Where REST listens.
    pub http: SocketAddr,
    /// Where sidecars connect.
    pub quic: SocketAddr,
    /// What sidecars are shown.
    pub identity: Identity,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Where REST listens.
    pub http: SocketAddr,
    /// Where sidecars connect.
    pub quic: SocketAddr,
    app: Arc<App>,
    stop: watch::Sender<bool>,
    rest: JoinHandle<std::io::Result<()>>,
    link: Listener,
}

impl Server {
    /// Binds both addresses and begins to answer.
    pub async fn start(config: ServerConfig, metrics: PrometheusHandle) -> anyhow::Result<Self> {
        let app = App::start(&config.app).context("the database URL is not valid")?;
        let listener = TcpListener::bind(config.http).await;
        let listener = listener.with_context(|| format!("cannot listen on {} (--http)", config.http))?;
        let http = listener.local_addr()?;
        let link = Listener::start(Arc::clone(&app), config.quic, &config.identity);
        let link = link.with_context(|| format!("cannot listen on {} (--quic)", config.quic))?;
        let (stop, mut stopping) = watch::channel(false);
        let routes = router(ApiState { app: Arc::clone(&app), metrics });
        let rest = tokio::spawn(async move {
            let stopped = async move {
                // A dropped sender stops the server too.
                let _ = stopping.wait_for(|stop| *stop).await;
            };
            axum::serve(listener, routes).with_graceful_shutdown(stopped).await
        });
        let quic = link.local_addr();
        tracing::info!(%http, %quic, "serving");
        Ok(Self { http, quic, app, stop, rest, link })
    }

    /// Stops listening, finishes what is under way (within a bound), closes the database connections.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.link.stop().await;
        if tokio::time::timeout(DRAIN_MAX, self.rest).await.is_err() {
            tracing::warn!("some requests were still open when the time to drain was over");
        }
        self.app.stop().await;
        tracing::info!("stopped");
    }
}
