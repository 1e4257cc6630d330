//! What the transport does on the wire, seen by a server that follows a script: one connection per answer.

#![expect(clippy::unwrap_used, reason = "a test whose setting cannot be made has failed")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quotastack::{Client, Error, Grant, Usage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const RECEIPT: &str = r#"{"id":"use_1","cost":1,"balance":9,"available":9,"debt":0,"allocations":null,"price":null,"owed":null,"priced_by":null,"replayed":false,"dry_run":false,"later":true}"#;
const ACCOUNT: &str = r#"{"balance":1,"reserved":0,"available":1,"debt":0,"version":1}"#;
const BLOCK: &str = r#"{"id":"blk_1","kind":"promo","original":1,"remaining":1,"held":0,"expired":0,"withdrawn":0,"priority":1,"effective_at":"t","expires_at":null,"feature_keys":[],"cap_group":null,"settle_debt":true,"price_paid":null,"currency":null,"metadata":null,"status":"active"}"#;

enum Answer {
    /// Status line and headers, then the body.
    Send(&'static str, String),
    /// Closes the connection without a word.
    Hang,
    /// Keeps the connection and says nothing.
    Wait,
}

/// A client of a server that gives these answers, and the requests it has seen.
async fn scripted(script: Vec<Answer>) -> (Client, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    tokio::spawn(async move {
        let mut open = Vec::new();
        for answer in script {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = read_request(&mut stream).await;
            log.lock().unwrap().push(request);
            match answer {
                Answer::Send(head, body) => {
                    let length = body.len();
                    let response =
                        format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                    stream.write_all(response.as_bytes()).await.unwrap();
                }
                Answer::Hang => drop(stream),
                Answer::Wait => open.push(stream),
            }
        }
        std::future::pending::<()>().await;
        drop(open);
    });
    let client = Client::builder().api_key("qs_live_x").base_url(url).check_timeout(Duration::from_millis(300));
    (client.build().unwrap(), seen)
}

/// A request with its headers in lower case, read to the end of its body.
async fn read_request(stream: &mut tokio::net::TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return format!("{head}\r\n\r\n{body}");
            }
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "a request was cut off");
    }
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn json(body: impl Into<String>) -> Answer {
    Answer::Send("200 OK\r\ncontent-type: application/json", body.into())
}

fn problem(head: &'static str, status: u16, code: &str) -> Answer {
    let body = format!(
        r#"{{"type":"about:blank","title":"t","status":{status},"code":"{code}","detail":"d","request_id":"r-1"}}"#
    );
    Answer::Send(head, body)
}

#[tokio::test]
async fn a_mutation_is_tried_again_under_the_same_key() {
    let overloaded = "503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 0";
    let (client, seen) = scripted(vec![problem(overloaded, 503, "overloaded"), Answer::Hang, json(RECEIPT)]).await;
    let receipt = client.record_usage("user_123", Usage::new("ai_request", 1)).await.unwrap();
    assert_eq!((receipt.cost, receipt.allocations), (1, None));
    let seen = seen.lock().unwrap();
    let keys: Vec<_> = seen.iter().map(|request| header(request, "idempotency-key").unwrap()).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert_eq!(header(&seen[0], "authorization"), Some("bearer qs_live_x"));
    assert!(seen[0].ends_with(r#"{"end_user_id":"user_123","feature_key":"ai_request","units":1}"#), "{}", seen[0]);
}

#[tokio::test]
async fn usage_that_names_itself_gets_no_second_name() {
    let (client, seen) = scripted(vec![json(RECEIPT)]).await;
    client.record_usage("u", Usage::new("f", 1).idempotency_key("mine")).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(header(&seen[0], "idempotency-key"), None);
    assert!(seen[0].contains(r#""idempotency_key":"mine""#));
}

#[tokio::test]
async fn a_grant_keeps_the_name_it_was_given() {
    let (client, seen) = scripted(vec![Answer::Send(
        "201 Created\r\ncontent-type: application/json",
        format!(r#"{{"block":{BLOCK},"trimmed":0,"account":{ACCOUNT}}}"#),
    )])
    .await;
    client.grant("u", Grant::new(1).idempotency_key("payment-1")).await.unwrap();
    assert_eq!(header(&seen.lock().unwrap()[0], "idempotency-key"), Some("payment-1"));
}

#[tokio::test]
async fn a_refusal_is_final_and_has_its_code() {
    let refused = "402 Payment Required\r\ncontent-type: application/problem+json";
    let (client, seen) = scripted(vec![problem(refused, 402, "insufficient_credits")]).await;
    let error = client.record_usage("u", Usage::new("f", 1)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.status(), error.request_id()),
        (Some("insufficient_credits"), Some(402), Some("r-1"))
    );
    assert!(!error.is_retryable());
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_proxys_error_page_keeps_its_status() {
    let page = || Answer::Send("502 Bad Gateway\r\ncontent-type: text/html", "<h1>no</h1>".to_owned());
    let (client, seen) = scripted(vec![page(), page(), page()]).await;
    let error = client.credits("user/1 ü").await.unwrap_err();
    assert_eq!((error.code(), error.status()), (Some("unexpected_response"), Some(502)));
    assert!(error.is_retryable());
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen[0].starts_with("get /v1/end_users/user%2f1%20%c3%bc/credits?include=blocks http/1.1"), "{}", seen[0]);
}

#[tokio::test]
async fn a_check_that_gets_no_answer_ends_in_its_time() {
    let (client, _seen) = scripted(vec![Answer::Wait]).await;
    match client.check_entitlement("u", "f").await.unwrap_err() {
        Error::Connection(error) => assert!(error.is_timeout(), "{error:?}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_wait_beyond_the_calls_time_is_not_begun() {
    let busy = "429 Too Many Requests\r\ncontent-type: application/problem+json\r\nretry-after: 3600";
    let (client, seen) = scripted(vec![problem(busy, 429, "rate_limited")]).await;
    assert_eq!(client.credits("u").await.unwrap_err().code(), Some("rate_limited"));
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[test]
fn a_client_needs_a_key_and_a_url() {
    let built = Client::builder().build().unwrap_err();
    assert!(built.to_string().contains("QUOTASTACK_API_KEY"));
    assert!(Client::builder().api_key("k").base_url("ftp://x").build().is_err());
    assert!(Client::builder().api_key("k\n").build().is_err());
}

#[test]
fn calls_can_move_between_threads() {
    fn is_send<T: Send>(_: T) {}
    let client = Client::builder().api_key("k").build().unwrap();
    is_send(client.check_entitlement("u", "f"));
    is_send(client.record_usage("u", Usage::default()));
    is_send(client.api().list_plans().send());
}
