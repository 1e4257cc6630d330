//! Whom the sidecar trusts: the system's roots, or one authority from a file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The protocol's name in TLS.
const ALPN: &[u8] = b"quotastack/1";

/// Why no connection can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read as PEM certificates.
    #[error("cannot read certificates from {path}: {detail}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// The system has no roots.
    #[error("found no trusted roots in the system ({0}); install ca-certificates or give --ca-file")]
    NoSystemRoots(String),
    /// TLS refused the configuration.
    #[error("cannot configure TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// No UDP socket.
    #[error("cannot open a UDP socket: {0}")]
    Socket(io::Error),
}

/// The certificates of a PEM file.
pub(crate) fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let failed = |detail: String| TrustError::CaFile { path: path.to_owned(), detail };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() {
        return Err(failed("it holds none".to_owned()));
    }
    Ok(certificates)
}

/// TLS 1.3 for the link, without early data.
pub(crate) fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TrustError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in read_ca_file(path)? {
                roots.add(certificate)?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
                return Err(TrustError::NoSystemRoots(errors.join(", ")));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}
