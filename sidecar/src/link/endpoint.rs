//! The UDP socket and QUIC settings of the link, and how one connection is made.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::link::LinkError;
use crate::link::tls::{TrustError, client_config};

/// Bytes asked of the operating system for each direction; it may give fewer.
const UDP_BUFFER_BYTES: usize = 4 << 20;
/// A link that hears nothing for so long is dead.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Well below half of [`IDLE_TIMEOUT`], so that one lost packet does not end an idle link.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// How long one attempt to connect may take, finding the address included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The server opens one stream, the deltas.
const SERVER_STREAMS_MAX: u32 = 1;

/// Makes connections to one server.
#[derive(Debug)]
pub(crate) struct Dialer {
    server: String,
    config: ClientConfig,
}

impl Dialer {
    /// A dialer for `server` (`host:port`), trusting `ca_file` or the system.
    pub(crate) fn new(server: &str, ca_file: Option<&Path>) -> Result<Self, TrustError> {
        let tls = QuicClientConfig::try_from(client_config(ca_file)?)
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let mut transport = TransportConfig::default();
        let idle = IdleTimeout::try_from(IDLE_TIMEOUT).expect("the idle timeout is a valid one");
        transport.max_idle_timeout(Some(idle)).keep_alive_interval(Some(KEEP_ALIVE));
        transport.max_concurrent_uni_streams(VarInt::from_u32(SERVER_STREAMS_MAX));
        transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
        let mut config = ClientConfig::new(Arc::new(tls));
        config.transport_config(Arc::new(transport));
        Ok(Self { server: server.to_owned(), config })
    }

    /// One attempt, with a socket of its own: the address is looked up anew each time.
    pub(crate) async fn connect(&self) -> Result<(Endpoint, Connection), LinkError> {
        tokio::time::timeout(CONNECT_TIMEOUT, self.attempt()).await.unwrap_or(Err(LinkError::ConnectTimeout))
    }

    async fn attempt(&self) -> Result<(Endpoint, Connection), LinkError> {
        let lookup = tokio::net::lookup_host(&self.server).await.map_err(LinkError::Resolve)?;
        let mut last = LinkError::NoAddress;
        for address in lookup {
            let endpoint = self.endpoint(address).map_err(LinkError::Socket)?;
            let connecting =
                endpoint.connect(address, self.name()).map_err(|error| LinkError::Setup(error.to_string()))?;
            match connecting.await {
                Ok(connection) => return Ok((endpoint, connection)),
                Err(error) => last = LinkError::Connection(error),
            }
        }
        Err(last)
    }

    fn endpoint(&self, peer: SocketAddr) -> std::io::Result<Endpoint> {
        let any = match peer {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, Some(Protocol::UDP))?;
        // A smaller buffer only loses packets earlier under load.
        let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(UDP_BUFFER_BYTES);
        socket.bind(&SockAddr::from(any))?;
        let socket = UdpSocket::from(socket);
        let mut endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;
        endpoint.set_default_client_config(self.config.clone());
        Ok(endpoint)
    }

    /// The host part, as the server's certificate names it.
    fn name(&self) -> &str {
        let host = self.server.rsplit_once(':').map_or(self.server.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}
