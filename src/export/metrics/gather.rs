//! Writes the text of `/metrics`: loopscope's metrics, then the application's.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::Semaphore;

use crate::export::metrics::exemplars::Exemplars;
use crate::export::metrics::families::families;
use crate::export::metrics::text::{self, TextFormat};
#[cfg(feature = "tokio-metrics")]
use crate::export::metrics::tokio_series::TokioSeries;
use crate::export::source::Source;

/// How long the application's collectors may run during one scrape.
const APPLICATION_COLLECTORS_TIMEOUT: Duration = Duration::from_secs(1);

/// The prefixes of the metric names that loopscope exports itself.
#[cfg(not(feature = "tokio-metrics"))]
const RESERVED_PREFIXES: [&str; 1] = ["loopscope_"];
#[cfg(feature = "tokio-metrics")]
const RESERVED_PREFIXES: [&str; 2] = ["loopscope_", "tokio_"];

/// Everything that a scrape reads.
pub(crate) struct Exposition {
    source: Arc<dyn Source>,
    application: Option<Registry>,
    /// Permits one run of the application's collectors at a time: collectors
    /// that hang must not occupy another thread for each scrape.
    collection_permit: Arc<Semaphore>,
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
            last_text_bytes: AtomicUsize::new(0),
            #[cfg(feature = "tokio-metrics")]
            tokio_series: TokioSeries::default(),
        }
    }

    /// Writes all metrics in `format`: loopscope's, then those of
    /// [`Self::application_text`].
    pub(crate) fn text(&self, format: TextFormat, application: String) -> String {
        let (snapshot, findings) = (self.source.snapshot(), self.source.ended_findings());
        let exemplars = match format {
            TextFormat::OpenMetrics => Exemplars::new(&self.source.stalls(None).stalls, &findings),
            TextFormat::Prometheus => Exemplars::default(),
        };
        let mut text = String::with_capacity(self.last_text_bytes.load(Relaxed) + 4096);
        text::write(&mut text, &families(&snapshot, &findings), format, &exemplars);
        #[cfg(feature = "tokio-metrics")]
        text::write(&mut text, &self.tokio_series.families(&self.source.runtimes()), format, &exemplars);
        text.push_str(&application);
        if format == TextFormat::OpenMetrics {
            text.push_str("# EOF\n");
        }
        self.last_text_bytes.store(text.len(), Relaxed);
        text
    }

    /// Writes the application's metrics. Its collectors may wait for a lock
    /// that a blocked worker holds, or panic. They run on a separate thread,
    /// because neither may prevent loopscope's own metrics from being served.
    pub(crate) async fn application_text(&self, format: TextFormat) -> String {
        let Some(registry) = self.application.clone() else { return String::new() };
        let omitted = |reason| omitted(reason, format);
        let Ok(permit) = Arc::clone(&self.collection_permit).try_acquire_owned() else {
            return omitted("are still being collected for an earlier scrape");
        };
        let collected = tokio::task::spawn_blocking(move || {
            let mut families = registry.gather();
            // The registry may also contain loopscope's collector. Prometheus
            // rejects the whole scrape if a name occurs twice.
            families
                .retain(|family| !RESERVED_PREFIXES.iter().any(|prefix| family.name().starts_with(prefix)));
            let mut text = String::new();
            families.iter().for_each(|family| text::write_application_family(&mut text, family, format));
            drop(permit);
            text
        });
        match tokio::time::timeout(APPLICATION_COLLECTORS_TIMEOUT, collected).await {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => omitted("could not be collected: a collector panicked"),
            Err(_) => omitted("were not collected within 1 s"),
        }
    }
}

/// Returns a comment that says why the application's metrics are missing.
/// OpenMetrics does not allow comments.
fn omitted(reason: &str, format: TextFormat) -> String {
    match format {
        TextFormat::Prometheus => format!("# The application's own metrics {reason}.\n"),
        TextFormat::OpenMetrics => String::new(),
    }
}
