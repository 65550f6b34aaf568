//! The memory that documents hold while clients read them.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tokio::sync::Notify;

/// Counts the bytes of the documents that are not sent yet.
#[derive(Debug, Default)]
pub(crate) struct DocumentMemory {
    held_bytes: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
}

impl DocumentMemory {
    /// Returns the document as bytes that several responses can share. They
    /// count until the last response has sent or dropped them.
    pub(crate) fn hold(self: &Arc<Self>, document: Vec<u8>) -> Bytes {
        self.held_bytes.fetch_add(document.len(), Relaxed);
        Bytes::from_owner(HeldDocument { document, memory: Arc::clone(self) })
    }

    /// Waits until documents hold less than `max_bytes`.
    pub(crate) async fn wait_until_below(&self, max_bytes: usize) {
        loop {
            // Created before the check, so it misses no notification.
            let freed = self.freed.notified();
            if self.held_bytes.load(Relaxed) < max_bytes {
                return;
            }
            let _waiter = Waiter::new(&self.waiting);
            freed.await;
        }
    }

    /// Returns whether a document cannot be rendered because others hold too
    /// much memory.
    pub(crate) fn is_contended(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes.load(Relaxed)
    }
}

struct HeldDocument {
    document: Vec<u8>,
    memory: Arc<DocumentMemory>,
}

impl AsRef<[u8]> for HeldDocument {
    fn as_ref(&self) -> &[u8] {
        &self.document
    }
}

impl Drop for HeldDocument {
    fn drop(&mut self) {
        let document = mem::take(&mut self.document);
        let bytes = document.len();
        drop(document);
        self.memory.held_bytes.fetch_sub(bytes, Relaxed);
        self.memory.freed.notify_waiters();
    }
}

struct Waiter<'m>(&'m AtomicUsize);

impl<'m> Waiter<'m> {
    fn new(waiting: &'m AtomicUsize) -> Self {
        waiting.fetch_add(1, Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_counts_once_until_the_last_response_has_dropped_it() {
        let memory = Arc::new(DocumentMemory::default());
        let first = memory.hold(vec![1; 1_000]);
        let second = first.clone();
        let part = first.slice(990..);
        assert_eq!(memory.held_bytes(), 1_000);
        drop((first, second));
        assert_eq!((memory.held_bytes(), part.len()), (1_000, 10));
        drop(part);
        assert_eq!(memory.held_bytes(), 0);
    }

    #[tokio::test]
    async fn a_waiter_continues_as_soon_as_memory_is_free() {
        let memory = Arc::new(DocumentMemory::default());
        memory.wait_until_below(1).await;
        let document = memory.hold(vec![1; 1_000]);
        let waiter = tokio::spawn({
            let memory = Arc::clone(&memory);
            async move { memory.wait_until_below(1_000).await }
        });
        while !memory.is_contended() {
            tokio::task::yield_now().await;
        }
        drop(document);
        waiter.await.unwrap();
        assert!(!memory.is_contended());
    }
}
