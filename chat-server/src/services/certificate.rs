//! Injection site `certificate`: the certificate of TLS handshakes.

use std::sync::{Arc, PoisonError, RwLock};
use std::{fs, io};

use anyhow::Context as _;

use tokio::sync::Mutex;
use tokio_rustls::rustls::ServerConfig;

use crate::config_error::ConfigError;
use crate::inject::mistake::Mistake;
use crate::services::certificate_files::{CertificateFiles, LoadedCertificate};
use crate::services::slow_disk::SlowDisk;

/// The certificate in use, and the files to read the next one from.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: CertificateFiles,
    /// Locked for one copy of a pointer.
    current: RwLock<Arc<ServerConfig>>,
    /// Locked by the reload in progress.
    reload: Mutex<()>,
    mistake: Option<(Mistake, SlowDisk)>,
}

impl Certificate {
    /// Reads the files. With the mistake, also starts the slow disk.
    ///
    /// # Errors
    ///
    /// Returns what is wrong with which file, or that the thread of the slow
    /// disk cannot be started.
    pub(crate) async fn start(files: CertificateFiles, mistake: Option<Mistake>) -> anyhow::Result<Self> {
        let current = RwLock::new(load(files.clone()).await?);
        let mistake = match mistake {
            Some(mistake) => {
                let disk = SlowDisk::start(mistake.duration()).context("a thread cannot be started")?;
                Some((mistake, disk))
            }
            None => None,
        };
        Ok(Self { files, current, reload: Mutex::default(), mistake })
    }

    /// Returns what a handshake needs.
    pub(crate) fn for_handshake(&self) -> Arc<ServerConfig> {
        if let Some((_, disk)) = self.mistake.as_ref().filter(|(mistake, _)| mistake.decide().is_some()) {
            match wrong(&self.files, disk) {
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
/// certificate is used at once. The worker waits for the disk. Both reads are
/// on one source line because they are one mistake.
#[inline(never)]
fn wrong(files: &CertificateFiles, disk: &SlowDisk) -> anyhow::Result<LoadedCertificate> {
    let file = disk.open(&files.certificate)?;
    let read = (fs::read(file.path()), fs::read(&files.key)); // THE MISTAKE
    let (certificate, key): (io::Result<_>, io::Result<_>) = read;
    Ok(files.parse(&certificate?, &key?)?)
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
