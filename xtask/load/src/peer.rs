//! A sidecar's end of the link without its disk: hello, deltas read as they come, and batches, each on a stream of
//! its own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};
use quotastack_core::ids::{LaneCount, SidecarId};
use quotastack_core::wire::{
    AnswerParts, BatchReply, Delta, FrameReader, Hello, Message, Mode, Request, Response, Secret, ServerControl,
    SidecarControl, UsageEvent, Welcome, encode,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use uuid::Uuid;

/// The protocol's name in TLS.
const ALPN: &[u8] = b"quotastack/1";
/// Bytes taken from a stream at a time.
const READ_BYTES: usize = 64 << 10;

/// A sidecar that the server has taken in.
pub(crate) struct Peer {
    welcome: Welcome,
    connection: Connection,
    /// The link lasts as long as its control stream.
    _control: (SendStream, Incoming),
    _endpoint: Endpoint,
}

impl Peer {
    /// Connects, says hello as a sidecar that holds nothing, and reads deltas from then on.
    pub(crate) async fn link(server: SocketAddr, ca_file: &Path, key: &str, number: u64) -> anyhow::Result<Self> {
        let mut endpoint = Endpoint::client((server.ip(), 0).into())?;
        endpoint.set_default_client_config(client_config(ca_file)?);
        let connection = endpoint.connect(server, "localhost")?.await.context("the server does not take the link")?;
        let (mut to_server, from_server) = connection.open_bi().await?;
        let mut from_server = Incoming::new(from_server);
        let hello = Hello {
            key: Secret(key.to_owned()),
            sidecar_id: SidecarId::from_uuid(Uuid::from_u64_pair(number, number)),
            run_id: Uuid::from_u64_pair(number, number).into_bytes(),
            software: "xtask-load".to_owned(),
            mode: Mode::OnDemand,
            cursor: None,
            catalogue_version: 0,
        };
        to_server.write_all(&encode(&SidecarControl::Hello(hello))?).await?;
        let welcome = match from_server.next().await? {
            Some(ServerControl::Welcome(welcome)) => welcome,
            other => bail!("not welcome: {other:?}"),
        };
        let follow = SidecarControl::Follow { hashes: Vec::new(), complete: true };
        to_server.write_all(&encode(&follow)?).await?;
        let deltas = Incoming::new(connection.accept_uni().await?);
        tokio::spawn(read_deltas(deltas));
        Ok(Self { welcome, connection, _control: (to_server, from_server), _endpoint: endpoint })
    }

    /// The lanes of the key's environment.
    pub(crate) const fn lanes(&self) -> LaneCount {
        self.welcome.lanes
    }

    /// Hands a batch over and reads the whole answer.
    pub(crate) async fn record(&self, lane: u16, events: Vec<UsageEvent>) -> anyhow::Result<BatchReply> {
        let (mut question, answer) = self.connection.open_bi().await?;
        question.write_all(&encode(&Request::Usage { lane, events })?).await?;
        question.finish()?;
        let (mut answer, mut parts) = (Incoming::new(answer), AnswerParts::default());
        while let Some(response) = answer.next::<Response>().await? {
            if let Some(reply) = parts.push(response)? {
                return Ok(reply);
            }
        }
        bail!("the answer to a batch ended early")
    }
}

async fn read_deltas(mut deltas: Incoming) {
    // They end with the link.
    while let Ok(Some(_)) = deltas.next::<Delta>().await {}
}

/// Messages of a stream.
struct Incoming {
    stream: RecvStream,
    frames: FrameReader,
}

impl Incoming {
    const fn new(stream: RecvStream) -> Self {
        Self { stream, frames: FrameReader::new() }
    }

    async fn next<M: Message>(&mut self) -> anyhow::Result<Option<M>> {
        loop {
            if let Some(message) = self.frames.next_message()? {
                return Ok(Some(message));
            }
            match self.stream.read_chunk(READ_BYTES, true).await? {
                Some(chunk) => self.frames.feed(&chunk.bytes),
                None => return Ok(None),
            }
        }
    }
}

fn client_config(ca_file: &Path) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(ca_file);
    roots.add(certificate.with_context(|| format!("no certificate in {}", ca_file.display()))?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)))
}
