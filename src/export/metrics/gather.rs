//! The text of `/metrics`: loopscope's own, then the application's.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::Semaphore;

use crate::export::metrics::exemplars::Exemplars;
use crate::export::metrics::families::families;
use crate::export::metrics::text::{self, Format};
use crate::export::source::Source;

/// How long the application's own collectors may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the names of loopscope's begin with.
#[cfg(not(feature = "tokio-metrics"))]
const OWN: [&str; 1] = ["loopscope_"];
#[cfg(feature = "tokio-metrics")]
const OWN: [&str; 2] = ["loopscope_", "tokio_"];

/// What is asked on a scrape.
pub(crate) struct Metrics {
    source: Arc<dyn Source>,
    application: Option<Registry>,
    /// Held while the application's collectors run, so that those which hang
    /// do so once, not once for each scrape.
    turn: Arc<Semaphore>,
    /// How long the last text was: the next will hardly be shorter.
    size: AtomicUsize,
    #[cfg(feature = "tokio-metrics")]
    tokio: super::tokio_series::TokioSeries,
}

impl Metrics {
    pub(crate) fn new(source: Arc<dyn Source>, application: Option<Registry>) -> Self {
        Self {
            source,
            application,
            turn: Arc::new(Semaphore::new(1)),
            size: AtomicUsize::new(0),
            #[cfg(feature = "tokio-metrics")]
            tokio: Default::default(),
        }
    }

    /// The exposition.
    pub(crate) async fn text(&self, format: Format) -> String {
        let application = match &self.application {
            Some(registry) => self.application(registry.clone(), format).await,
            None => String::new(),
        };
        let (snapshot, findings) = (self.source.snapshot(), self.source.findings());
        let exemplars = match format {
            Format::OpenMetrics => Exemplars::new(&self.source.stalls(None).stalls, &findings.findings),
            Format::Text => Exemplars::default(),
        };
        let mut text = String::with_capacity(self.size.load(Relaxed) + 4096);
        text::write(&mut text, &families(&snapshot, &findings), format, &exemplars);
        #[cfg(feature = "tokio-metrics")]
        text::write(&mut text, &self.tokio.families(&self.source.runtimes()), format, &exemplars);
        text.push_str(&application);
        if format == Format::OpenMetrics {
            text.push_str("# EOF\n");
        }
        self.size.store(text.len(), Relaxed);
        text
    }

    /// The application's metrics. Its collectors are not ours: they may wait
    /// for a lock that a blocked worker holds, or panic. Neither may keep
    /// loopscope from answering, so they run on a thread of their own.
    async fn application(&self, registry: Registry, format: Format) -> String {
        let left_out = |reason| left_out(reason, format);
        let Ok(turn) = Arc::clone(&self.turn).try_acquire_owned() else {
            return left_out("are still being collected for an earlier scrape");
        };
        let collected = tokio::task::spawn_blocking(move || {
            let mut families = registry.gather();
            // Registered there as well, or passed in by mistake: a name that
            // is there twice would make Prometheus refuse the whole scrape.
            families.retain(|family| !OWN.iter().any(|own| family.name().starts_with(own)));
            let mut text = String::new();
            families.iter().for_each(|family| text::write_foreign(&mut text, family, format));
            drop(turn);
            text
        });
        match tokio::time::timeout(PATIENCE, collected).await {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => left_out("could not be collected: a collector panicked"),
            Err(_) => left_out("were not collected within 1 s"),
        }
    }
}

/// OpenMetrics allows no comments.
fn left_out(reason: &str, format: Format) -> String {
    match format {
        Format::Text => format!("# The application's own metrics {reason}.\n"),
        Format::OpenMetrics => String::new(),
    }
}
