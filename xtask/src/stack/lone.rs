//! A server with its private Postgres and no sidecar, and further servers over the same database.

use std::path::Path;

use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::running::{ServerReady, directory, start_server};
use super::{Api, Binaries, Service};
use crate::command::program;

/// The server. Stop it with [`Lone::stop`], which throws its data away.
pub(crate) struct Lone {
    service: Service,
    pub(crate) server: ServerReady,
    dir: TempDir,
    /// Ctrl-C ends the load client, and with it the measurement; we stay, to leave nothing behind.
    _interrupt: Signal,
}

impl Lone {
    /// Starts it on free ports, with these arguments more.
    pub(crate) async fn start(binaries: &Binaries, args: &[&str]) -> anyhow::Result<Self> {
        let dir = directory()?;
        let interrupt = signal(SignalKind::interrupt())?;
        let (service, server) = start_server(binaries, dir.path(), args).await?;
        Ok(Self { service, server, dir, _interrupt: interrupt })
    }

    /// Its REST API with a live key of all scopes.
    pub(crate) fn live(&self) -> Api {
        Api::new(&self.server.http, &self.server.live_key)
    }

    /// Its REST API with a key of all scopes for the sandbox.
    pub(crate) fn sandbox(&self) -> Api {
        Api::new(&self.server.http, &self.server.sandbox_key)
    }

    /// Starts another server over the same database, as in production.
    pub(crate) async fn start_another(&self, binaries: &Binaries, name: &'static str) -> anyhow::Result<Service> {
        let identity = self.server.ca_file.parent().unwrap_or(Path::new("/"));
        let mut command = program(binaries.path("quotastack-server"));
        command.args(["serve", "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0"]);
        command.arg("--tls-cert").arg(identity.join("server.pem")).arg("--tls-key").arg(identity.join("server.key"));
        command.env("DATABASE_URL", &self.server.database_url);
        let (service, _): (Service, serde_json::Value) = Service::start(name, command, self.dir.path()).await?;
        Ok(service)
    }

    /// Stops it and its Postgres, and removes their data.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.service.stop().await
    }
}
