//! The calling thread's poll stack, and the scope that it belongs to.

use std::cell::RefCell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Weak};
use std::thread;

use tokio::runtime::Id;

use crate::lock::Lock;
use crate::record::poll_stack::{PollSource, PollStack};
use crate::record::recorder::Recorder;
use crate::record::runtimes::WorkerLabel;

thread_local! {
    static THREAD_SCOPE: RefCell<Option<ThreadScope>> = const { RefCell::new(None) };
    static POLL_STACK: RefCell<Option<PollStack>> = const { RefCell::new(None) };
}

/// The scope that watches the runtime of a thread. Dropped when the thread
/// ends.
struct ThreadScope {
    recorder: Weak<Recorder>,
    runtime: Option<Id>,
}

impl Drop for ThreadScope {
    fn drop(&mut self) {
        if let (Some(recorder), Some(runtime)) = (self.recorder.upgrade(), self.runtime) {
            recorder.runtimes.remove_thread(runtime);
        }
    }
}

/// Runs `f` with the thread's poll stack for `recorder`. The first call creates
/// it. Returns `None` while the thread is ending.
#[inline]
pub(crate) fn with_poll_stack<R>(recorder: &Arc<Recorder>, f: impl FnOnce(&PollStack) -> R) -> Option<R> {
    POLL_STACK
        .try_with(|current| {
            if let Some(polls) = &*current.borrow()
                && polls.recorder.id == recorder.id
                && !is_taken_over(polls)
            {
                return f(polls);
            }
            set_poll_stack(current, recorder);
            let current = current.borrow();
            f(current.as_ref().expect("the poll stack was just set"))
        })
        .ok()
}

/// Runs `f` with the thread's poll stack for `recorder` if it already has one.
#[inline]
pub(crate) fn with_existing_poll_stack<R>(recorder: &Recorder, f: impl FnOnce(&PollStack) -> R) -> Option<R> {
    POLL_STACK
        .try_with(|current| {
            let current = current.borrow();
            current.as_ref().filter(|polls| polls.recorder.id == recorder.id).map(f)
        })
        .ok()
        .flatten()
}

/// Drops the thread's poll stack for `recorder` if another thread has taken
/// over its worker. This thread may become another worker next.
#[cfg(tokio_unstable)]
pub(crate) fn drop_taken_over_poll_stack(recorder: &Recorder) {
    let dropped = POLL_STACK.try_with(|current| {
        let is_taken_over = current
            .borrow()
            .as_ref()
            .is_some_and(|polls| polls.recorder.id == recorder.id && is_taken_over(polls));
        // Dropped only after the borrow has ended.
        if is_taken_over { current.take() } else { None }
    });
    drop(dropped);
}

/// Returns whether another thread has taken over the worker, and no poll is in
/// progress.
#[inline]
fn is_taken_over(polls: &PollStack) -> bool {
    polls.worker.taken_over_at().is_some() && polls.source() == PollSource::NoPoll
}

/// Sets the scope that watches the runtime of this thread.
pub(crate) fn set_thread_scope(recorder: &Arc<Recorder>) {
    if !recorder.is_live() {
        return;
    }
    let runtime = recorder.runtimes.add_current_thread().map(|runtime| runtime.id);
    let scope = ThreadScope { recorder: Arc::downgrade(recorder), runtime };
    // The previous value is dropped only after the borrow has ended.
    let previous = THREAD_SCOPE.try_with(|cell| cell.replace(Some(scope)));
    drop(previous);
}

/// Returns the recorder for the thread: that of the scope that watches its
/// runtime, else that of its poll stack, else that of the scope that was
/// started last.
pub(crate) fn recorder() -> Option<Arc<Recorder>> {
    // No scope has been started yet.
    if default_generation() == 0 {
        return None;
    }
    let of_runtime =
        THREAD_SCOPE.try_with(|scope| scope.borrow().as_ref().and_then(|scope| scope.recorder.upgrade()));
    let of_runtime = of_runtime.ok().flatten();
    if let Some(recorder) = of_runtime.filter(|recorder| recorder.is_live()) {
        return Some(recorder);
    }
    let of_poll_stack = POLL_STACK
        .try_with(|current| {
            current
                .borrow()
                .as_ref()
                .map(|polls| Arc::clone(&polls.recorder))
                .filter(|recorder| recorder.is_live())
        })
        .ok()?;
    of_poll_stack.or_else(default_recorder)
}

#[cold]
fn set_poll_stack(current: &RefCell<Option<PollStack>>, recorder: &Arc<Recorder>) {
    let runtime = recorder.runtimes.add_current_thread();
    let index = tokio::runtime::worker_index();
    let label = WorkerLabel {
        runtime: runtime.as_ref().map(|runtime| runtime.label.clone()).unwrap_or_default(),
        worker: match index {
            Some(index) => index.to_string(),
            None => thread::current().name().unwrap_or("unnamed").to_owned(),
        },
    };
    let runtime = runtime.map(|runtime| runtime.id);
    let worker = recorder.register(label, runtime, index.is_some());
    let polls = PollStack::new(Arc::clone(recorder), worker);
    // The previous poll stack is dropped only after the borrow has ended.
    let previous = current.replace(Some(polls));
    drop(previous);
}

/// The recorder for threads that belong to no scope.
static DEFAULT: Lock<Weak<Recorder>> = Lock::new(Weak::new());
/// Changes when [`DEFAULT`] changes. A named future that has found no recorder
/// reads this number without a lock, and searches again only after a change.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Sets the recorder for threads that belong to no scope.
pub(crate) fn set_default(recorder: &Arc<Recorder>) {
    *DEFAULT.lock() = Arc::downgrade(recorder);
    GENERATION.fetch_add(1, Release);
}

/// Returns a number that changes whenever another recorder becomes the default.
pub(crate) fn default_generation() -> u64 {
    GENERATION.load(Acquire)
}

#[cold]
fn default_recorder() -> Option<Arc<Recorder>> {
    DEFAULT.lock().upgrade().filter(|recorder| recorder.is_live())
}
