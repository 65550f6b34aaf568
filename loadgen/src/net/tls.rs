//! TLS to the target: which certificates are accepted, and the handshake.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::stream::{ALPN_HTTP2, Stream};
use super::tls_error;
use crate::plan::{Target, TlsOptions};
use crate::record::Failure;

/// The name of HTTP/1.1 in the TLS handshake.
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The largest file of certificates that is read.
const MAX_CERTIFICATE_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Makes TLS handshakes with one target.
#[derive(Clone)]
pub(super) struct TlsClient {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsClient").field("name", &self.name).finish_non_exhaustive()
    }
}

impl TlsClient {
    /// Returns a client for `target`.
    ///
    /// # Errors
    ///
    /// If the name is not one that a certificate can have, or there are no
    /// certificates to verify the target with.
    pub(super) fn new(options: &TlsOptions, target: &Target) -> Result<Self, String> {
        let name = options.name.as_deref().unwrap_or_else(|| target.host_name());
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            format!("`{name}` is not a name that a certificate can have; add --tls-name NAME")
        })?;
        let mut config = config(options)?;
        if target.is_web() {
            let protocol = if options.is_http2 { ALPN_HTTP2 } else { ALPN_HTTP1 };
            config.alpn_protocols = vec![protocol.to_vec()];
        }
        if !options.resume {
            config.resumption = Resumption::disabled();
        }
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// Makes the handshake on a new connection.
    pub(super) async fn handshake(&self, stream: TcpStream) -> Result<Stream, Failure> {
        match self.connector.connect(self.name.clone(), stream).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
            Err(error) => Err(tls_error::failure(&error)),
        }
    }
}

fn config(options: &TlsOptions) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    if options.is_insecure {
        let verifier = Arc::new(AnyCertificate(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
    }
    let roots = match &options.ca {
        Some(path) => roots_of_file(path)?,
        None => roots_of_system()?,
    };
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn roots_of_file(path: &Path) -> Result<RootCertStore, String> {
    let fault =
        |error: &dyn std::fmt::Display| format!("--tls-ca {} cannot be read: {error}", path.display());
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| fault(&error))?;
    file.take(MAX_CERTIFICATE_FILE_BYTES).read_to_end(&mut text).map_err(|error| fault(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| fault(&error))?;
        roots.add(certificate).map_err(|error| fault(&error))?;
    }
    if roots.is_empty() {
        return Err(format!("--tls-ca {} has no certificate in PEM form", path.display()));
    }
    Ok(roots)
}

fn roots_of_system() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    // Some systems have certificates that no library can use. The others count.
    let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("the system has no root certificates to verify the target with; add --tls-ca FILE, or \
                    --insecure to accept any certificate"
            .to_owned());
    }
    Ok(roots)
}

/// Accepts any certificate, but only from a server that has its private key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
