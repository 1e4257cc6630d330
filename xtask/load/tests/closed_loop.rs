//! The load client against the bare server, as processes, over both transports.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

struct Bare {
    child: Child,
    ready: Value,
}

impl Bare {
    fn start(dir: &Path) -> Self {
        let mut child =
            load(&["serve", "--uds"]).arg(dir.join("s")).stdout(Stdio::piped()).spawn().expect("xtask-load starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it prints a line");
        Self { child, ready: serde_json::from_str(&line).expect("the ready line is JSON") }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn load(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask-load"));
    command.args(args);
    command
}

fn checks(target: &str, expect: &str) -> Output {
    load(&["checks", "--path", "/", "--connections", "4", "--duration-ms", "100", "--target", target])
        .args(["--expect", expect])
        .output()
        .expect("xtask-load starts")
}

#[test]
fn it_counts_what_was_answered_over_tcp_and_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let bare = Bare::start(dir.path());
    let unix = format!("unix:{}", bare.ready["uds"].as_str().unwrap());
    for target in [bare.ready["http"].as_str().unwrap(), &unix] {
        let output = checks(target, "ok");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(result["count"].as_u64().unwrap() >= 4, "{result}");
        assert!(result["requests_per_second"].as_u64().unwrap() > 0, "{result}");
        let rank = |name: &str| result[name].as_u64().unwrap();
        assert!(rank("p50_ns") <= rank("p99_ns") && rank("p99_ns") <= rank("max_ns"), "{result}");
    }
}

#[test]
fn an_answer_that_is_not_the_expected_one_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let bare = Bare::start(dir.path());
    let output = checks(bare.ready["http"].as_str().unwrap(), "\"allowed\":true");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("the answer lacks"));
}
