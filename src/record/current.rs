//! The calling thread's worker.

use std::{
    cell::RefCell,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
    thread,
};

use super::{Recorder, worker::Worker};

thread_local! {
    /// The scope that watches the thread's runtime.
    static HOME: RefCell<Weak<Recorder>> = const { RefCell::new(Weak::new()) };
    static CURRENT: RefCell<Option<Registration>> = const { RefCell::new(None) };
}

/// Ties a thread to its worker; dropped as the thread ends.
struct Registration {
    recorder: Arc<Recorder>,
    worker: Arc<Worker>,
    runtime: Option<tokio::runtime::Id>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.recorder.retire(Arc::clone(&self.worker));
        if let Some(runtime) = self.runtime {
            self.recorder.runtimes.leave(runtime);
        }
    }
}

/// Runs `f` with the thread's worker in `recorder`, which it becomes with its
/// first call. `None` while the thread is ending.
#[inline]
pub(crate) fn with_worker<R>(recorder: &Arc<Recorder>, f: impl FnOnce(&Worker) -> R) -> Option<R> {
    CURRENT
        .try_with(|current| {
            if let Some(registration) = &*current.borrow()
                && registration.recorder.id == recorder.id
            {
                return f(&registration.worker);
            }
            register(current, recorder);
            let current = current.borrow();
            f(&current.as_ref().expect("was just registered").worker)
        })
        .ok()
}

/// Runs `f` with the thread's worker in `recorder` if it is one already.
#[inline]
pub(crate) fn with_existing_worker<R>(recorder: &Recorder, f: impl FnOnce(&Worker) -> R) -> Option<R> {
    CURRENT
        .try_with(|current| {
            let current = current.borrow();
            current.as_ref().filter(|r| r.recorder.id == recorder.id).map(|r| f(&r.worker))
        })
        .ok()
        .flatten()
}

/// Says which scope watches the runtime whose thread this is.
pub(crate) fn set_home(recorder: &Arc<Recorder>) {
    let _ = HOME.try_with(|home| home.replace(Arc::downgrade(recorder)));
}

/// The recorder that the thread records to: that of its runtime's scope, else
/// the one whose worker it is, else that of the scope which was started last.
pub(crate) fn recorder() -> Option<Arc<Recorder>> {
    let home = HOME.try_with(|home| home.borrow().upgrade()).ok().flatten();
    if let Some(home) = home.filter(|recorder| recorder.is_live()) {
        return Some(home);
    }
    let of_thread = CURRENT
        .try_with(|current| {
            current.borrow().as_ref().map(|r| Arc::clone(&r.recorder)).filter(|recorder| recorder.is_live())
        })
        .ok()?;
    of_thread.or_else(default_recorder)
}

#[cold]
fn register(current: &RefCell<Option<Registration>>, recorder: &Arc<Recorder>) {
    let label = match tokio::runtime::worker_index() {
        Some(index) => index.to_string(),
        None => thread::current().name().unwrap_or("unnamed").to_owned(),
    };
    let registration = Registration {
        worker: recorder.register(&label),
        runtime: recorder.runtimes.enter(),
        recorder: Arc::clone(recorder),
    };
    // The one before, of another scope, retires only once the cell is free.
    let before = current.replace(Some(registration));
    drop(before);
}

static DEFAULT: Mutex<Weak<Recorder>> = Mutex::new(Weak::new());
/// Changes with [`DEFAULT`], so that futures on threads without a worker need
/// not lock to learn that there is still nothing.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Makes a recorder the one for threads that belong to none.
pub(crate) fn set_default(recorder: &Arc<Recorder>) {
    *DEFAULT.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(recorder);
    GENERATION.fetch_add(1, Release);
}

/// Changes whenever another recorder became the default.
pub(crate) fn default_generation() -> u64 {
    GENERATION.load(Acquire)
}

#[cold]
fn default_recorder() -> Option<Arc<Recorder>> {
    DEFAULT.lock().unwrap_or_else(PoisonError::into_inner).upgrade().filter(|recorder| recorder.is_live())
}
