//! Reads a certificate and its private key from PEM files.

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier as _;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ServerConfig};
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore, SignatureScheme};

use crate::bounded_file;
use crate::config_error::ConfigError;

/// Maximum size of each file.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// A longer signature is worth a warning. Each handshake signs once, on the
/// event loop.
const SLOW_SIGNATURE: Duration = Duration::from_millis(2);
/// Signatures of which the shortest counts, because the machine may be busy.
const TIMED_SIGNATURES: usize = 3;
/// The schemes with which a key may sign, one of each type.
const SCHEMES: [SignatureScheme; 5] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
];

/// The paths of a certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct CertificateFiles {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A certificate that is ready for handshakes.
#[derive(Debug)]
pub(crate) struct LoadedCertificate {
    pub(crate) config: Arc<ServerConfig>,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
}

impl CertificateFiles {
    /// Reads both files. Call it off the event loop.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with which of the two files.
    pub(crate) fn load(&self) -> Result<LoadedCertificate, ConfigError> {
        let certificate = read("--tls-certificate", &self.certificate)?;
        let key = read("--tls-key", &self.key)?;
        self.parse(&certificate, &key)
    }

    /// Checks the contents of both files. The errors repeat no part of the key.
    pub(super) fn parse(&self, certificate: &[u8], key: &[u8]) -> Result<LoadedCertificate, ConfigError> {
        let Self { certificate: certificate_path, key: key_path } = self;
        let wrong_certificate =
            |right: &str| ConfigError::new("--tls-certificate", format!("`{certificate_path}` must {right}"));
        let wrong_key = |right: &str| ConfigError::new("--tls-key", format!("`{key_path}` must {right}"));
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| {
            wrong_certificate("hold certificates in PEM (-----BEGIN CERTIFICATE-----), the server's first")
        })?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            wrong_key("hold a private key in PEM (-----BEGIN PRIVATE KEY-----), without a passphrase")
        })?;
        let provider = Arc::new(ring::default_provider());
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            Error::InconsistentKeys(_) => wrong_key(&format!("be the key of `{certificate_path}`")),
            Error::InvalidCertificate(_) => wrong_certificate("begin with a valid X.509 certificate"),
            _ => wrong_key("be an ECDSA key (P-256 or P-384), an Ed25519 key or an RSA key from 2048 bits"),
        })?;
        let (chain, key) = (certified.cert.clone(), certified.key.clone());
        let config = server_config(certified, provider)
            .map_err(|error| wrong_certificate(&format!("be usable for TLS: {error}")))?;
        Ok(LoadedCertificate { config: Arc::new(config), chain, key })
    }
}

impl LoadedCertificate {
    /// Returns what the operator should know: a certificate that is not valid
    /// now, a key that signs slowly.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let validity = self.chain.iter().filter_map(validity_warning);
        let signing_time = signing_time(&*self.key).filter(|&time| time > SLOW_SIGNATURE);
        let slow_key = signing_time.map(|time| {
            format!("each TLS handshake signs for {time:.1?} on the event loop, use an ECDSA key")
        });
        validity.chain(slow_key).collect()
    }

    /// Returns the SHA-256 fingerprint of the server's certificate, in
    /// hexadecimal.
    pub(crate) fn fingerprint(&self) -> Option<String> {
        let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13()?;
        let digest = suite.common.hash_provider.hash(self.chain.first()?);
        Some(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn read(flag: &'static str, path: &str) -> Result<Vec<u8>, ConfigError> {
    bounded_file::read(path, MAX_FILE_BYTES)
        .map_err(|error| ConfigError::new(flag, format!("`{path}` must be a readable file: {error}")))
}

fn server_config(certified: CertifiedKey, provider: Arc<CryptoProvider>) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    // Clients keep what a resumption needs, so the server's memory does not
    // grow with them. A ticket is valid until the next reload.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ring::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// Returns a warning if the certificate has expired or is not valid yet.
fn validity_warning(certificate: &CertificateDer<'static>) -> Option<String> {
    // The verifier checks the time before everything else. What else it may
    // find is the client's decision.
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).ok()?;
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
    let name = ServerName::try_from("localhost").ok()?;
    let at =
        |time: UnixTime| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(time.as_secs()));
    match verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now()) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Some(format!("the TLS certificate has expired at {}, clients will refuse it", at(not_after)))
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => Some(
            format!("the TLS certificate is not valid before {}, clients will refuse it", at(not_before)),
        ),
        _ => None,
    }
}

