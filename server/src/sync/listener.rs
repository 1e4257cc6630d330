//! The endpoint that sidecars connect to.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{Endpoint, ServerConfig};

use crate::app::App;
use crate::sync::tls::Identity;

/// A bound endpoint.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    address: SocketAddr,
}

impl Listener {
    /// Binds the endpoint.
    pub fn start(_app: Arc<App>, address: SocketAddr, identity: &Identity) -> anyhow::Result<Self> {
        let config = ServerConfig::with_crypto(identity.quic_config()?);
        let endpoint = Endpoint::server(config, address)?;
        let address = endpoint.local_addr()?;
        Ok(Self { endpoint, address })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Closes all sessions.
    pub async fn stop(self) {
        self.endpoint.close(0u32.into(), b"stopping");
        self.endpoint.wait_idle().await;
    }
}
