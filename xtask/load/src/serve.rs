//! A bare hyper server that answers `ok`: what a request costs before anybody thinks about it.

use std::convert::Infallible;
use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The Unix socket to listen on, beside a free TCP port.
    #[arg(long)]
    uds: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // Several threads, as a sidecar has.
    tokio::runtime::Runtime::new()?.block_on(serve(args))
}

async fn serve(args: &Args) -> anyhow::Result<()> {
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let uds = UnixListener::bind(&args.uds)?;
    println!(
        "{}",
        serde_json::json!({ "event": "ready", "http": format!("http://{}", tcp.local_addr()?), "uds": args.uds })
    );
    loop {
        tokio::select! {
            accepted = tcp.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                tokio::spawn(answer(stream));
            }
            accepted = uds.accept() => {
                tokio::spawn(answer(accepted?.0));
            }
        }
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let service = service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
    });
    // A client that goes away is the normal end of a connection.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
