//! The snapshot as a collector for a Prometheus registry.

use std::{collections::HashMap, fmt, sync::Arc};

use ::prometheus::{
    core::{Collector as PrometheusCollector, Desc},
    proto::MetricFamily,
};

use super::{catalogue, families::families};
use crate::reader::Source;

/// Everything recorded, for a [`prometheus::Registry`](::prometheus::Registry)
/// of the application's own.
///
/// Each collection reads a new snapshot; nothing is reset by it, so several
/// scrapers see the same.
pub struct Collector {
    source: Arc<dyn Source>,
    descriptions: Vec<Desc>,
}

impl Collector {
    pub(crate) fn new(source: Arc<dyn Source>) -> Self {
        let descriptions = catalogue::ALL.iter().filter_map(|metric| {
            let labels = metric.labels.iter().map(ToString::to_string).collect();
            // Fails for an invalid name only; a test builds them all.
            Desc::new(metric.name.to_owned(), metric.help.to_owned(), labels, HashMap::new()).ok()
        });
        Self { descriptions: descriptions.collect(), source }
    }
}

impl PrometheusCollector for Collector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        families(&self.source.snapshot(), &self.source.findings())
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}
