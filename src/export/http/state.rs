//! The state that all request handlers share.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use prometheus::Registry;

use crate::export::http::document::DocumentWriter;
use crate::export::http::memory::DocumentMemory;
use crate::export::http::render::{DocumentRequest, RenderLimits, Renderer};
use crate::export::http::response::Failure;
use crate::export::metrics::gather::Exposition;
use crate::export::metrics::text::TextFormat;
use crate::export::source::Source;

/// The number of threads for work that must not delay the event loop: all
/// renderings at a time, one run of the application's collectors, and one
/// subscriber that gets a warning.
pub(crate) const MAX_BLOCKING_THREADS: usize =
    DOCUMENT_LIMITS.max_renderings + METRICS_LIMITS.max_renderings + 1 + 1;

pub(crate) const DOCUMENT_LIMITS: RenderLimits = RenderLimits {
    max_renderings: 2,
    queue_timeout: Duration::from_secs(5),
    max_document_bytes: 64 << 20,
    max_held_bytes: 32 << 20,
};

/// Metrics are rendered apart from documents, so that clients that request many
/// documents cannot keep a scraper out.
const METRICS_LIMITS: RenderLimits =
    RenderLimits { max_renderings: 1, max_held_bytes: 40 << 20, ..DOCUMENT_LIMITS };

/// What request handlers read from.
#[derive(Clone)]
pub(crate) struct HandlerState {
    pub(crate) source: Arc<dyn Source>,
    exposition: Arc<Exposition>,
    documents: Renderer,
    metrics: Renderer,
}

impl HandlerState {
    pub(crate) fn new(
        source: Arc<dyn Source>,
        application: Option<Registry>,
        document_limits: RenderLimits,
        memory: Arc<DocumentMemory>,
    ) -> Self {
        Self {
            exposition: Arc::new(Exposition::new(Arc::clone(&source), application)),
            source,
            documents: Renderer::new(document_limits, Arc::clone(&memory)),
            metrics: Renderer::new(METRICS_LIMITS, memory),
        }
    }

    /// Responds with the document that `write` writes on another thread.
    pub(crate) async fn document(
        &self,
        request: DocumentRequest,
        write: impl FnOnce(&dyn Source, &mut DocumentWriter) -> Result<(), Failure> + Send + 'static,
    ) -> Response {
        let source = Arc::clone(&self.source);
        let write = move |(), document: &mut DocumentWriter| write(&*source, document);
        self.documents.respond(request, ready(()), write).await
    }

    /// Responds with all metrics.
    pub(crate) async fn metrics(&self, request: DocumentRequest, format: TextFormat) -> Response {
        let (collected, exposition) = (Arc::clone(&self.exposition), Arc::clone(&self.exposition));
        let application = async move { collected.application_text(format).await };
        let write = move |application, document: &mut DocumentWriter| {
            document.bytes(exposition.text(format, application).as_bytes())
        };
        self.metrics.respond(request, application, write).await
    }
}
