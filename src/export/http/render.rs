//! Renders documents on threads of the blocking pool: the event loop of the
//! telemetry thread only passes bytes on, so no document delays another
//! request.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::export::http::document::DocumentWriter;
use crate::export::http::memory::DocumentMemory;
use crate::export::http::negotiation::{AcceptedEncodings, Encoding};
use crate::export::http::response::Failure;
use crate::lock::Lock;

pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
pub(crate) const JSON: &str = "application/json";

const BUSY: Failure = Failure::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "Too many documents are being rendered or read: try again in a second.",
);

pub(crate) const NOT_RENDERED: Failure =
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "The document could not be rendered in this format.");

const NO_ACCEPTED_ENCODING: Failure = Failure::new(
    StatusCode::NOT_ACCEPTABLE,
    "The Accept-Encoding header excludes both gzip and identity, the encodings of this server.",
);

/// Limits on the resources that rendering can use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RenderLimits {
    /// The number of renderings at a time.
    pub(crate) max_renderings: usize,
    /// How long a request waits until its rendering begins.
    pub(crate) queue_timeout: Duration,
    /// The size of one document in bytes, after compression.
    pub(crate) max_document_bytes: usize,
    /// While clients have not read documents of this many bytes, no other
    /// rendering begins.
    pub(crate) max_held_bytes: usize,
}

/// A document that a request asks for.
#[derive(Debug)]
pub(crate) struct DocumentRequest {
    /// Requests with equal names get equal documents.
    pub(crate) name: String,
    pub(crate) content_type: &'static str,
    /// `None` if the request accepts no encoding of this server.
    pub(crate) encoding: Option<Encoding>,
}

impl DocumentRequest {
    /// Returns a request for a document that is not compressed yet.
    pub(crate) fn new(
        name: impl Into<String>,
        content_type: &'static str,
        encodings: AcceptedEncodings,
    ) -> Self {
        Self { name: name.into(), content_type, encoding: encodings.for_text() }
    }
}

/// Renders a limited number of documents at a time. A request that finds an
/// equal one waiting for its rendering to begin shares that rendering. It does
/// not share one that has begun: such a document may lack what happened before
/// the request.
#[derive(Clone)]
pub(crate) struct Renderer(Arc<RendererState>);

struct RendererState {
    limits: RenderLimits,
    memory: Arc<DocumentMemory>,
    permits: Semaphore,
    /// The renderings that have not begun.
    queue: Lock<HashMap<String, watch::Sender<Option<Outcome>>>>,
}

type Outcome = Result<Bytes, Failure>;

impl Renderer {
    pub(crate) fn new(limits: RenderLimits, memory: Arc<DocumentMemory>) -> Self {
        let permits = Semaphore::new(limits.max_renderings);
        Self(Arc::new(RendererState { limits, memory, permits, queue: Lock::default() }))
    }

