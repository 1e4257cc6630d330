//! The program itself as processes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use quotastack_server::sync::tls::Identity;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::client::Client;
use super::wait::until;

const PROGRAM: &str = env!("CARGO_BIN_EXE_quotastack-server");
pub(crate) const ANY_PORT: &str = "127.0.0.1:0";

/// The program with these arguments.
pub(crate) fn program(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).env_remove("DATABASE_URL").stdin(Stdio::null());
    command
}

/// A server for production over this database, with a certificate made for the test.
pub(crate) fn serve_command(url: &str, dir: &Path) -> Command {
    Identity::self_signed(dir).unwrap();
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let mut command = program(&["serve", "--http", ANY_PORT, "--quic", ANY_PORT]);
    command.args(["--tls-cert", &file("server.pem"), "--tls-key", &file("server.key")]).env("DATABASE_URL", url);
    command
}

/// A server that runs; killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) ready: Value,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_logging(command, Stdio::null())
    }

    /// Starts it with its log in `log`.
    pub(crate) fn start_logging(command: &mut Command, log: impl Into<Stdio>) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        assert_eq!(ready["event"], "ready");
        Self { child, ready }
    }

    pub(crate) fn dev(dir: &Path) -> Self {
        Self::start(&mut program(&["dev", "--http", ANY_PORT, "--quic", ANY_PORT, "--data-dir", dir.to_str().unwrap()]))
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    pub(crate) fn client(&self, key: &str) -> Client {
        Client::new(self.text("http"), Some(key))
    }

    /// Asks it to stop, and how it ended.
    pub(crate) async fn stop(&mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), signal).unwrap();
        self.ended().await
    }

    /// Waits for its end, and how it ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        until("the server has ended", async || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
