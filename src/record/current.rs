//! The calling thread's poll stacks, and the scope that it belongs to.

use std::array;
use std::cell::{Cell, RefCell};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Weak};
use std::thread::{self, AccessError};

use tokio::runtime::Id;

use crate::fork;
use crate::lock::Lock;
use crate::per_process::PerProcess;
#[cfg(tokio_unstable)]
use crate::record::fast_poll;
use crate::record::poll_stack::{PollStack, Poller};
use crate::record::recorder::Recorder;
use crate::record::runtimes::{self, ThreadRuntime, WorkerLabel};

/// How many poll stacks without a poll a thread keeps. A thread may alternate
/// between scopes and runtimes, and creating a stack takes locks and system
/// calls. The search of the stack that is not the current one passes all of
/// them, which takes less time than one lock.
const MAX_POLL_STACKS: usize = 16;

thread_local! {
    static THREAD_SCOPE: RefCell<Option<ThreadScope>> = const { RefCell::new(None) };
    static POLL_STACKS: PollStacks =
        const { PollStacks { stacks: RefCell::new(Vec::new()), current: Cell::new(0) } };
}

/// The scope that watches the runtime of a thread. Dropped when the thread
/// ends.
struct ThreadScope {
    recorder: Weak<Recorder>,
    runtime: Option<ThreadRuntime>,
}

impl Drop for ThreadScope {
    fn drop(&mut self) {
        if let (Some(recorder), Some(runtime)) = (self.recorder.upgrade(), &self.runtime)
            && !recorder.liveness.is_in_child()
        {
            recorder.runtimes.remove_thread(runtime);
        }
    }
}

/// The poll stacks of a thread: one for each scope, and within a scope one for
/// each runtime that the thread drives in turn. A removed stack is dropped only
/// after the borrow has ended, because that may run code of the application.
struct PollStacks {
    stacks: RefCell<Vec<PollStack>>,
    /// The index of the stack that was used last.
    current: Cell<usize>,
}

impl PollStacks {
    /// Makes the stack for `poller` the current one. Creates it at the first
    /// call.
    #[cold]
    fn select(&self, recorder: &Arc<Recorder>, poller: Poller) {
        // Polls of this scope nest in the one in progress.
        let in_poll = self.position(|polls| polls.recorder.id == recorder.id && polls.is_in_poll());
        let known = in_poll.or_else(|| self.position(|polls| polls.serves(recorder, poller)));
        let runtime = match known {
            Some(index) => self.stacks.borrow()[index].worker.runtime_id(),
            None => runtimes::current_id(),
        };
        self.leave_other_runtimes(runtime);
        let is_same = |polls: &PollStack| {
            polls.recorder.id == recorder.id && polls.worker.runtime_id() == runtime && !polls.is_taken_over()
        };
        let known = known.or_else(|| self.position(is_same));
        let index = known.unwrap_or_else(|| self.add(new_poll_stack(recorder)));
        self.current.set(index);
        self.stacks.borrow()[index].select(poller);
    }

    /// Leaves the runtimes that the thread has driven: it is in `runtime` now.
    fn leave_other_runtimes(&self, runtime: Option<Id>) {
        let stacks = self.stacks.borrow();
        let mut left = stacks.iter().filter(|polls| polls.has_left(runtime));
        let handles: [_; MAX_POLL_STACKS] =
            array::from_fn(|_| left.next().and_then(PollStack::leave_runtime));
        drop(stacks);
        drop(handles);
    }

    /// Moves a fast poll in progress to its stack, and makes the thread use the
    /// stacks from now on.
    #[cfg(tokio_unstable)]
    #[cold]
    fn settle(&self) {
        if let Some(slot) = fast_poll::take()
            && let Some(polls) =
                self.stacks.borrow().iter().find(|polls| std::ptr::eq(polls.worker.slot, slot))
        {
            polls.adopt_fast_poll();
        }
    }

    fn position(&self, is_sought: impl FnMut(&PollStack) -> bool) -> Option<usize> {
        self.stacks.borrow().iter().position(is_sought)
    }

