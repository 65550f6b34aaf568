//! Certificates, and clients with TLS that verify them.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tokio::io::{BufReader, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{Client, STEP_TIMEOUT};

const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// A client with TLS.
pub type TlsClient = Client<ReadHalf<TlsStream<TcpStream>>, WriteHalf<TlsStream<TcpStream>>>;

/// The files of a certificate, in a directory of their own.
pub struct CertificateFiles {
    pub directory: tempfile::TempDir,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Creates a certificate. Returns it, too.
    pub fn create() -> (Self, CertificateDer<'static>) {
        let directory = tempfile::tempdir().expect("a directory");
        let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        let files = Self { directory, certificate, key };
        let der = files.replace();
        (files, der)
    }

    /// Writes another certificate and its key into the same files.
    pub fn replace(&self) -> CertificateDer<'static> {
        write_certificate(&self.certificate, &self.key)
    }

    pub fn flags(&self) -> [String; 2] {
        [
            format!("--tls-certificate={}", self.certificate.display()),
            format!("--tls-key={}", self.key.display()),
        ]
    }
}

/// Writes a new certificate for `localhost` and its key. Returns it.
pub fn write_certificate(certificate: &Path, key: &Path) -> CertificateDer<'static> {
    let key_pair = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let created = params.self_signed(&key_pair).expect("a certificate");
    std::fs::write(certificate, created.pem()).expect("written");
    std::fs::write(key, key_pair.serialize_pem()).expect("written");
    created.der().clone()
}

/// Connects to `address` with TLS and accepts only this certificate.
///
/// # Errors
///
/// Returns the error of the handshake.
pub async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
) -> io::Result<TlsStream<TcpStream>> {
    handshake(TcpStream::connect(address).await?, trusted).await
}

/// Does the handshake of a client on `stream`.
///
/// # Errors
///
/// Returns the error of the handshake.
pub async fn handshake(
    stream: TcpStream,
    trusted: &CertificateDer<'static>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    timeout(STEP_TIMEOUT, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.expect("in time")
}

/// Connects as soon as the server accepts the client with this certificate.
pub async fn connect_eventually(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
) -> TlsStream<TcpStream> {
    let connected = async {
        loop {
            if let Ok(stream) = connect(address, trusted).await {
                return stream;
            }
            sleep(RETRY_INTERVAL).await;
        }
    };
    timeout(STEP_TIMEOUT, connected).await.expect("connected in time")
}

/// Returns the client of a connection.
pub fn client(stream: TlsStream<TcpStream>) -> TlsClient {
    let (read, write) = split(stream);
    Client { read: BufReader::new(read), write }
}
