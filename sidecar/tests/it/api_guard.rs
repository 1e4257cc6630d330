//! Who may call the local API.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use crate::support::{Options, Seed};

const CHECK: &str = "/v1/entitlements/check?end_user_id=user_123&feature_key=api_calls";

#[test]
fn browsers_and_rebound_names_are_refused() {
    let data_dir = tempfile::tempdir().unwrap();
    Seed::new().with_credit("user_123", 100).write(data_dir.path());
    let sidecar = Options::unreachable(data_dir.path()).start();
    let forbidden = (403, "forbidden".to_owned());
    for origin in ["https://example.com", "null", "http://localhost:7070"] {
        assert_eq!(sidecar.client().with("origin", origin).get(CHECK).problem(), forbidden, "{origin}");
    }
    for host in ["example.com", "10.0.0.1:7070", "localhost.example.com"] {
        assert_eq!(sidecar.client().with("host", host).get(CHECK).problem(), forbidden, "{host}");
    }
    for host in ["localhost:1234", "[::1]"] {
        assert_eq!(sidecar.client().with("host", host).get(CHECK).status, 200, "{host}");
    }
    for (name, value) in [
        ("authorization", "Bearer qs_sandbox_x"),
        ("authorization", "bearer  qs_sandbox_x"),
        ("x-api-key", "qs_sandbox_x"),
    ] {
        let sandbox = sidecar.client().with(name, value);
        assert_eq!(sandbox.get(CHECK).problem(), forbidden, "{name}: {value}");
        let usage = r#"{"end_user_id":"user_123","feature_key":"api_calls","units":1}"#.to_owned();
        assert_eq!(sandbox.post_text("/v1/usage", usage).problem(), forbidden, "{name}: {value}");
    }
    let both = sidecar.client().with("authorization", "Bearer qs_live_x").with("authorization", "Bearer qs_sandbox_x");
    assert_eq!(both.get(CHECK).problem(), (422, "validation_failed".to_owned()));
    assert_eq!(sidecar.client().with("authorization", "Bearer qs_live_x").get(CHECK).status, 200);
}

#[test]
fn beyond_loopback_it_needs_a_token() {
    let data_dir = tempfile::tempdir().unwrap();
    Seed::new().with_credit("user_123", 100).write(data_dir.path());
    let log = Options::unreachable(data_dir.path()).listen("0.0.0.0:0").fails();
    assert!(log.contains("--token"), "{log}");
    let sidecar = Options::unreachable(data_dir.path()).listen("0.0.0.0:0").arg("--token", "open-sesame").start();
    let base = sidecar.http().replace("0.0.0.0", "127.0.0.1");
    let client = || crate::support::Client::new(&base);
    assert_eq!(client().get(CHECK).problem(), (401, "unauthenticated".to_owned()));
    assert_eq!(client().with("quotastack-sidecar-token", "wrong").get(CHECK).status, 401);
    assert_eq!(client().with("quotastack-sidecar-token", "open-sesame").get(CHECK).status, 200);
}

#[test]
fn a_unix_socket_is_for_its_owner_and_group() {
    let data_dir = tempfile::tempdir().unwrap();
    Seed::new().with_credit("user_123", 100).write(data_dir.path());
    let path = data_dir.path().join("api.sock");
    let options = Options::unreachable(data_dir.path()).arg("--uds", path.to_str().unwrap());
    let call = || {
        let mut stream = UnixStream::connect(&path).unwrap();
        // Two requests in one write: both are answered, in order.
        let one = format!("GET {CHECK} HTTP/1.1\r\nhost: anything\r\n\r\n");
        let last = "GET /healthz HTTP/1.1\r\nhost: anything\r\nconnection: close\r\n\r\n";
        stream.write_all(format!("{one}{last}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let sidecar = options.start();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let answer = call();
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(answer.contains("\"balance\":100") && answer.ends_with("ok"), "{answer}");

    sidecar.kill();
    assert!(path.exists(), "a killed sidecar leaves its socket");
    let sidecar = options.start();
    assert!(call().contains("\"balance\":100"));
    assert!(sidecar.terminate().0.success());
    assert!(!path.exists());
}