    /// Adds a stack and returns its index. Removes stacks that are not needed.
    fn add(&self, polls: PollStack) -> usize {
        let is_useless = |polls: &PollStack| polls.is_taken_over() || !polls.recorder.is_live();
        drop(self.remove(|polls| !polls.is_in_poll() && is_useless(polls)));
        if self.stacks.borrow().len() >= MAX_POLL_STACKS {
            let mut is_first = true;
            drop(self.remove(|polls| !polls.is_in_poll() && std::mem::take(&mut is_first)));
        }
        let mut stacks = self.stacks.borrow_mut();
        stacks.push(polls);
        stacks.len() - 1
    }

    /// Removes stacks. The current one remains the same, unless it is removed.
    #[must_use]
    fn remove(&self, mut is_removed: impl FnMut(&mut PollStack) -> bool) -> Vec<PollStack> {
        let current = self.current.replace(0);
        let (mut index, mut kept) = (0, 0);
        let is_removed = |polls: &mut PollStack| {
            let is_removed = is_removed(polls);
            if index == current && !is_removed {
                self.current.set(kept);
            }
            index += 1;
            kept += usize::from(!is_removed);
            is_removed
        };
        self.stacks.borrow_mut().extract_if(.., is_removed).collect()
    }
}

/// Runs `f` with the thread's poll stacks, which know of all polls.
#[inline]
fn with_stacks<R>(f: impl FnOnce(&PollStacks) -> R) -> Result<R, AccessError> {
    POLL_STACKS.try_with(|table| {
        #[cfg(tokio_unstable)]
        if fast_poll::is_ready() {
            table.settle();
        }
        f(table)
    })
}

/// Runs `f` with the thread's poll stack for `recorder` and `poller`. The first
/// call creates it. Returns `None` while the thread is ending.
#[inline]
pub(crate) fn with_poll_stack<R>(
    recorder: &Arc<Recorder>,
    poller: Poller,
    f: impl FnOnce(&PollStack) -> R,
) -> Option<R> {
    with_stacks(|table| {
        let mut stacks = table.stacks.borrow();
        let polls = match stacks.get(table.current.get()) {
            Some(polls) if polls.serves(recorder, poller) => polls,
            _ => {
                drop(stacks);
                table.select(recorder, poller);
                stacks = table.stacks.borrow();
                stacks.get(table.current.get())?
            }
        };
        // There is one call of `f`, so that it becomes part of its caller.
        Some(f(polls))
    })
    .ok()
    .flatten()
}

/// Runs `f` with a poll stack of the thread for `recorder` if there is one: the
/// one that is in a poll, else the one that was used last.
#[inline]
pub(crate) fn with_existing_poll_stack<R>(recorder: &Recorder, f: impl FnOnce(&PollStack) -> R) -> Option<R> {
    with_stacks(|table| {
        let stacks = table.stacks.borrow();
        let current = stacks.get(table.current.get()).filter(|polls| polls.records_for(recorder));
        let polls = match current {
            Some(polls) if polls.is_in_poll() => current,
            _ => other_stack(&stacks, current, recorder),
        };
        polls.map(f)
    })
    .ok()
    .flatten()
}

/// Returns the poll stack for `recorder` that is in a poll, else the newest
/// one. The current one is not in a poll, or belongs to another scope.
#[cold]
fn other_stack<'s>(
    stacks: &'s [PollStack],
    current: Option<&'s PollStack>,
    recorder: &Recorder,
) -> Option<&'s PollStack> {
    let of_recorder = |polls: &&PollStack| polls.recorder.id == recorder.id;
    let in_poll = stacks.iter().filter(of_recorder).find(|polls| polls.is_in_poll());
    in_poll.or(current).or_else(|| stacks.iter().rfind(of_recorder))
}

/// Drops the thread's poll stacks for `recorder` if other threads have taken
/// over their workers. This thread may become another worker next.
#[cfg(tokio_unstable)]
#[cold]
pub(crate) fn drop_taken_over_poll_stacks(recorder: &Recorder) {
    let is_removed = |polls: &mut PollStack| polls.recorder.id == recorder.id && polls.is_taken_over();
    drop(with_stacks(|table| table.remove(is_removed)));
}

/// Drops the thread's poll stacks for `recorder` of current-thread runtimes
/// that the thread has left. They may have ended.
pub(crate) fn drop_left_poll_stacks(recorder: &Recorder) {
    let dropped = with_stacks(|table| {
        let runtime = runtimes::current_id();
        let is_removed = |polls: &PollStack| polls.recorder.id == recorder.id && polls.has_left(runtime);
        let has_any = table.position(is_removed).is_some();
        has_any.then(|| table.remove(|polls| is_removed(polls)))
    });
    drop(dropped);
}

