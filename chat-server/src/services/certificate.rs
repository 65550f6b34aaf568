//! Injection site `certificate`: the certificate of TLS handshakes.

use std::fs;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio_rustls::rustls::ServerConfig;

use crate::config_error::ConfigError;
use crate::inject::mistake::Mistake;
use crate::services::certificate_files::{CertificateFiles, LoadedCertificate};

/// The certificate in use, and the files to read the next one from.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: CertificateFiles,
    /// Locked for one copy of a pointer.
    current: RwLock<Arc<ServerConfig>>,
    /// Locked by the reload in progress.
    reload: Mutex<()>,
    mistake: Option<Mistake>,
}

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with which file.
    pub(crate) async fn start(
        files: CertificateFiles,
        mistake: Option<Mistake>,
    ) -> Result<Self, ConfigError> {
        let current = RwLock::new(load(files.clone()).await?);
        Ok(Self { files, current, reload: Mutex::default(), mistake })
    }

    /// Returns what a handshake needs.
    pub(crate) fn for_handshake(&self) -> Arc<ServerConfig> {
        if let Some(duration) = self.mistake.as_ref().and_then(Mistake::decide) {
            match wrong(&self.files, duration) {
                Ok(loaded) => return loaded.config,
                Err(error) => tracing::warn!("the certificate cannot be read: {error}"),
            }
        }
        self.right()
    }

    /// Right: all handshakes share what was read at the start or by the last
    /// reload.
    fn right(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again, on a thread for blocking work, and uses them for
    /// further handshakes. Open connections continue. Returns a sentence about
    /// the result; if a file is wrong, the old certificate stays in use.
    pub(crate) async fn reload(&self) -> String {
        let Ok(_reload) = self.reload.try_lock() else {
            return "The TLS certificate is being read already".to_owned();
        };
        match load(self.files.clone()).await {
            Ok(config) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                let sentence = "The TLS certificate was read again and is in use".to_owned();
                tracing::info!("{sentence}");
                sentence
            }
            Err(error) => {
                let sentence = format!("The old TLS certificate stays in use: {error}");
                tracing::warn!("{sentence}");
                sentence
            }
        }
    }
}

/// Reads the files and logs what the operator should know.
async fn load(files: CertificateFiles) -> Result<Arc<ServerConfig>, ConfigError> {
    let load = move || {
        let loaded = files.load()?;
        loaded.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
        if let Some(fingerprint) = loaded.fingerprint() {
            tracing::info!("TLS with the certificate of `{}`, SHA-256 {fingerprint}", files.certificate);
        }
        Ok(loaded.config)
    };
    let lost = |_| ConfigError::new("--tls-certificate", "the reading thread has ended");
    loopscope::spawn_blocking("read-certificate", load).await.map_err(lost)?
}

/// Wrong: reads and parses both files for each handshake, so that a new
/// certificate is used at once. The worker waits for the disk. Repeats until
/// `duration` has passed, as some disks are fast. Both reads are on one source
/// line because they are one mistake.
#[inline(never)]
fn wrong(files: &CertificateFiles, duration: Duration) -> Result<LoadedCertificate, String> {
    let started = Instant::now();
    loop {
        let (certificate, key) = (fs::read(&files.certificate), fs::read(&files.key)); // THE MISTAKE
        let is_over = started.elapsed() >= duration;
        match (certificate, key) {
            (Ok(_), Ok(_)) if !is_over => {}
            (Ok(certificate), Ok(key)) => {
                return files.parse(&certificate, &key).map_err(|error| error.to_string());
            }
            (Err(error), _) | (_, Err(error)) => return Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::flag::Injections;
    use crate::inject::spec::InjectionSite;
    use crate::tls::self_signed;

    #[tokio::test]
    async fn right_and_wrong_use_the_certificate_of_the_files() {
        for inject in [&[][..], &["certificate=1ms@100%"]] {
            let directory = tempfile::tempdir().expect("a directory");
            let files = self_signed::create(directory.path(), "s").expect("created");
            let mistake =
                Injections::parse(inject.iter().copied()).expect("valid").at(InjectionSite::Certificate);
            let certificate = Certificate::start(files.clone(), mistake).await.expect("valid files");
            let is_shared = Arc::ptr_eq(&certificate.for_handshake(), &certificate.for_handshake());
            assert_eq!(is_shared, inject.is_empty(), "{inject:?}");
            // If the files are gone, the mistake falls back to the right way.
            fs::remove_file(&files.key).expect("removed");
            assert!(Arc::ptr_eq(&certificate.for_handshake(), &certificate.right()));
            let sentence = certificate.reload().await;
            assert!(sentence.starts_with("The old TLS certificate stays in use: --tls-key: `"), "{sentence}");
        }
    }

    #[tokio::test]
    async fn only_one_reload_runs_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = self_signed::create(directory.path(), "s").expect("created");
        let certificate = Certificate::start(files, None).await.expect("valid files");
        let _reload = certificate.reload.lock().await;
        assert_eq!(certificate.reload().await, "The TLS certificate is being read already");
    }
}
