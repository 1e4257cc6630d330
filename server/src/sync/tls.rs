//! What the server shows a sidecar: its certificate chain and key, or in `dev` one of its own making.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use quinn::EndpointConfig;
use quinn::crypto::rustls::QuicServerConfig;
use quinn_proto::HashedConnectionIdGenerator;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The protocol's name in TLS.
pub const ALPN: &[u8] = b"quotastack/1";

const CA_FILE: &str = "ca.pem";
const CERT_FILE: &str = "server.pem";
const KEY_FILE: &str = "server.key";
/// Names that a `dev` server is reached by.
const DEV_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate chain and its private key.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// From PEM files.
    pub fn from_files(chain: &Path, key: &Path) -> anyhow::Result<Self> {
        let read = CertificateDer::pem_file_iter(chain).and_then(Iterator::collect);
        let read: Vec<_> = read.with_context(|| format!("no PEM certificates in {}", chain.display()))?;
        anyhow::ensure!(!read.is_empty(), "no PEM certificates in {}", chain.display());
        let key = PrivateKeyDer::from_pem_file(key).with_context(|| format!("no PEM key in {}", key.display()))?;
        Ok(Self { chain: read, key })
    }

    /// The identity of a `dev` server, made at the first start in `data_dir`; also the file of the authority that
    /// sidecars trust it by.
    pub fn self_signed(data_dir: &Path) -> anyhow::Result<(Self, PathBuf)> {
        let path = |name: &str| data_dir.join(name);
        let (ca_file, cert_file, key_file) = (path(CA_FILE), path(CERT_FILE), path(KEY_FILE));
        if !key_file.exists() {
            let (authority, certificate, key) = make_identity()?;
            fs::write(&ca_file, authority)?;
            fs::write(&cert_file, certificate)?;
            // Last: where it is, the others are.
            write_secret(&key_file, &key)?;
        }
        Ok((Self::from_files(&cert_file, &key_file)?, ca_file))
    }

    /// How the endpoint names its connections: the same for the same private key, so that a restarted server knows
    /// connections of the run before for its own and disowns them. Their sidecars then notice at once.
    pub fn endpoint_config(&self) -> EndpointConfig {
        let derive = |purpose: &str| blake3::derive_key(purpose, self.key.secret_der());
        let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &derive("quotastack link: stateless reset v1"));
        let mut name_key = [0; 8];
        name_key.copy_from_slice(&derive("quotastack link: connection ids v1")[..8]);
        let name_key = u64::from_be_bytes(name_key);
        let mut config = EndpointConfig::new(Arc::new(reset_key));
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(name_key)));
        config
    }

    /// TLS as the link wants it: version 1.3, our protocol only, no early data.
    pub fn quic_config(&self) -> anyhow::Result<Arc<QuicServerConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .context("the certificate and the key do not belong together")?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Arc::new(QuicServerConfig::try_from(tls)?))
    }
}

/// An authority, a certificate of it for this machine, and the certificate's key, as PEM.
fn make_identity() -> anyhow::Result<(String, String, String)> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name = name("QuotaStack dev authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let mut server = CertificateParams::new(DEV_NAMES.map(str::to_owned))?;
    server.distinguished_name = name("QuotaStack dev server");
    let key = KeyPair::generate()?;
    let certificate = server.signed_by(&key, &authority)?;
    Ok((authority.pem(), certificate.pem(), key.serialize_pem()))
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
