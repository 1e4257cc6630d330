//! The program itself, as processes: `dev`, `serve`, and what an operator types.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use quotastack_server::store::types::EnvironmentId;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::due::{events, grant_to_all, set_clock_and_die};
use crate::support::cluster::fresh_database;
use crate::support::process::{ANY_PORT, Running, program, serve_command};
use crate::support::scratch::scratch_dir;
use crate::support::wait::until;

/// What a command printed: a JSON value per line.
fn printed(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a command that failed said.
fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn is_alive(pid: i32) -> bool {
    rustix::process::test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
}

#[tokio::test]
async fn dev_says_where_it_is_keeps_what_it_has_and_ends_when_asked() {
    let dir = scratch_dir();
    let mut first = Running::dev(dir.path());
    for name in ["http", "quic", "ca_file", "database_url", "tenant_id", "live_key", "sandbox_key"] {
        assert!(!first.text(name).is_empty(), "{name}");
    }
    assert!(first.text("live_key").starts_with("qs_live_") && first.text("sandbox_key").starts_with("qs_sandbox_"));
    assert!(Path::new(first.text("ca_file")).exists());
    let client = first.client(first.text("live_key"));
    client.post("/v1/credits/grants", &json!({"end_user_id": "u", "amount": 7})).await.is(201);
    assert_eq!(client.get("/readyz").await.status, 200);
    let mut database = PgConnection::connect(first.text("database_url")).await.unwrap();
    let pid_file = "select pg_read_file('postmaster.pid')";
    let pid_file: String = sqlx::query_scalar(pid_file).fetch_one(&mut database).await.unwrap();
    let postgres: i32 = pid_file.lines().next().unwrap().parse().unwrap();
    assert!(is_alive(postgres));
    assert_eq!(first.stop(Signal::TERM).await.code(), Some(0));
    assert!(!is_alive(postgres), "Postgres outlives its server");

    let mut second = Running::dev(dir.path());
    for name in ["ca_file", "database_url", "tenant_id", "live_key", "sandbox_key"] {
        assert_eq!(first.ready[name], second.ready[name], "{name}");
    }
    let client = second.client(first.text("live_key"));
    assert_eq!(client.get("/v1/end_users/u/credits").await.is(200)["balance"], 7);
    assert_eq!(second.stop(Signal::INT).await.code(), Some(0));
}

#[tokio::test]
async fn dev_keeps_what_it_acknowledged_through_a_kill() {
    let dir = scratch_dir();
    let mut first = Running::dev(dir.path());
    let client = first.client(first.text("sandbox_key"));
    for number in 0..20 {
        let grant = json!({"end_user_id": "u", "amount": 1});
        client.post_keyed("/v1/credits/grants", &number.to_string(), &grant).await.is(201);
    }
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let mut second = Running::dev(dir.path());
    let client = second.client(first.text("sandbox_key"));
    assert_eq!(client.get("/v1/end_users/u/credits").await.is(200)["balance"], 20);
    assert_eq!(second.stop(Signal::TERM).await.code(), Some(0));
}

#[tokio::test]
async fn what_a_killed_server_was_catching_up_with_the_next_one_finishes() {
    const USERS: u64 = 250;
    let dir = scratch_dir();
    let mut first = Running::dev(dir.path());
    grant_to_all(&first.client(first.text("sandbox_key")), USERS).await;
    let mut owner = PgConnection::connect(first.text("database_url")).await.unwrap();
    let sandbox = "select environment_id from environments where environment = 'sandbox'";
    let sandbox = EnvironmentId(sqlx::query_scalar(sandbox).fetch_one(&mut owner).await.unwrap());
    set_clock_and_die(&mut owner, sandbox, "2101-01-01T00:00:00Z").await;
    until("some of it is written", async || events(&mut owner, "credits.expired").await.pop()).await;
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let mut second = Running::dev(dir.path());
    let mut owner = PgConnection::connect(second.text("database_url")).await.unwrap();
    let mut announced = until("all of it is written", async || {
        Some(events(&mut owner, "credits.expired").await).filter(|events| events.len() as u64 >= USERS)
    })
    .await;
    announced.dedup_by_key(|(_, account, _)| *account);
    assert_eq!(announced.len() as u64, USERS);
    let in_order = announced.windows(2).all(|pair| pair[0].0 < pair[1].0 || pair[0].2 < pair[1].2);
    assert!(in_order, "{announced:?}");
    assert_eq!(second.stop(Signal::TERM).await.code(), Some(0));
}

#[tokio::test]
async fn a_second_dev_on_the_same_directory_says_who_has_it() {
    let dir = scratch_dir();
    let mut first = Running::dev(dir.path());
    let second = program(&["dev", "--http", ANY_PORT, "--quic", ANY_PORT, "--data-dir", dir.path().to_str().unwrap()]);
    let message = complaint(&{ second }.output().unwrap());
    assert!(message.contains(&first.child.id().to_string()), "{message}");
    assert_eq!(first.stop(Signal::TERM).await.code(), Some(0));
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_with_its_flag() {
    let dir = scratch_dir();
    let taken = TcpListener::bind(ANY_PORT).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data_dir = dir.path().to_str().unwrap();
    let message =
        complaint(&program(&["dev", "--http", &address, "--quic", ANY_PORT, "--data-dir", data_dir]).output().unwrap());
    assert!(message.contains(&address) && message.contains("--http"), "{message}");
    let taken = std::net::UdpSocket::bind(ANY_PORT).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let message =
        complaint(&program(&["dev", "--http", ANY_PORT, "--quic", &address, "--data-dir", data_dir]).output().unwrap());
    assert!(message.contains(&address) && message.contains("--quic"), "{message}");
    // Neither left anything running there.
    Running::dev(dir.path()).stop(Signal::TERM).await;
}

#[tokio::test]
async fn an_operator_sets_up_a_database_a_tenant_and_keys_and_serves_them() {
    let url = empty_database().await;
    let run = |args: &[&str]| program(args).env("DATABASE_URL", &url).output().unwrap();
    let message = complaint(&run(&["tenant", "create", "--name", "too early"]));
    assert!(message.contains("quotastack-server migrate"), "{message}");
    let certificates = scratch_dir();
    let message = complaint(&serve_command(&url, certificates.path()).output().unwrap());
    assert!(message.contains("quotastack-server migrate"), "{message}");
    for _ in 0..2 {
        assert_eq!(printed(&run(&["migrate"])), [json!({"event": "migrated"})]);
    }
    let tenant = printed(&run(&["tenant", "create", "--name", "Zoë & Co"])).remove(0);
    assert_eq!(printed(&run(&["tenant", "list"])).first(), Some(&tenant));
    let tenant_id = tenant["tenant_id"].as_str().unwrap();

    let create = ["key", "create", "--tenant", tenant_id, "--environment", "live", "--name", "app"];
    let scoped = [&create[..], &["--scope", "usage:write,credits:read"]].concat();
    let key = printed(&run(&scoped)).remove(0);
    let (key_id, secret) = (key["key_id"].as_str().unwrap(), key["secret"].as_str().unwrap());
    let listed = printed(&run(&["key", "list", "--tenant", tenant_id])).remove(0);
    assert_eq!((&listed["key_id"], &listed["revoked_at"]), (&key["key_id"], &Value::Null));
    assert_eq!(listed["scopes"], json!(["usage:write", "credits:read"]));
    assert!(!listed.to_string().contains(secret), "a list shows the secret");

    let dir = scratch_dir();
    let mut server = Running::start(&mut serve_command(&url, dir.path()));
    let client = server.client(secret);
    client.get("/v1/end_users/u/credits").await.is(200);
    client.get("/v1/features").await.refused(403, "forbidden");
    assert_eq!(printed(&run(&["key", "revoke", key_id])), [json!({"key_id": key_id, "event": "revoked"})]);
    until("the revoked key is refused", async || {
        (client.get("/v1/end_users/u/credits").await.status == 401).then_some(())
    })
    .await;
    assert!(!printed(&run(&["key", "list", "--tenant", tenant_id]))[0]["revoked_at"].is_null());
    assert_eq!(server.stop(Signal::TERM).await.code(), Some(0));

    complaint(&run(&["key", "revoke", key_id]));
    for name in ["", "two\nlines"] {
        complaint(&run(&["tenant", "create", "--name", name]));
    }
    let nobody = ["key", "list", "--tenant", "ten_00000000000000000000000000"];
    assert!(run(&nobody).stdout.is_empty());
    for bad in [
        [&create[..], &["--scope", "everything"]].concat(),
        create.to_vec(),
        vec!["key", "create", "--tenant", "x", "--environment", "live", "--name", "n", "--scope", "full"],
        vec!["key", "create", "--tenant", tenant_id, "--environment", "test", "--name", "n", "--scope", "full"],
        vec!["tenant", "create"],
        vec!["nonsense"],
    ] {
        let output = run(&bad);
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{bad:?}");
    }
    let unknown =
        ["key", "create", "--tenant", "ten_00000000000000000000000000", "--environment", "live", "--name", "n"];
    let message = complaint(&run(&[&unknown[..], &["--scope", "full"]].concat()));
    assert!(message.contains("ten_00000000000000000000000000"), "{message}");
    let message = complaint(&program(&["migrate", "--database-url", "nonsense"]).output().unwrap());
    assert!(message.contains("database"), "{message}");
}

/// A caller that never ends its request's head holds up neither others nor the end.
#[tokio::test]
async fn half_a_request_does_not_keep_a_server_from_stopping() {
    let dir = scratch_dir();
    let mut server = Running::dev(dir.path());
    let address = server.text("http").trim_start_matches("http://").to_owned();
    let mut halves = Vec::new();
    for _ in 0..50 {
        let mut half = std::net::TcpStream::connect(&address).unwrap();
        half.write_all(b"GET /healthz HTTP/1.1\r\nhost:").unwrap();
        halves.push(half);
    }
    server.client(server.text("live_key")).get("/v1/features").await.is(200);
    assert_eq!(server.stop(Signal::TERM).await.code(), Some(0));
    for mut half in halves {
        // Closed without an answer, or reset.
        assert!(matches!(half.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
}

async fn empty_database() -> String {
    let db = fresh_database().await;
    let mut owner = PgConnection::connect(&db.url).await.unwrap();
    let empty = "drop schema public cascade; create schema public";
    sqlx::raw_sql(empty).execute(&mut owner).await.unwrap();
    db.url
}
