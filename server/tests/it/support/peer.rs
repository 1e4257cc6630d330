//! A sidecar's end of the link, reduced to frames: what a test wants to say, in whatever order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};
use quotastack_core::ids::SidecarId;
use quotastack_core::wire::{
    Cursor, Delta, FrameReader, Hello, Message, Mode, Request, Secret, ServerControl, SidecarControl, Welcome, encode,
};
use quotastack_server::sync::tls::ALPN;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use uuid::Uuid;

/// Far beyond what any answer needs.
const DEADLINE: Duration = Duration::from_secs(60);

/// A connection before hello.
pub(crate) struct Wire {
    pub(crate) connection: Connection,
    _endpoint: Endpoint,
}

/// A connection whose hello was taken.
pub(crate) struct Peer {
    pub(crate) wire: Wire,
    pub(crate) welcome: Welcome,
    pub(crate) to_server: SendStream,
    pub(crate) from_server: Incoming,
}

/// Messages of a stream.
pub(crate) struct Incoming {
    stream: RecvStream,
    frames: FrameReader,
}

impl Incoming {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, frames: FrameReader::new() }
    }

    /// The next message, or `None` when the stream or the connection ends.
    pub(crate) async fn next<M: Message>(&mut self) -> Option<M> {
        tokio::time::timeout(DEADLINE, self.read()).await.expect("the server answers")
    }

    async fn read<M: Message>(&mut self) -> Option<M> {
        loop {
            if let Some(message) = self.frames.next_message().unwrap() {
                return Some(message);
            }
            let chunk = self.stream.read_chunk(64 << 10, true).await.ok()??;
            self.frames.feed(&chunk.bytes);
        }
    }
}

pub(crate) fn hello(key: &str, mode: Mode, cursor: Option<Cursor>) -> Hello {
    Hello {
        key: Secret(key.to_owned()),
        sidecar_id: SidecarId::from_uuid(Uuid::max()),
        run_id: [1; 16],
        software: "test".to_owned(),
        mode,
        cursor,
        catalogue_version: 0,
    }
}

impl Wire {
    pub(crate) async fn connect(server: SocketAddr, ca_file: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca_file).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap())));
        let connection = endpoint.connect(server, "localhost").unwrap().await.unwrap();
        Self { connection, _endpoint: endpoint }
    }

    /// Opens the control stream with these bytes.
    pub(crate) async fn control(&self, first: &[u8]) -> (SendStream, Incoming) {
        let (mut to_server, from_server) = self.connection.open_bi().await.unwrap();
        // The server may have closed already; what it says then is what the test looks at.
        let _ = to_server.write_all(first).await;
        (to_server, Incoming::new(from_server))
    }

    /// Says hello and returns the server's first word.
    pub(crate) async fn hello(&self, hello: Hello) -> (Option<ServerControl>, SendStream, Incoming) {
        let (to_server, mut from_server) = self.control(&encode(&SidecarControl::Hello(hello)).unwrap()).await;
        (from_server.next().await, to_server, from_server)
    }

    /// Waits until the server has closed the connection.
    pub(crate) async fn closed(&self) -> String {
        tokio::time::timeout(DEADLINE, self.connection.closed()).await.expect("the server closes").to_string()
    }
}

impl Peer {
    pub(crate) async fn link(server: SocketAddr, ca_file: &Path, greeting: Hello) -> Self {
        let wire = Wire::connect(server, ca_file).await;
        let (answer, to_server, from_server) = wire.hello(greeting).await;
        let Some(ServerControl::Welcome(welcome)) = answer else { panic!("not welcome: {answer:?}") };
        Self { wire, welcome, to_server, from_server }
    }

    pub(crate) async fn say(&mut self, message: &SidecarControl) {
        self.to_server.write_all(&encode(message).unwrap()).await.unwrap();
    }

    pub(crate) async fn deltas(&self) -> Incoming {
        let accepted = tokio::time::timeout(DEADLINE, self.wire.connection.accept_uni());
        Incoming::new(accepted.await.expect("the server opens the deltas").unwrap())
    }

    pub(crate) async fn ask(&self, request: &Request) -> Incoming {
        let (mut stream, answer) = self.wire.connection.open_bi().await.unwrap();
        stream.write_all(&encode(request).unwrap()).await.unwrap();
        stream.finish().unwrap();
        Incoming::new(answer)
    }
}

/// Reads deltas until `wanted` is among what came so far.
pub(crate) async fn deltas_until(stream: &mut Incoming, mut wanted: impl FnMut(&[Delta]) -> bool) -> Vec<Delta> {
    let mut seen = Vec::new();
    while !wanted(&seen) {
        seen.push(stream.next().await.expect("the stream of deltas goes on"));
    }
    seen
}
