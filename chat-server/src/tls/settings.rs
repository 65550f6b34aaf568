//! The settings of TLS, checked.

use std::path::Path;

use crate::config_error::ConfigError;
use crate::services::certificate_files::CertificateFiles;
use crate::tls::self_signed;

/// Where the certificate comes from.
#[derive(Debug, Clone)]
pub(crate) enum CertificateSource {
    Files(CertificateFiles),
    /// The server creates one in its data directory and uses it from then on.
    SelfSigned,
}

impl CertificateSource {
    /// Reads the flags. Returns `None` without TLS. Files are read once, to
    /// report what is wrong with them.
    pub(crate) fn from_flags(
        certificate: Option<String>,
        key: Option<String>,
        is_self_signed: bool,
    ) -> Result<Option<Self>, ConfigError> {
        let missing = |flag, other| {
            Err(ConfigError::new(flag, format!("needs {other}, or use --tls-self-signed to try TLS")))
        };
        match (certificate, key, is_self_signed) {
            (None, None, false) => Ok(None),
            (None, None, true) => Ok(Some(Self::SelfSigned)),
            (Some(certificate), Some(key), false) => {
                let files = CertificateFiles { certificate, key };
                files.load()?;
                Ok(Some(Self::Files(files)))
            }
            (Some(_), None, false) => missing("--tls-certificate", "--tls-key"),
            (None, Some(_), false) => missing("--tls-key", "--tls-certificate"),
            (_, _, true) => Err(ConfigError::new(
                "--tls-self-signed",
                "creates a certificate itself, so leave out --tls-certificate and --tls-key",
            )),
        }
    }

    /// Returns the files, and creates those of a self-signed certificate. It
    /// reads and writes files, so call it off the event loop.
    pub(crate) fn files(&self, directory: &Path, server_name: &str) -> anyhow::Result<CertificateFiles> {
        match self {
            Self::Files(files) => Ok(files.clone()),
            Self::SelfSigned => self_signed::create(directory, server_name),
        }
    }
}
