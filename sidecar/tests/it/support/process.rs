//! The sidecar's binary as a child process, killed when it is dropped.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::support::Client;

/// The longest that any test waits for anything.
const DEADLINE: Duration = Duration::from_secs(60);

/// Polls until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain waited until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How a sidecar is started.
pub(crate) struct Options {
    data_dir: PathBuf,
    listen: String,
    key: String,
    args: Vec<String>,
    /// Kilobytes beyond which no file can grow, as on a full disk.
    file_kilobytes_max: Option<u64>,
}

impl Options {
    /// A sidecar whose server cannot be reached.
    pub(crate) fn unreachable(data_dir: &Path) -> Self {
        // Nothing listens on the discard port of loopback.
        Self::with_server(data_dir, "http://127.0.0.1:9", "127.0.0.1:9", &ca_file(data_dir), "qs_live_test")
            .arg("--fetch-timeout-ms", "100")
    }

    pub(crate) fn with_server(data_dir: &Path, http: &str, quic: &str, ca_file: &Path, key: &str) -> Self {
        let listen = "127.0.0.1:0".to_owned();
        let (data_dir, key) = (data_dir.to_owned(), key.to_owned());
        let options = Self { data_dir, listen, key, args: Vec::new(), file_kilobytes_max: None };
        options
            .arg("--upstream-http", http)
            .arg("--upstream-quic", quic)
            .arg("--ca-file", &ca_file.display().to_string())
            .arg("--drain-timeout", "2")
    }

    /// Listens there instead of on any free port of loopback.
    pub(crate) fn listen(mut self, address: &str) -> Self {
        self.listen = address.to_owned();
        self
    }

    /// With a flag, instead of what it was before.
    pub(crate) fn arg(mut self, name: &str, value: &str) -> Self {
        if let Some(at) = self.args.iter().position(|arg| arg == name) {
            self.args.drain(at..at + 2);
        }
        self.args.extend([name.to_owned(), value.to_owned()]);
        self
    }

    pub(crate) fn on_a_disk_of(mut self, kilobytes: u64) -> Self {
        self.file_kilobytes_max = Some(kilobytes);
        self
    }

    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_quotastack-sidecar");
        let mut command = match self.file_kilobytes_max {
            None => Command::new(binary),
            Some(kilobytes) => {
                let mut shell = Command::new("sh");
                // With the signal ignored, a write beyond the limit is an error like that of a full disk.
                shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", kilobytes * 2), binary]);
                shell
            }
        };
        // Not as an argument: those are shown to every user of the machine.
        command.env("QUOTASTACK_KEY", &self.key);
        command
            .args(["--data-dir".as_ref(), self.data_dir.as_os_str()])
            .args(["--listen", &self.listen])
            .args(&self.args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it and waits for its ready line.
    pub(crate) fn start(&self) -> Process {
        let mut child = self.command().spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Ok(ready) = serde_json::from_str::<serde_json::Value>(&line) else {
            let mut log = String::new();
            child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
            panic!("no ready line but {line:?}: {log}");
        };
        assert_eq!(ready["event"], "ready");
        let mut process = Process { child, http: ready["http"].as_str().unwrap().to_owned(), log: None };
        let mut stderr = process.child.stderr.take().unwrap();
        process.log = Some(std::thread::spawn(move || {
            let mut log = String::new();
            let _ = stderr.read_to_string(&mut log);
            log
        }));
        process
    }

    /// Starts it where it must fail: its log.
    pub(crate) fn fails(&self) -> String {
        let output = self.command().env("RUST_BACKTRACE", "1").output().unwrap();
        assert!(!output.status.success());
        assert!(output.stdout.is_empty(), "a ready line from a sidecar that cannot start");
        String::from_utf8(output.stderr).unwrap()
    }
}

/// A running sidecar.
pub(crate) struct Process {
    child: Child,
    http: String,
    log: Option<std::thread::JoinHandle<String>>,
}

impl Process {
    pub(crate) fn http(&self) -> &str {
        &self.http
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.http)
    }

    /// As a power cut would, but for what the operating system has in its cache.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits: its exit status and its log.
    pub(crate) fn terminate(mut self) -> (ExitStatus, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.wait()
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(&mut self) -> (ExitStatus, String) {
        let mut status = None;
        eventually("the sidecar ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        (status.unwrap(), self.log.take().unwrap().join().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate authority that signed nothing.
pub(crate) fn ca_file(data_dir: &Path) -> PathBuf {
    std::fs::create_dir_all(data_dir).unwrap();
    let path = data_dir.join("test-ca.pem");
    if !path.exists() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        std::fs::write(&path, certificate.pem()).unwrap();
    }
    path
}
