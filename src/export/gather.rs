//! The text of `/metrics`: loopscope's own, then the application's.

use std::{sync::Arc, time::Duration};

use prometheus::{Registry, TextEncoder, proto::MetricFamily};
use tokio::sync::Semaphore;

use super::families::families;
use crate::reader::Source;

/// How long the application's own collectors may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// All names of loopscope's begin with this.
const OWN: &str = "loopscope_";

/// What is asked on a scrape.
pub(super) struct Metrics {
    source: Arc<dyn Source>,
    application: Option<Registry>,
    /// Held while the application's collectors run, so that those which hang
    /// do so once, not once for each scrape.
    turn: Arc<Semaphore>,
}

impl Metrics {
    pub(super) fn new(source: Arc<dyn Source>, application: Option<Registry>) -> Self {
        Self { source, application, turn: Arc::new(Semaphore::new(1)) }
    }

    /// The exposition, in Prometheus' text format 0.0.4.
    pub(super) async fn text(&self) -> String {
        let application = match &self.application {
            Some(registry) => self.application(registry.clone()).await,
            None => String::new(),
        };
        encode(&families(&self.source.snapshot(), &self.source.findings())) + &application
    }

    /// The application's metrics. Its collectors are not ours: they may wait
    /// for a lock that a blocked worker holds, or panic. Neither may keep
    /// loopscope from answering, so they run on a thread of their own.
    async fn application(&self, registry: Registry) -> String {
        let Ok(turn) = Arc::clone(&self.turn).try_acquire_owned() else {
            return left_out("are still being collected for an earlier scrape");
        };
        let collected = tokio::task::spawn_blocking(move || {
            let mut families = registry.gather();
            // Registered there as well, or passed in by mistake: a name that
            // is there twice would make Prometheus refuse the whole scrape.
            families.retain(|family| !family.name().starts_with(OWN));
            let text = encode(&families);
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

fn left_out(reason: &str) -> String {
    format!("# The application's own metrics {reason}.\n")
}

fn encode(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families {
        // Fails for a family without series or name only: nothing to show.
        let _ = TextEncoder::new().encode_utf8(std::slice::from_ref(family), &mut text);
    }
    text
}
