//! A real server with its own Postgres, as a child process that can be killed and started again at its addresses.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::process::eventually;
use crate::support::{Client, Options};

/// A `quotastack-server dev` on a directory of its own.
pub(crate) struct Server {
    dir: tempfile::TempDir,
    child: Option<Child>,
    ready: Value,
}

impl Server {
    /// Starts it and waits for its ready line.
    pub(crate) fn start() -> Self {
        // Postgres runs as another user when the tests run as root: it must be able to reach its directory.
        let open = std::fs::Permissions::from_mode(0o755);
        let dir = tempfile::Builder::new().prefix("qs").permissions(open).tempdir().unwrap();
        let mut server = Self { dir, child: None, ready: Value::Null };
        server.spawn("127.0.0.1:0", "127.0.0.1:0");
        server
    }

    fn spawn(&mut self, http: &str, quic: &str) {
        let mut command = Command::new(binary());
        command.arg("dev").arg("--data-dir").arg(self.dir.path()).args(["--http", http, "--quic", quic]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            let _ = stderr.read_to_string(&mut log);
            log
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        match serde_json::from_str(&line) {
            Ok(ready) => self.ready = ready,
            Err(_) => {
                let _ = child.kill();
                panic!("the server is not ready: {line:?} {}", log.join().unwrap());
            }
        }
        self.child = Some(child);
    }

    fn text(&self, field: &str) -> &str {
        self.ready[field].as_str().unwrap()
    }

    /// Kills it with all that it was about to do; its Postgres runs on.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops it and its Postgres.
    pub(crate) fn terminate(&mut self) {
        let mut child = self.child.take().unwrap();
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        eventually("the server stops", || child.try_wait().unwrap().is_some());
    }

    /// Starts it again on the same directory and addresses.
    pub(crate) fn start_again(&mut self) {
        let http = self.text("http").trim_start_matches("http://").to_owned();
        let quic = self.text("quic").to_owned();
        self.spawn(&http, &quic);
    }

    /// A caller of its REST API, with the live key.
    pub(crate) fn client(&self) -> Client {
        self.client_of("live")
    }

    /// A caller of its REST API, with the key of an environment.
    pub(crate) fn client_of(&self, environment: &str) -> Client {
        Client::new(self.text("http")).with("authorization", &format!("Bearer {}", self.key(environment)))
    }

    /// The key of an environment, `live` or `sandbox`.
    pub(crate) fn key(&self, environment: &str) -> &str {
        self.text(&format!("{environment}_key"))
    }

    /// A sidecar of the live environment.
    pub(crate) fn sidecar(&self, data_dir: &Path) -> Options {
        self.sidecar_with_key(data_dir, self.key("live"))
    }

    /// Where sidecars link.
    pub(crate) fn address(&self) -> &str {
        self.text("quic")
    }

    /// A sidecar of the live environment that reaches it elsewhere.
    pub(crate) fn sidecar_over(&self, data_dir: &Path, quic: &str) -> Options {
        let ca_file = PathBuf::from(self.text("ca_file"));
        Options::with_server(data_dir, self.text("http"), quic, &ca_file, self.key("live"))
    }

    /// A sidecar with another key.
    pub(crate) fn sidecar_with_key(&self, data_dir: &Path, key: &str) -> Options {
        let ca_file = PathBuf::from(self.text("ca_file"));
        Options::with_server(data_dir, self.text("http"), self.text("quic"), &ca_file, key)
    }

    /// A metered feature that everybody has, at one credit per unit.
    pub(crate) fn create_feature(&self, feature_key: &str, offline: &str) {
        let feature = json!({
            "feature_key": feature_key, "name": feature_key, "kind": "metered", "offline": offline,
            "price": {"type": "per_unit", "cost": 1}, "default": {"enabled": true},
        });
        self.client().post("/v1/features", &feature).ok();
    }

    /// Grants credit that never ends.
    pub(crate) fn grant(&self, end_user_id: &str, amount: i64) {
        self.client().post("/v1/credits/grants", &json!({"end_user_id": end_user_id, "amount": amount})).ok();
    }

    /// The account's balance in the ledger.
    pub(crate) fn balance(&self, end_user_id: &str) -> i64 {
        self.client().get(&format!("/v1/end_users/{end_user_id}/credits")).ok()["balance"].as_i64().unwrap()
    }

    /// The usage events in the ledger of an account, in its order.
    pub(crate) fn usage_ids(&self, end_user_id: &str) -> Vec<String> {
        let client = self.client();
        let (mut ids, mut after) = (Vec::new(), "0".to_owned());
        loop {
            let page = client.get(&format!("/v1/end_users/{end_user_id}/ledger?limit=100&after_seq={after}")).ok();
            let entries = page["data"].as_array().unwrap();
            let usage = entries.iter().filter(|entry| entry["kind"] == "usage");
            ids.extend(usage.map(|entry| entry["usage_id"].as_str().unwrap().to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut after),
                None => return ids,
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A killed server leaves its Postgres: only a server can stop it in order.
        if self.child.is_none() && !std::thread::panicking() {
            return;
        }
        if self.child.is_none() {
            self.start_again();
        }
        self.terminate();
    }
}

/// The server's binary: named by the environment, or beside the sidecar's, built if it is not there.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("QUOTASTACK_SERVER_BIN") {
        return path.into();
    }
    let path = Path::new(env!("CARGO_BIN_EXE_quotastack-sidecar")).with_file_name("quotastack-server");
    if !path.exists() {
        let status = Command::new(env!("CARGO")).args(["build", "-p", "quotastack-server"]).status().unwrap();
        assert!(status.success(), "cargo cannot build quotastack-server");
    }
    path
}
