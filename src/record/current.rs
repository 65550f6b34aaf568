//! The calling thread's seat.

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

/// The scope that watches the thread's runtime, for as long as the thread lives.
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

/// Runs `f` with the thread's seat in `recorder`, which it takes with its first
/// call. `None` while the thread is ending.
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
            f(current.as_ref().expect("was just taken"))
        })
        .ok()
}

/// Runs `f` with the thread's seat in `recorder` if it has one already.
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

/// Gives up the thread's seat in `recorder` if another thread has taken its
/// place at the worker: this one may be another worker next.
#[cfg(tokio_unstable)]
pub(crate) fn drop_taken_over_poll_stack(recorder: &Recorder) {
    let left = POLL_STACK.try_with(|current| {
        let is_over =
            current.borrow().as_ref().is_some_and(|s| s.recorder.id == recorder.id && is_taken_over(s));
        // Dropped only once the cell is free.
        if is_over { current.take() } else { None }
    });
    drop(left);
}

/// Whether another thread sits there now, and nothing is left to end.
#[inline]
fn is_taken_over(polls: &PollStack) -> bool {
    polls.worker.taken_over_at().is_some() && polls.source() == PollSource::NoPoll
}

/// Says which scope watches the runtime whose thread this is.
pub(crate) fn set_thread_scope(recorder: &Arc<Recorder>) {
    if !recorder.is_live() {
        return;
    }
    let runtime = recorder.runtimes.add_current_thread().map(|runtime| runtime.id);
    let home = ThreadScope { recorder: Arc::downgrade(recorder), runtime };
    // The one before is left only once the cell is free.
    let before = THREAD_SCOPE.try_with(|cell| cell.replace(Some(home)));
    drop(before);
}

/// The recorder that the thread records to: that of its runtime's scope, else
/// the one whose worker it is, else that of the scope which was started last.
pub(crate) fn recorder() -> Option<Arc<Recorder>> {
    // No scope was ever started.
    if default_generation() == 0 {
        return None;
    }
    let home = THREAD_SCOPE.try_with(|home| home.borrow().as_ref().and_then(|home| home.recorder.upgrade()));
    let home = home.ok().flatten();
    if let Some(home) = home.filter(|recorder| recorder.is_live()) {
        return Some(home);
    }
    let of_thread = POLL_STACK
        .try_with(|current| {
            current.borrow().as_ref().map(|s| Arc::clone(&s.recorder)).filter(|recorder| recorder.is_live())
        })
        .ok()?;
    of_thread.or_else(default_recorder)
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
    let worker = recorder.register(label, index.is_some());
    let polls = PollStack::new(Arc::clone(recorder), worker, runtime.map(|runtime| runtime.id));
    // The one before, of another scope, is left only once the cell is free.
    let before = current.replace(Some(polls));
    drop(before);
}

static DEFAULT: Lock<Weak<Recorder>> = Lock::new(Weak::new());
/// Changes with [`DEFAULT`], so that futures on threads without a worker need
/// not lock to learn that there is still nothing.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Makes a recorder the one for threads that belong to none.
pub(crate) fn set_default(recorder: &Arc<Recorder>) {
    *DEFAULT.lock() = Arc::downgrade(recorder);
    GENERATION.fetch_add(1, Release);
}

/// Changes whenever another recorder became the default.
pub(crate) fn default_generation() -> u64 {
    GENERATION.load(Acquire)
}

#[cold]
fn default_recorder() -> Option<Arc<Recorder>> {
    DEFAULT.lock().upgrade().filter(|recorder| recorder.is_live())
}