/// Measures how long the key signs.
fn signing_time(key: &dyn SigningKey) -> Option<Duration> {
    let signer = key.choose_scheme(&SCHEMES)?;
    let times = (0..TIMED_SIGNATURES).filter_map(|_| {
        let started = Instant::now();
        signer.sign(b"the transcript of a handshake").ok().map(|_| started.elapsed())
    });
    times.min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    /// Returns a certificate that is valid from one year to another, and its
    /// key, as PEM.
    fn created(valid_years: (i32, i32)) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(valid_years.0, 1, 1);
        params.not_after = date_time_ymd(valid_years.1, 1, 1);
        (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    }

    fn parse(certificate: &str, key: &str) -> Result<LoadedCertificate, String> {
        let files = CertificateFiles { certificate: "c.pem".to_owned(), key: "k.pem".to_owned() };
        files.parse(certificate.as_bytes(), key.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_wrong_file_is_reported_with_what_is_right() {
        let ((certificate, key), (_, other_key)) = (created((2000, 2100)), created((2000, 2100)));
        let not_x509 = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        let not_a_key = "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n";
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let cut = &certificate[..certificate.len() / 2];
        for (certificate, key, reason) in [
            ("", &*key, "--tls-certificate: `c.pem` must hold certificates in PEM"),
            ("hello", &key, "--tls-certificate: `c.pem` must hold certificates in PEM"),
            (cut, &key, "--tls-certificate: `c.pem` must hold certificates in PEM"),
            (&key, &key, "--tls-certificate: `c.pem` must hold certificates in PEM"),
            (not_x509, &key, "--tls-certificate: `c.pem` must begin with a valid X.509 certificate"),
            (&certificate, "", "--tls-key: `k.pem` must hold a private key in PEM"),
            (&certificate, &certificate, "--tls-key: `k.pem` must hold a private key in PEM"),
            (&certificate, &encrypted, "without a passphrase"),
            (&certificate, not_a_key, "--tls-key: `k.pem` must be an ECDSA key"),
            (&certificate, &other_key, "--tls-key: `k.pem` must be the key of `c.pem`"),
        ] {
            let error = parse(certificate, key).expect_err(reason);
            assert!(error.contains(reason) && error.lines().count() == 1, "{reason}: {error}");
        }
        assert_eq!(parse(&certificate, &key).expect("valid").fingerprint().expect("a digest").len(), 64);
    }

    #[test]
    fn a_certificate_that_is_not_valid_now_is_a_warning() {
        for (valid_years, warning) in [
            ((2000, 2100), None),
            ((2000, 2001), Some("the TLS certificate has expired at 2001-01-01T00:00:00Z")),
            ((2090, 2100), Some("the TLS certificate is not valid before 2090-01-01T00:00:00Z")),
        ] {
            let (certificate, key) = created(valid_years);
            let warnings = parse(&certificate, &key).expect("usable").warnings();
            let found = warnings.iter().find(|text| text.contains("certificate"));
            assert_eq!(found.is_some(), warning.is_some(), "{warnings:?}");
            assert!(warning.is_none_or(|warning| warnings[0].starts_with(warning)), "{warnings:?}");
        }
    }

    #[test]
    fn an_expired_certificate_of_the_chain_is_a_warning() {
        let ((valid, key), (expired, _)) = (created((2000, 2100)), created((2000, 2001)));
        let warnings = parse(&[valid, expired].concat(), &key).expect("usable").warnings();
        assert!(warnings[0].starts_with("the TLS certificate has expired"), "{warnings:?}");
    }
}
