//! The state that all request handlers share.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

#[cfg(not(stack_capture))]
use axum::http::StatusCode;
#[cfg(not(stack_capture))]
use axum::response::IntoResponse;
use axum::response::Response;
use prometheus::Registry;

use crate::export::http::document::DocumentWriter;
use crate::export::http::memory::DocumentMemory;
use crate::export::http::render::{DocumentRequest, RenderLimits, Renderer};
use crate::export::http::response::Failure;
#[cfg(stack_capture)]
use crate::export::http::tree::{self, TaskTree};
use crate::export::metrics::gather::Exposition;
use crate::export::metrics::text::TextFormat;
use crate::export::source::Source;

/// The number of threads for work that must not delay the event loop: all
/// renderings at a time, one run of the application's collectors, and one
/// subscriber that gets a warning.
pub(crate) const MAX_BLOCKING_THREADS: usize =
    DOCUMENT_LIMITS.max_renderings + METRICS_LIMITS.max_renderings + TREE_LIMITS.max_renderings + 1 + 1;

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

/// The tasks are read by one thread at a time. Meanwhile other documents are
/// rendered.
const TREE_LIMITS: RenderLimits = RenderLimits { max_renderings: 1, ..DOCUMENT_LIMITS };

/// What request handlers read from.
#[derive(Clone)]
pub(crate) struct HandlerState {
    pub(crate) source: Arc<dyn Source>,
    exposition: Arc<Exposition>,
    documents: Renderer,
    metrics: Renderer,
    #[cfg(stack_capture)]
    tree: Renderer,
    #[cfg(stack_capture)]
    task_tree: Arc<TaskTree>,
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
            documents: Renderer::new(document_limits, Arc::clone(&memory)),
            #[cfg(stack_capture)]
            tree: Renderer::new(TREE_LIMITS, Arc::clone(&memory)),
            #[cfg(stack_capture)]
            task_tree: Arc::new(TaskTree::new(Arc::clone(&source))),
            metrics: Renderer::new(METRICS_LIMITS, memory),
            source,
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

    /// Responds with all tasks and what each of them awaits.
    #[cfg(stack_capture)]
    pub(crate) async fn task_tree(&self, request: DocumentRequest) -> Response {
        let tree = Arc::clone(&self.task_tree);
        let write =
            move |asking: Option<u64>, document: &mut DocumentWriter| document.json(&*tree.document(asking)?);
        self.tree.respond(request, async { tree::current_task() }, write).await
    }

    /// Responds that the tasks cannot be read here.
    #[cfg(not(stack_capture))]
    pub(crate) async fn task_tree(&self, _: DocumentRequest) -> Response {
        const UNSUPPORTED: Failure = Failure::new(
            StatusCode::NOT_IMPLEMENTED,
            "The tasks of a process can be read on Linux on x86_64 and aarch64 only.",
        );
        UNSUPPORTED.into_response()
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
