//! `quotastack-sidecar status`: asks a running sidecar how it is, and shows it.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use quotastack_sidecar::Status;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::cli::StatusArgs;

/// How long the sidecar may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Shows a sidecar's status on stdout.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn show(args: StatusArgs) -> Result<()> {
    let place = args.uds.as_ref().map_or_else(|| args.listen.to_string(), |path| path.display().to_string());
    let asked = tokio::time::timeout(TIMEOUT, ask(&args)).await;
    let text = asked.map_err(|_| anyhow::anyhow!("no answer in time")).and_then(|asked| asked);
    let text = text.with_context(|| format!("the sidecar at {place} cannot be asked; is it running?"))?;
    let status: Status = serde_json::from_slice(&text).context("the answer is not a sidecar's status")?;
    if args.json {
        println!("{}", serde_json::to_string(&status)?);
    } else {
        print!("{}", table(&status));
    }
    Ok(())
}

async fn ask(args: &StatusArgs) -> Result<Bytes> {
    match &args.uds {
        Some(path) => get(UnixStream::connect(path).await?, args.token.as_deref()).await,
        None => get(TcpStream::connect(args.listen).await?, args.token.as_deref()).await,
    }
}

async fn get(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, token: Option<&str>) -> Result<Bytes> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::get("/status").header("host", "localhost");
    if let Some(token) = token {
        request = request.header("quotastack-sidecar-token", token);
    }
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if status != StatusCode::OK {
        bail!("it answers {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(body)
}

/// For people.
fn table(status: &Status) -> String {
    let Status { id, software, mode, upstream, link, replica, outbox, refused } = status;
    let mut text = format!(
        "sidecar    {id}  {software}, {mode}
server     {upstream}  link {link}
replica    catalogue {}, {} accounts in memory, {} old
outbox     {} events waiting, {} of {}, the oldest for {}
refused    {} events
",
        replica.catalogue_version,
        replica.accounts,
        length(replica.staleness_ms),
        outbox.events,
        size(outbox.bytes),
        size(outbox.bytes_max),
        length(outbox.oldest_ms),
        outbox.refused_events,
    );
    for event in refused {
        // What others named is shown as text, not as what a terminal may take for an order.
        let (user, key) = (event.end_user_id.as_str(), event.idempotency_key.as_str());
        let _ = writeln!(
            text,
            "  {}  {}  {:?} {:?}: {}: {}",
            event.id, event.feature_key, user, key, event.code, event.detail
        );
    }
    text
}

fn length(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..120_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        _ => format!("{} min", millis / 60_000),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}
