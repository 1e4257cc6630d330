//! Server and sidecar together, in a directory that goes when they go.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use tempfile::TempDir;

use super::{Api, Binaries, Service};
use crate::command::program;

/// What the server's ready line says.
#[derive(Deserialize)]
pub(crate) struct ServerReady {
    pub(crate) http: String,
    pub(crate) quic: String,
    pub(crate) ca_file: PathBuf,
    pub(crate) database_url: String,
    pub(crate) live_key: String,
    pub(crate) sandbox_key: String,
}

/// What the sidecar's ready line says.
#[derive(Deserialize)]
pub(crate) struct SidecarReady {
    pub(crate) http: String,
    pub(crate) uds: PathBuf,
}

/// A server with its private Postgres, and perhaps a sidecar. Stop it with [`Stack::stop`].
pub(crate) struct Stack {
    server_service: Service,
    sidecar_service: Service,
    pub(crate) server: ServerReady,
    pub(crate) sidecar: SidecarReady,
    dir: TempDir,
}

impl Stack {
    /// Starts both on free ports.
    pub(crate) async fn start(binaries: &Binaries) -> anyhow::Result<Self> {
        let dir = directory()?;
        let (server_service, server) = start_server(binaries, dir.path(), &[]).await?;
        match start_sidecar(binaries, dir.path(), &server).await {
            Ok((sidecar_service, sidecar)) => Ok(Self { server_service, sidecar_service, server, sidecar, dir }),
            Err(error) => {
                // The first error is the one worth reading.
                let _ = server_service.stop().await;
                Err(error)
            }
        }
    }

    /// The server's REST API with a live key of all scopes.
    pub(crate) fn api(&self) -> Api {
        Api::new(&self.server.http, &self.server.live_key)
    }

    /// The same API through the sidecar.
    pub(crate) fn api_through_sidecar(&self) -> Api {
        Api::new(&self.sidecar.http, &self.server.live_key)
    }

    /// Where logs and sockets lie.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Stops the sidecar, then the server and its Postgres, and removes their data.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let sidecar = self.sidecar_service.stop().await;
        let server = self.server_service.stop().await;
        sidecar.and(server)
    }
}

/// Short, because a Unix socket's path is, and open to the user that Postgres runs as when we are root.
pub(super) fn directory() -> anyhow::Result<TempDir> {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new()
        .prefix("quotastack-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .context("creating a temporary directory")
}

/// Starts a server with its private Postgres, and these arguments more.
pub(super) async fn start_server(
    binaries: &Binaries,
    dir: &Path,
    args: &[&str],
) -> anyhow::Result<(Service, ServerReady)> {
    let mut command = program(binaries.path("quotastack-server"));
    command.arg("dev").arg("--data-dir").arg(dir.join("server-data"));
    command.args(["--http", "127.0.0.1:0", "--quic", "127.0.0.1:0"]).args(args);
    // The demo's data are its own, whatever the machine's environment says.
    command.env_remove("DATABASE_URL");
    Service::start("server", command, dir).await
}

async fn start_sidecar(
    binaries: &Binaries,
    dir: &Path,
    server: &ServerReady,
) -> anyhow::Result<(Service, SidecarReady)> {
    let mut command = program(binaries.path("quotastack-sidecar"));
    command.args(["--upstream-http", &server.http, "--upstream-quic", &server.quic]);
    command.arg("--ca-file").arg(&server.ca_file);
    // Not as an argument: everybody on the machine can read those.
    command.env("QUOTASTACK_KEY", &server.live_key);
    command.arg("--data-dir").arg(dir.join("sidecar-data")).args(["--listen", "127.0.0.1:0"]);
    command.arg("--uds").arg(dir.join("sidecar.sock"));
    Service::start("sidecar", command, dir).await
}
