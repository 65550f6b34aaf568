//! A self-signed certificate, to try TLS with one flag.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use rcgen::{CertificateParams, DnType, KeyPair};

use crate::services::certificate_files::CertificateFiles;

const CERTIFICATE_FILE: &str = "tls-certificate.pem";
const KEY_FILE: &str = "tls-key.pem";

/// Returns the files of the certificate in `directory`. Creates them unless
/// they exist: clients may have stored the certificate's fingerprint.
pub(crate) fn create(directory: &Path, server_name: &str) -> anyhow::Result<CertificateFiles> {
    let (certificate_path, key_path) = (directory.join(CERTIFICATE_FILE), directory.join(KEY_FILE));
    if !certificate_path.exists() || !key_path.exists() {
        let (certificate, key) =
            generate(server_name).context("--tls-self-signed: the certificate cannot be created")?;
        write(directory, &key_path, &key)?;
        write(directory, &certificate_path, &certificate)?;
    }
    let text = |path: &Path| path.to_str().map(str::to_owned).context("--data-dir: the path must be UTF-8");
    Ok(CertificateFiles { certificate: text(&certificate_path)?, key: text(&key_path)? })
}

/// Returns a new certificate and its ECDSA key, in PEM.
fn generate(server_name: &str) -> Result<(String, String), rcgen::Error> {
    let names = [server_name, "localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, server_name);
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// Writes a file that only its owner can read. It appears when it is complete.
fn write(directory: &Path, path: &Path, text: &str) -> anyhow::Result<()> {
    let written = tempfile::NamedTempFile::new_in(directory).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        Ok(file.persist(path)?)
    });
    written.with_context(|| format!("--tls-self-signed: `{}` cannot be written", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_created_once_and_only_its_owner_reads_the_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = create(directory.path(), "chat.example.org").expect("created");
        files.load().expect("valid");
        let first = std::fs::read(&files.certificate).expect("readable");
        create(directory.path(), "chat.example.org").expect("created before");
        assert_eq!(std::fs::read(&files.certificate).expect("readable"), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&files.key).expect("exists").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
