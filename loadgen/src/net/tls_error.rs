//! Failures of TLS handshakes, with advice, each in one sentence.

use std::io;

use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use crate::record::Failure;

/// Returns the failure of a handshake.
pub(super) fn failure(error: &io::Error) -> Failure {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Failure::tls("the target closed the connection during the TLS handshake".to_owned())
            }
            _ => Failure::reading(error),
        };
    };
    Failure::tls(text(tls))
}

fn text(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate_text(error),
        Error::InvalidMessage(_) => {
            "the target does not speak TLS at this port; use irc://HOST:PORT or http://HOST:PORT/ for plain \
             text"
                .to_owned()
        }
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "the target does not offer this version of HTTP over TLS; use the other one, with or without --http2".to_owned()
        }
        Error::AlertReceived(alert) => format!("the target refused the TLS handshake: {alert:?}"),
        error => format!("the TLS handshake failed: {error}"),
    }
}

fn certificate_text(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the target's certificate has expired; renew it, or add --insecure to accept any certificate".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the target's certificate is not valid yet; check the clocks, or add --insecure to accept any \
             certificate"
                .to_owned()
        }
        // Another issuer of the same name has signed it.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the issuer of the target's certificate is unknown; add --tls-ca FILE with the issuer's certificate, or \
             --insecure to accept any certificate"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the target's certificate is for {}, not for {}; add --tls-name NAME, or --insecure to accept any \
             certificate",
            if presented.is_empty() { "no name".to_owned() } else { names(presented) },
            expected.to_str(),
        ),
        CertificateError::NotValidForName => {
            "the target's certificate is for another name; add --tls-name NAME, or --insecure to accept any \
             certificate"
                .to_owned()
        }
        // Such as a self-signed certificate that may issue others too.
        error => format!(
            "the target's certificate cannot be verified ({error}); use one that is issued for a server, or add \
             --insecure to accept any certificate"
        ),
    }
}

/// The largest number of names of a certificate that an error quotes.
const MAX_QUOTED_NAMES: usize = 3;

/// Quotes the first names. A name comes from the target, so what a terminal
/// could take as a command is replaced.
fn names(presented: &[String]) -> String {
    let names = presented.iter().take(MAX_QUOTED_NAMES).map(|name| {
        // Such as `DnsName("example.test")`.
        let name: String = name.split('"').nth(1).unwrap_or(name).chars().take(100).collect();
        name.replace(char::is_control, "\u{fffd}")
    });
    names.collect::<Vec<_>>().join(", ")
}
