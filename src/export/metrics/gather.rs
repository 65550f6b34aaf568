//! Writes the text of `/metrics`: loopscope's metrics, then the application's.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::Semaphore;

use crate::export::metrics::application::{self, ApplicationText};
use crate::export::metrics::catalogue::{self, Metric};
use crate::export::metrics::exemplars::Exemplars;
use crate::export::metrics::families::families;
use crate::export::metrics::text::{self, TextFormat};
#[cfg(feature = "tokio-metrics")]
use crate::export::metrics::tokio_series::{self, TokioSeries};
use crate::export::source::Source;
use crate::lock::Lock;

/// How long the application's collectors may run during one scrape.
const APPLICATION_COLLECTORS_TIMEOUT: Duration = Duration::from_secs(1);

/// How many omissions are logged.
const MAX_LOGGED_OMISSIONS: usize = 64;

/// Everything that a scrape reads.
pub(crate) struct Exposition {
    source: Arc<dyn Source>,
    application: Option<Registry>,
    /// Permits one run of the application's collectors at a time: collectors
    /// that hang must not occupy another thread for each scrape.
    collection_permit: Arc<Semaphore>,
    /// Permits one call of the subscriber at a time: it may hang, too.
    log_permit: Arc<Semaphore>,
    /// What was logged: each omission is logged once.
    logged_omissions: Lock<BTreeSet<String>>,
    /// The length of the last text in bytes, as the initial capacity for the
    /// next.
    last_text_bytes: AtomicUsize,
    #[cfg(feature = "tokio-metrics")]
    tokio_series: TokioSeries,
}

impl Exposition {
    pub(crate) fn new(source: Arc<dyn Source>, application: Option<Registry>) -> Self {
        Self {
            source,
            application,
            collection_permit: Arc::new(Semaphore::new(1)),
            log_permit: Arc::new(Semaphore::new(1)),
            logged_omissions: Lock::new(BTreeSet::new()),
            last_text_bytes: AtomicUsize::new(0),
            #[cfg(feature = "tokio-metrics")]
            tokio_series: TokioSeries::default(),
        }
    }

    /// Writes all metrics in `format`: loopscope's, then those of
    /// [`Self::application_text`].
    pub(crate) fn text(&self, format: TextFormat, application: ApplicationText) -> String {
        let (snapshot, findings) = (self.source.snapshot(), self.source.ended_findings());
        let exemplars = match format {
            TextFormat::OpenMetrics => Exemplars::new(&self.source.stalls(None).stalls, &findings),
            TextFormat::Prometheus => Exemplars::default(),
        };
        let mut text = String::with_capacity(self.last_text_bytes.load(Relaxed) + 4096);
        let without_type = &application.own_without_type;
        text::write(&mut text, &families(&snapshot, &findings), format, &exemplars, without_type);
        #[cfg(feature = "tokio-metrics")]
        {
            let families = self.tokio_series.families(&self.source.runtimes());
            text::write(&mut text, &families, format, &exemplars, without_type);
        }
        text.push_str(&application.text);
        match format {
            TextFormat::OpenMetrics => text.push_str("# EOF\n"),
            // OpenMetrics has no comments.
            TextFormat::Prometheus => {
                for omission in &application.omissions {
                    let _ = writeln!(text, "# {omission}.");
                }
            }
        }
        self.log(application.omissions);
        self.last_text_bytes.store(text.len(), Relaxed);
        text
    }

    /// Writes the application's metrics. Its collectors may wait for a lock
    /// that a blocked worker holds, or panic. They run on a separate thread,
    /// because neither may prevent loopscope's own metrics from being served.
    pub(crate) async fn application_text(&self, format: TextFormat) -> ApplicationText {
        let Some(registry) = self.application.clone() else { return ApplicationText::default() };
        let Ok(permit) = Arc::clone(&self.collection_permit).try_acquire_owned() else {
            return without_application("are still being collected for an earlier scrape");
        };
        let collected = tokio::task::spawn_blocking(move || {
            let text = application::write(registry.gather(), &own_metrics(), format);
            drop(permit);
            text
        });
        match tokio::time::timeout(APPLICATION_COLLECTORS_TIMEOUT, collected).await {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => without_application("could not be collected: a collector panicked"),
            Err(_) => without_application("were not collected within 1 s"),
        }
    }

    /// Logs each omission once, on a separate thread: the subscriber is code of
    /// the application.
    fn log(&self, mut omissions: Vec<String>) {
        // What is not logged now is tried again at the next scrape.
        let Ok(permit) = Arc::clone(&self.log_permit).try_acquire_owned() else { return };
        let mut logged = self.logged_omissions.lock();
        omissions.retain(|omission| logged.len() < MAX_LOGGED_OMISSIONS && logged.insert(omission.clone()));
        drop(logged);
        if !omissions.is_empty() {
            tokio::task::spawn_blocking(move || {
                let _permit = permit;
                for omission in omissions {
                    tracing::warn!(target: "loopscope", "/metrics is not complete: {omission}");
                }
            });
        }
    }
}

/// Returns the metrics that loopscope exports itself.
fn own_metrics() -> Vec<&'static Metric> {
    let metrics = catalogue::ALL.iter().copied();
    #[cfg(feature = "tokio-metrics")]
    let metrics = metrics.chain(tokio_series::metrics());
    metrics.collect()
}

fn without_application(reason: &str) -> ApplicationText {
    let omissions = vec![format!("The application's own metrics {reason}")];
    ApplicationText { omissions, ..ApplicationText::default() }
}
