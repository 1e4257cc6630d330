//! A running server: REST, the link to sidecars and the workers over one [`App`]. Started by the command line and by tests.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::app::{App, AppConfig, Readiness};
use crate::http::listen::Rest;
use crate::http::router::router;
use crate::http::state::ApiState;
use crate::sync::listener::Listener;
use crate::sync::tls::Identity;
use crate::workers::{Workers, WorkersConfig};

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
    /// What it does without being asked; `None` = other servers over the same database do it.
    pub workers: Option<WorkersConfig>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Where REST listens.
    pub http: SocketAddr,
    /// Where sidecars connect.
    pub quic: SocketAddr,
    app: Arc<App>,
    rest: Rest,
    link: Listener,
    workers: Option<Workers>,
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
        let requests = TaskTracker::new();
        let routes = router(ApiState { app: Arc::clone(&app), metrics, requests: requests.clone() });
        let rest = Rest::start(listener, routes, requests);
        let quic = link.local_addr();
        let workers = config.workers.map(|config| Workers::start(&app, config));
        tracing::info!(%http, %quic, "serving");
        Ok(Self { http, quic, app, rest, link, workers })
    }

    /// Whether requests can be served now.
    pub async fn readiness(&self) -> Readiness {
        self.app.readiness().await
    }

    /// Stops listening, finishes what is under way (within a bound), closes the database connections.
    pub async fn stop(self) {
        let workers = async {
            if let Some(workers) = self.workers {
                workers.stop().await;
            }
        };
        tokio::join!(self.link.stop(), self.rest.stop(), workers);
        self.app.stop().await;
        tracing::info!("stopped");
    }
}
