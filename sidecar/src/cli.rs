//! The command line of `quotastack-sidecar`. Every flag can also be an environment variable.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use quotastack_sidecar::{Config, Durability, Limits, Listen, Replicate};

/// Answers entitlement checks and records usage beside your app, from a local copy of the ledger's state.
///
/// The sidecar keeps a replica of account states over one QUIC connection to the QuotaStack server. Checks are
/// answered from it in microseconds, also while the server is out of reach. Usage is acknowledged when it is on this
/// machine's disk, and reaches the ledger exactly once. Every other call under /v1 is passed through to the server.
///
/// When it serves, it prints one JSON line on stdout: {"event":"ready","http":"http://...","uds":...}. Logs go to
/// stderr; set RUST_LOG to change their level. SIGTERM drains and stops.
#[derive(Debug, Parser)]
#[command(name = "quotastack-sidecar", version, subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Option<Args>,
}

/// What can be asked of a sidecar that runs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show how a running sidecar is: its link, its replica, its outbox, and what the ledger refused
    Status(StatusArgs),
}

/// Which sidecar, and how to show it.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Address of its local API
    #[arg(long, env = "QUOTASTACK_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:7070")]
    pub(crate) listen: SocketAddr,
    /// Its Unix socket, instead of the address
    #[arg(long, env = "QUOTASTACK_UDS", value_name = "PATH")]
    pub(crate) uds: Option<PathBuf>,
    /// Its token, if it has one
    #[arg(long, env = "QUOTASTACK_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// One JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// How the sidecar runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server's HTTP address, for calls that are passed through
    #[arg(long, env = "QUOTASTACK_UPSTREAM_HTTP", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    upstream_http: String,
    /// The server's QUIC address, host:port
    #[arg(long, env = "QUOTASTACK_UPSTREAM_QUIC", value_name = "ADDR", default_value = "127.0.0.1:4433")]
    upstream_quic: String,
    /// PEM file of the authority behind the server's certificate [default: the system's roots]
    #[arg(long, env = "QUOTASTACK_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// An API key with the scope `sidecar`; its environment is the one served
    #[arg(long, env = "QUOTASTACK_KEY", value_name = "KEY", hide_env_values = true)]
    key: String,
    /// Directory of outbox and replica; one process at a time
    #[arg(long, env = "QUOTASTACK_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// Address of the local API; port 0 = any free port, anything but loopback needs --token
    #[arg(long, env = "QUOTASTACK_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// Also serve the local API on this Unix socket (mode 0660)
    #[arg(long, env = "QUOTASTACK_UDS", value_name = "PATH")]
    uds: Option<PathBuf>,
    /// Callers must send this as Quotastack-Sidecar-Token (not on the Unix socket)
    #[arg(long, env = "QUOTASTACK_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Which accounts to hold: those that somebody asked about, or the whole environment
    #[arg(long, env = "QUOTASTACK_REPLICATE", value_enum, default_value = "on_demand")]
    replicate: ReplicateArg,
    /// When usage is acknowledged: when it is on disk, or at once (a crash then loses the last milliseconds of it)
    #[arg(long, env = "QUOTASTACK_DURABILITY", value_enum, default_value = "disk")]
    durability: DurabilityArg,
    /// Bytes of usage that may wait for the server; beyond it usage is answered 503 outbox_full
    #[arg(long, env = "QUOTASTACK_OUTBOX_MAX_BYTES", value_name = "BYTES", default_value_t = Limits::default().outbox_bytes_max)]
    outbox_max_bytes: u64,
    /// Accounts that on_demand follows; the least recently used ones go
    #[arg(long, env = "QUOTASTACK_MAX_ACCOUNTS", value_name = "N", default_value_t = Limits::default().accounts_max)]
    max_accounts: usize,
    /// Age of the replica, in seconds, beyond which features with `offline: allow_until_stale` are denied
    #[arg(long, env = "QUOTASTACK_MAX_STALENESS", value_name = "SECONDS", default_value_t = Limits::default().staleness_max.as_secs())]
    max_staleness: u64,
    /// How long, in milliseconds, a check of an unknown end user waits for the server
    #[arg(long, env = "QUOTASTACK_FETCH_TIMEOUT_MS", value_name = "MS", default_value_t = 2_000)]
    fetch_timeout_ms: u64,
    /// How long, in seconds, a stop may take
    #[arg(long, env = "QUOTASTACK_DRAIN_TIMEOUT", value_name = "SECONDS", default_value_t = Limits::default().drain_timeout.as_secs())]
    drain_timeout: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum ReplicateArg {
    All,
    OnDemand,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum DurabilityArg {
    Disk,
    Memory,
}

impl Args {
    /// What the sidecar and its local API are started with.
    pub(crate) fn into_config(self) -> (Config, Listen) {
        let limits = Limits {
            outbox_bytes_max: self.outbox_max_bytes,
            accounts_max: self.max_accounts,
            staleness_max: Duration::from_secs(self.max_staleness),
            fetch_timeout: Duration::from_millis(self.fetch_timeout_ms),
            drain_timeout: Duration::from_secs(self.drain_timeout),
            ..Limits::default()
        };
        let config = Config {
            upstream_http: self.upstream_http,
            upstream_quic: self.upstream_quic,
            ca_file: self.ca_file,
            key: self.key.into(),
            data_dir: self.data_dir,
            replicate: match self.replicate {
                ReplicateArg::All => Replicate::All,
                ReplicateArg::OnDemand => Replicate::OnDemand,
            },
            durability: match self.durability {
                DurabilityArg::Disk => Durability::Disk,
                DurabilityArg::Memory => Durability::Memory,
            },
            limits,
        };
        let listen = Listen { tcp: Some(self.listen), uds: self.uds, token: self.token.map(Into::into) };
        (config, listen)
    }
}
