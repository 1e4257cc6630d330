//! A process of ours that says on stdout, in one JSON line, when it is ready, and ends on SIGTERM.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// A first start creates a database cluster, on a slow disk too.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// More than the time that the server and the sidecar allow themselves to drain.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of a log an error shows.
const LOG_TAIL_LINES: usize = 30;

/// A running process. It must be stopped with [`Service::stop`]; dropped, it is killed and leaves its children.
pub(crate) struct Service {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts a program, its log in `NAME.log` of the directory, and waits for its ready line.
    pub(crate) async fn start<Ready: DeserializeOwned>(
        name: &'static str,
        command: std::process::Command,
        dir: &Path,
    ) -> anyhow::Result<(Self, Ready)> {
        let log = dir.join(name).with_extension("log");
        let child = Command::from(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).with_context(|| format!("creating {}", log.display()))?)
            // Ctrl-C reaches us alone: we stop things in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        let mut service = Self { name, child, log };
        match service.ready().await {
            Ok(ready) => Ok((service, ready)),
            Err(error) => {
                let error =
                    error.context(format!("{name} did not become ready; its log ends:\n{}", service.log_tail()));
                // The first error is the one worth reading.
                let _ = service.stop().await;
                Err(error)
            }
        }
    }

    async fn ready<Ready: DeserializeOwned>(&mut self) -> anyhow::Result<Ready> {
        let stdout = self.child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(READY_TIMEOUT, lines.next_line()).await.context("no ready line in time")??;
        let line = line.context("it ended without a ready line")?;
        let ready = serde_json::from_str(&line).with_context(|| format!("its first line is no ready line: {line}"))?;
        // A process whose stdout is closed under it could die of its next line.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(ready)
    }

    /// Sends SIGTERM and waits for an orderly end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id() {
            let pid = Pid::from_raw(i32::try_from(pid)?).context("a process has a positive id")?;
            kill_process(pid, Signal::TERM)?;
        }
        let status: ExitStatus = match timeout(STOP_TIMEOUT, self.child.wait()).await {
            Ok(status) => status?,
            Err(_) => {
                self.child.kill().await?;
                bail!(
                    "{} did not end {STOP_TIMEOUT:?} after SIGTERM and was killed; its log ends:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
        };
        if !status.success() {
            bail!("{} ended with {status}; its log ends:\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}