/// Sets the scope that watches the runtime of this thread.
pub(crate) fn set_thread_scope(recorder: &Arc<Recorder>) {
    if !recorder.is_live() {
        return;
    }
    let runtime =
        recorder.runtimes.add_current_thread(true, |id| recorder.has_hooks(id)).map(|(_, runtime)| runtime);
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
    let of_poll_stack = with_stacks(|table| {
        let stacks = table.stacks.borrow();
        let in_poll = stacks.iter().filter(|polls| polls.is_in_poll());
        let innermost = in_poll.max_by_key(|polls| polls.began_at());
        let polls = innermost.or_else(|| stacks.get(table.current.get()));
        polls.map(|polls| Arc::clone(&polls.recorder)).filter(|recorder| recorder.is_live())
    })
    .ok()?;
    of_poll_stack.or_else(default_recorder)
}

#[cold]
fn new_poll_stack(recorder: &Arc<Recorder>) -> PollStack {
    let index = tokio::runtime::worker_index();
    let added = recorder.runtimes.add_current_thread(index.is_some(), |id| recorder.has_hooks(id));
    let (runtime_label, runtime) = added.unzip();
    let label = WorkerLabel {
        runtime: runtime_label.unwrap_or_default(),
        worker: match index {
            Some(index) => index.to_string(),
            None => thread::current().name().unwrap_or("unnamed").to_owned(),
        },
    };
    PollStack::new(Arc::clone(recorder), recorder.register(label, runtime, index.is_some()))
}

/// The recorder for threads that belong to no scope.
static DEFAULT: PerProcess<Lock<Weak<Recorder>>> = PerProcess::new();
/// Changes when [`DEFAULT`] changes. A named future that has found no recorder
/// reads this number without a lock, and searches again only after a change.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Sets the recorder for threads that belong to no scope.
pub(crate) fn set_default(recorder: &Arc<Recorder>) {
    fork::note_start();
    *DEFAULT.get().lock() = Arc::downgrade(recorder);
    GENERATION.fetch_add(1, Release);
}

/// Returns a number that changes whenever another recorder becomes the default.
pub(crate) fn default_generation() -> u64 {
    GENERATION.load(Acquire)
}

#[cold]
fn default_recorder() -> Option<Arc<Recorder>> {
    DEFAULT.get().lock().upgrade().filter(|recorder| recorder.is_live())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::kinds::KindId;
    use crate::record::poll_stack::PollSource;

    #[test]
    fn a_poll_ends_on_its_own_stack_after_others_were_removed() {
        let recorder = Arc::new(Recorder::new(Duration::from_secs(60)));
        let stack = |worker: &str| {
            let label = WorkerLabel { runtime: String::new(), worker: worker.to_owned() };
            PollStack::new(Arc::clone(&recorder), recorder.register(label, None, false))
        };
        let has_label = |polls: &PollStack, label: &str| polls.worker.label.worker == label;
        let used = || with_existing_poll_stack(&recorder, |polls| polls.worker.label.worker.clone());
        POLL_STACKS.with(|table| {
            ["a", "b", "c"].into_iter().for_each(|label| _ = table.add(stack(label)));
            table.stacks.borrow()[1].begin(recorder.clock.ticks(), 1, KindId::OTHER, PollSource::Future);
            table.current.set(2);
            assert_eq!(used().as_deref(), Some("b"), "the current one is not in a poll");
            table.current.set(1);
            drop(table.remove(|polls| has_label(polls, "a")));
            assert_eq!(table.current.get(), 0);
            drop(table.remove(|polls| has_label(polls, "c")));
            assert_eq!((table.current.get(), used().as_deref()), (0, Some("b")));
            let ended = with_existing_poll_stack(&recorder, |polls| polls.end(PollSource::Future));
            assert!(ended.flatten().is_some());
            table.add(stack("d"));
            table.current.set(1);
            assert_eq!(used().as_deref(), Some("d"), "none is in a poll");
            drop(table.remove(|polls| has_label(polls, "b")));
            assert_eq!((table.current.get(), used().as_deref()), (0, Some("d")));
        });
    }
}
