//! `quotastack-server dev`: a private Postgres, the schema, a demo tenant, and the server, on this machine alone.
//!
//! Starting again on the same directory keeps data and keys. Only here are keys kept, in a file of mode 0600.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use quotastack_core::ids::TenantId;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::app::AppConfig;
use crate::app::auth::Scope;
use crate::app::operator::{self, Operator};
use crate::cli::serve::{CONNECTIONS_DEFAULT, WorkerArgs, print_line, stop_signal};
use crate::cli::telemetry;
use crate::postgres::{Options, PrivatePostgres};
use crate::serve::{Server, ServerConfig};
use crate::store::keys::Environment;
use crate::store::tx::Store;
use crate::sync::tls::Identity;

const TENANT_FILE: &str = "demo-tenant.json";
const OPERATOR_CONNECTIONS: u32 = 1;

/// Flags of `dev`.
#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// A database to use instead of a private Postgres; its login must be its owner.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<SecretString>,
    /// Where everything is kept.
    #[arg(long, env = "QUOTASTACK_DATA_DIR", default_value = ".quotastack")]
    data_dir: PathBuf,
    /// Where REST listens; port 0 takes any that is free.
    #[arg(long, env = "QUOTASTACK_HTTP", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Where sidecars connect, over UDP; port 0 takes any that is free.
    #[arg(long, env = "QUOTASTACK_QUIC", default_value = "127.0.0.1:4433")]
    quic: SocketAddr,
    #[command(flatten)]
    workers: WorkerArgs,
}

/// The demo tenant and its keys.
#[derive(Debug, Serialize, Deserialize)]
struct DemoTenant {
    tenant_id: TenantId,
    live_key: String,
    sandbox_key: String,
}

pub(super) async fn run(args: DevArgs) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let metrics = telemetry::start_metrics()?;
    fs::create_dir_all(&args.data_dir).with_context(|| format!("cannot create {}", args.data_dir.display()))?;
    let data_dir = fs::canonicalize(&args.data_dir)?;
    if let Some(url) = &args.database_url {
        return serve(&args, &data_dir, url.expose_secret(), metrics, stop).await;
    }
    let postgres = PrivatePostgres::start(Options::new(data_dir.join("postgres"))).await?;
    let outcome = serve(&args, &data_dir, postgres.database_url(), metrics, stop).await;
    // The first error is the cause.
    outcome.and(postgres.stop().await.map_err(Into::into))
}

async fn serve(
    args: &DevArgs,
    data_dir: &Path,
    database_url: &str,
    metrics: metrics_exporter_prometheus::PrometheusHandle,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    operator::migrate(database_url).await.context("cannot bring the database to this version's schema")?;
    let tenant = demo_tenant(data_dir, database_url).await?;
    let (identity, ca_file) = Identity::self_signed(data_dir)?;
    let config = ServerConfig {
        app: AppConfig { database_url: database_url.to_owned(), connections_max: CONNECTIONS_DEFAULT },
        http: args.http,
        quic: args.quic,
        identity,
        workers: Some(args.workers.config()),
    };
    let server = Server::start(config, metrics).await?;
    print_line(&json!({
        "event": "ready",
        "http": format!("http://{}", server.http),
        "quic": server.quic.to_string(),
        "ca_file": ca_file,
        "database_url": database_url,
        "tenant_id": tenant.tenant_id,
        "live_key": tenant.live_key,
        "sandbox_key": tenant.sandbox_key,
    }))?;
    stop.await;
    server.stop().await;
    Ok(())
}

/// The demo tenant of this directory, created at the first start.
async fn demo_tenant(data_dir: &Path, database_url: &str) -> anyhow::Result<DemoTenant> {
    let path = data_dir.join(TENANT_FILE);
    let store = Store::connect(database_url, OPERATOR_CONNECTIONS)?;
    let operator = Operator::new(store.clone());
    if let Ok(text) = fs::read(&path) {
        let tenant: DemoTenant =
            serde_json::from_slice(&text).with_context(|| format!("{} cannot be read", path.display()))?;
        // Another database than the last time has no such tenant.
        if operator.list_tenants().await?.iter().any(|known| known.tenant_id == tenant.tenant_id) {
            store.close().await;
            return Ok(tenant);
        }
    }
    let tenant_id = operator.create_tenant("demo").await?.tenant_id;
    let live = operator.create_key(tenant_id, Environment::Live, "demo", &[Scope::Full], None).await?;
    let sandbox = operator.create_key(tenant_id, Environment::Sandbox, "demo", &[Scope::Full], None).await?;
    store.close().await;
    let tenant = DemoTenant {
        tenant_id,
        live_key: live.secret.expose_secret().to_owned(),
        sandbox_key: sandbox.secret.expose_secret().to_owned(),
    };
    write_private(&path, &serde_json::to_vec_pretty(&tenant)?)?;
    Ok(tenant)
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(fs::rename(&unfinished, path)?)
}
