//! The configuration of a private instance.
//!
//! What the server relies on goes on Postgres's command line, where no file can contradict it. What an operator may
//! want to tune is appended to `postgresql.conf` when the cluster is created, and never touched again.

use super::place::Place;
use super::private::Durability;

/// Appended once to `postgresql.conf`.
pub(super) const TUNABLE: &str = "
# --- QuotaStack: written once when this cluster was created; edit freely ---
max_connections = 200
shared_buffers = 256MB
# Few and large checkpoints: each one makes the next write of every page a full page in the log.
checkpoint_timeout = 15min
max_wal_size = 2GB
min_wal_size = 256MB
wal_compression = on
# The lane rows are updated by every batch; their dead versions must go soon.
autovacuum_naptime = 10s
autovacuum_vacuum_cost_delay = 1ms
# Every statement is short: compiling one costs more than running it.
jit = off
random_page_cost = 1.1
log_min_duration_statement = 1s
log_lock_waits = on
log_checkpoints = off
log_line_prefix = '%m [%p] %q%u@%d %a '
timezone = 'UTC'
log_timezone = 'UTC'
";

/// `name=value` pairs for Postgres's command line.
pub(super) fn enforced(place: &Place, durability: Durability) -> Vec<String> {
    let on_or_off = match durability {
        Durability::Full => "on",
        Durability::Throwaway => "off",
    };
    vec![
        "listen_addresses=".to_owned(),
        "port=5432".to_owned(),
        format!("unix_socket_directories={}", place.socket_dir.display()),
        "unix_socket_permissions=0700".to_owned(),
        format!("fsync={on_or_off}"),
        format!("synchronous_commit={on_or_off}"),
        format!("full_page_writes={on_or_off}"),
        // Postgres keeps its own log, for it can outlive the server that started it. One file per day of the week.
        "logging_collector=on".to_owned(),
        format!("log_directory={}", place.log_dir().display()),
        "log_filename=postgresql-%a.log".to_owned(),
        "log_truncate_on_rotation=on".to_owned(),
        "log_rotation_age=1d".to_owned(),
        "log_rotation_size=0".to_owned(),
    ]
}