    /// Responds with the document that `write` writes on another thread, from
    /// the result of `prepare`.
    pub(crate) async fn respond<P: Send + 'static>(
        &self,
        request: DocumentRequest,
        prepare: impl Future<Output = P> + Send + 'static,
        write: impl FnOnce(P, &mut DocumentWriter) -> Result<(), Failure> + Send + 'static,
    ) -> Response {
        let DocumentRequest { name, content_type, encoding } = request;
        let vary = (header::VARY, HeaderValue::from_static("accept-encoding"));
        let Some(encoding) = encoding else {
            return ([vary], NO_ACCEPTED_ENCODING).into_response();
        };
        let document = match self.rendered(name, encoding, prepare, write).await {
            Ok(document) => document,
            Err(failure) => return ([vary], failure).into_response(),
        };
        let content_type = (header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let mut response = ([vary, content_type], document).into_response();
        if encoding == Encoding::Gzip {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    async fn rendered<P: Send + 'static>(
        &self,
        name: String,
        encoding: Encoding,
        prepare: impl Future<Output = P> + Send + 'static,
        write: impl FnOnce(P, &mut DocumentWriter) -> Result<(), Failure> + Send + 'static,
    ) -> Outcome {
        let key = format!("{encoding:?} {name}");
        let mut outcome = {
            let mut queue = self.0.queue.lock();
            if let Some(queued) = queue.get(&key) {
                queued.subscribe()
            } else {
                let (sender, receiver) = watch::channel(None);
                queue.insert(key.clone(), sender.clone());
                // A task of its own: others may share its result after this
                // client has gone.
                tokio::spawn(self.clone().run(key, encoding, sender, prepare, write));
                receiver
            }
        };
        let outcome = outcome.wait_for(Option::is_some).await;
        outcome.ok().and_then(|outcome| outcome.clone()).unwrap_or(Err(NOT_RENDERED))
    }

    async fn run<P: Send + 'static>(
        self,
        key: String,
        encoding: Encoding,
        sender: watch::Sender<Option<Outcome>>,
        prepare: impl Future<Output = P> + Send + 'static,
        write: impl FnOnce(P, &mut DocumentWriter) -> Result<(), Failure> + Send + 'static,
    ) {
        let RendererState { limits, memory, permits, queue } = &*self.0;
        let mut begin = pin!(timeout(limits.queue_timeout, async {
            let permit = permits.acquire().await;
            memory.wait_until_below(limits.max_held_bytes).await;
            permit
        }));
        let begun = loop {
            tokio::select! {
                begun = &mut begin => {
                    queue.lock().remove(&key);
                    break begun;
                }
                () = sender.closed() => {
                    let mut queue = queue.lock();
                    if sender.is_closed() {
                        queue.remove(&key);
                        return;
                    }
                }
            }
        };
        let outcome = match begun {
            Ok(_permit) => {
                let prepared = prepare.await;
                let (max_bytes, memory) = (limits.max_document_bytes, Arc::clone(memory));
                let rendering = spawn_blocking(move || {
                    let mut document = DocumentWriter::new(encoding, max_bytes);
                    write(prepared, &mut document)?;
                    Ok(memory.hold(document.finish()?))
                });
                rendering.await.unwrap_or(Err(NOT_RENDERED))
            }
            Err(_) => Err(BUSY),
        };
        sender.send_replace(Some(outcome));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;
    use std::sync::mpsc;

    use tokio::task::{JoinHandle, yield_now};

    use super::*;

    fn renderer(queue_timeout: Duration) -> Renderer {
        let limits = RenderLimits {
            max_renderings: 1,
            queue_timeout,
            max_document_bytes: 1 << 20,
            max_held_bytes: 1 << 20,
        };
        Renderer::new(limits, Arc::default())
    }

    /// Requests a document. `write` runs on another thread.
    fn request(
        renderer: &Renderer,
        name: &str,
        write: impl FnOnce() + Send + 'static,
    ) -> JoinHandle<Outcome> {
        let (renderer, name) = (renderer.clone(), name.to_owned());
        tokio::spawn(async move {
            let write = |(), document: &mut DocumentWriter| {
                write();
                document.bytes(b"document")
            };
            renderer.rendered(name, Encoding::Identity, async {}, write).await
        })
    }

    /// Requests a document whose rendering begins and hangs until the sender is
    /// dropped.
    async fn hanging(renderer: &Renderer, name: &str) -> (mpsc::Sender<()>, JoinHandle<Outcome>) {
        let (end, ended) = mpsc::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let outcome = request(renderer, name, move || {
            let _ = begin.send(());
            let _ = ended.recv();
        });
        begun.await.unwrap();
        (end, outcome)
    }

    /// Returns how many requests wait for renderings to begin.
    fn queued(renderer: &Renderer) -> usize {
        renderer.0.queue.lock().values().map(watch::Sender::receiver_count).sum()
    }

    #[tokio::test]
    async fn equal_requests_share_a_rendering_that_has_not_begun() {
        let renderer = renderer(Duration::from_secs(60));
        let (end, first) = hanging(&renderer, "a").await;
        let renderings = Arc::new(AtomicUsize::new(0));
        let requests: Vec<_> = ["a", "a", "a", "b"]
            .map(|name| {
                let renderings = Arc::clone(&renderings);
                request(&renderer, name, move || {
                    renderings.fetch_add(1, SeqCst);
                })
            })
            .into();
        while queued(&renderer) < 4 {
            yield_now().await;
        }
        assert_eq!(renderer.0.queue.lock().len(), 2);
        drop(end);
        assert_eq!(first.await.unwrap().unwrap(), "document");
        for request in requests {
            assert_eq!(request.await.unwrap().unwrap(), "document");
        }
        assert_eq!(renderings.load(SeqCst), 2, "one for each name");
        assert_eq!(queued(&renderer), 0);
    }

    #[tokio::test]
    async fn a_request_that_waits_too_long_fails_and_leaves_the_queue() {
        let renderer = renderer(Duration::from_millis(10));
        let (_end, _first) = hanging(&renderer, "a").await;
        let failure = request(&renderer, "b", || panic!("it must not begin")).await.unwrap().unwrap_err();
        assert_eq!(failure.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(renderer.0.queue.lock().is_empty());
    }

    #[tokio::test]
    async fn a_document_is_not_rendered_if_all_its_clients_have_gone() {
        let renderer = renderer(Duration::from_secs(60));
        let (end, first) = hanging(&renderer, "a").await;
        let gone = request(&renderer, "b", || panic!("it must not begin"));
        while queued(&renderer) < 1 {
            yield_now().await;
        }
        gone.abort();
        while !renderer.0.queue.lock().is_empty() {
            yield_now().await;
        }
        drop(end);
        assert!(first.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_rendering_that_panics_fails_and_the_next_one_begins() {
        let renderer = renderer(Duration::from_secs(60));
        let failure = request(&renderer, "a", || panic!("intended")).await.unwrap().unwrap_err();
        assert_eq!(failure.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(request(&renderer, "a", || {}).await.unwrap().is_ok());
    }
}
