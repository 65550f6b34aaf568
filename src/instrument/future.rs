//! Futures with a name, recorded wherever they are polled.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::instrument::waker::WakeTracker;
use crate::record::current;
use crate::record::kinds::KindId;
use crate::record::poll_stack::{PollSource, PollStack, WakerId};
use crate::record::recorder::Recorder;

/// A future of so many bytes and more is large: each spawn and each move copies
/// it, and the stack has to hold it meanwhile. Tokio puts a task's future into a
/// box of its own from this size on.
pub const LARGE_FUTURE: usize = 16 * 1024;

/// Gives futures a name.
pub trait Named: Future + Sized {
    /// The same future, recorded as a task of the kind `name`.
    ///
    /// As the future of a task on a watched runtime it only gives that task its
    /// name, and its scheduling delay where Tokio is not asked for that
    /// ([`Builder::schedule_delay`](crate::Builder::schedule_delay)). Anywhere
    /// else, on any executor, it is a task of its own for the
    /// [`Scope`](crate::Scope) that was started last: its polls are recorded,
    /// how long it waited from its first wake to its poll, polls in which it
    /// woke itself, and whether its last waker was dropped while it still waits
    /// for one. Inside another named future it counts as a task where it has a
    /// waker of its own, as in a `LocalSet` or a `FuturesUnordered`; else it is
    /// part of the outer one. Without a scope it does nothing.
    ///
    /// The future gets a waker of loopscope's, allocated with its first poll,
    /// which wakes the task's own.
    ///
    /// ```
    /// use loopscope::Named;
    ///
    /// # async fn handle() {}
    /// # async fn app() {
    /// tokio::spawn(handle().named("session"));
    /// # }
    /// ```
    fn named(self, name: &'static str) -> Instrumented<Self> {
        Instrumented { future: self, name, kind: None, role: None, no_scope_at: u64::MAX }
    }
}

impl<F: Future> Named for F {}

pin_project! {
    /// A future with a name: see [`Named::named`].
    #[must_use = "futures do nothing unless awaited or spawned"]
    pub struct Instrumented<F> {
        #[pin]
        future: F,
        name: &'static str,
        kind: Option<(Arc<Recorder>, KindId)>,
        role: Option<FutureRole>,
        no_scope_at: u64,
    }
}

/// What the future is, as its first poll shows.
enum FutureRole {
    /// The future of a task whose polls a hook records: gives it the name.
    Name(WakeTracker),
    /// A task of its own: counted for as long as the future lives.
    Task(WakeTracker, #[allow(dead_code)] TaskCount),
    /// A part of another named future, which counts for it.
    Part,
}

/// One task, from its first poll to its drop.
struct TaskCount {
    recorder: Arc<Recorder>,
    kind: KindId,
}

impl TaskCount {
    fn new(recorder: &Arc<Recorder>, kind: KindId) -> Self {
        recorder.kinds.task_counts(kind).spawned.fetch_add(1, Relaxed);
        Self { recorder: Arc::clone(recorder), kind }
    }
}

impl Drop for TaskCount {
    fn drop(&mut self) {
        self.recorder.kinds.task_counts(self.kind).completed.fetch_add(1, Relaxed);
    }
}

impl<F> fmt::Debug for Instrumented<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instrumented").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F> Instrumented<F> {
    /// The same, for a scope that is known.
    pub(crate) fn in_recorder(future: F, name: &'static str, recorder: Arc<Recorder>) -> Self {
        let kind = recorder.kinds.for_name(name);
        Self { future, name, kind: Some((recorder, kind)), role: None, no_scope_at: u64::MAX }
    }
}

impl<F: Future> Future for Instrumented<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.kind.is_none() && *this.no_scope_at != current::default_generation() {
            find_scope(this.kind, this.no_scope_at, this.name);
        }
        let Some((recorder, kind)) = this.kind.as_ref().filter(|(recorder, _)| recorder.is_live()) else {
            return this.future.poll(context);
        };
        let is_first = this.role.is_none();
        let role = this.role.get_or_insert_with(|| find_role::<F>(recorder, *kind, context));
        let (wakes, is_task) = match role {
            FutureRole::Part => return this.future.poll(context),
            FutureRole::Name(wakes) => (wakes, false),
            FutureRole::Task(wakes, _) => (wakes, true),
        };
        wakes.set_task(context.waker());
        let mut poll = RecordedPoll::begin(recorder, *kind, wakes, is_task);
        let output = this.future.poll(&mut Context::from_waker(poll.wakes.waker()));
        poll.returned(output.is_ready(), is_first);
        output
    }
}

/// Looks for a scope as the future is polled for the first time, and again
/// whenever another scope has started since.
#[cold]
fn find_scope(kind: &mut Option<(Arc<Recorder>, KindId)>, no_scope_at: &mut u64, name: &str) {
    *no_scope_at = current::default_generation();
    *kind = current::recorder().map(|recorder| {
        let kind = recorder.kinds.for_name(name);
        (recorder, kind)
    });
}

#[cold]
fn find_role<F>(recorder: &Arc<Recorder>, kind: KindId, context: &Context<'_>) -> FutureRole {
    let is_part = |polls: &PollStack| polls.innermost_waker.get() == WakerId::new(context.waker());
    let role = current::with_poll_stack(recorder, |polls| match polls.source() {
        PollSource::Hook(_) => match polls.worker.slot.set_named_kind(kind) {
            Some(unnamed) => {
                recorder.kinds.assign_name(unnamed, kind);
                Some(FutureRole::Name(WakeTracker::new(
                    context.waker(),
                    recorder,
                    !recorder.tokio_measures_delay,
                )))
            }
            None => is_part(polls).then_some(FutureRole::Part),
        },
        PollSource::Future if is_part(polls) => Some(FutureRole::Part),
        PollSource::Future | PollSource::Thread | PollSource::NoPoll => None,
    });
    let role = role.flatten().unwrap_or_else(|| {
        FutureRole::Task(WakeTracker::new(context.waker(), recorder, true), TaskCount::new(recorder, kind))
    });
    if !matches!(role, FutureRole::Part) {
        let counts = recorder.kinds.task_counts(kind);
        counts.future_size.fetch_max(size_of::<F>() as u64, Relaxed);
        if size_of::<F>() >= LARGE_FUTURE {
            counts.large_futures.fetch_add(1, Relaxed);
        }
    }
    role
}

/// A poll of a named future; ends as it is dropped, also by a panic.
struct RecordedPoll<'r> {
    recorder: &'r Arc<Recorder>,
    kind: KindId,
    wakes: &'r mut WakeTracker,
    is_task: bool,
    /// The waker of the named future around this one.
    outer: WakerId,
    is_lost: bool,
    /// It was the first poll and the last.
    is_only_poll: bool,
}

impl<'r> RecordedPoll<'r> {
    #[inline]
    fn begin(recorder: &'r Arc<Recorder>, kind: KindId, wakes: &'r mut WakeTracker, is_task: bool) -> Self {
        let woken_at = wakes.begin_poll();
        let id = WakerId::new(wakes.waker());
        let begin = |polls: &PollStack| {
            if is_task {
                let now = recorder.clock.ticks();
                if let Some(woken_at) = woken_at {
                    polls.record_wait(recorder.clock.nanos(woken_at, now), now, 0, kind);
                }
                polls.begin(now, 0, kind, PollSource::Future);
                polls.worker.slot.set_named_kind(kind);
                polls.wake_watchdog();
            } else if matches!(polls.source(), PollSource::Hook(_))
                && polls.worker.slot.set_named_kind(kind).is_some()
                && !recorder.tokio_measures_delay
                && let Some(woken_at) = woken_at
            {
                let (now, task) = polls.poll_start_and_task();
                polls.record_wait(recorder.clock.nanos(woken_at, now), now, task, kind);
            }
            polls.innermost_waker.replace(id)
        };
        let outer = current::with_poll_stack(recorder, begin).unwrap_or_default();
        Self { recorder, kind, wakes, is_task, outer, is_lost: false, is_only_poll: false }
    }

    /// The future has returned: it did not panic.
    #[inline]
    fn returned(&mut self, is_ready: bool, is_first: bool) {
        self.is_only_poll = is_ready && is_first;
        self.is_lost = !is_ready && self.wakes.became_lost();
    }
}

impl Drop for RecordedPoll<'_> {
    #[inline]
    fn drop(&mut self) {
        let woke_itself = self.wakes.end_poll();
        // Where nothing is to be recorded, what the poll left in the seat does
        // no harm: no other future has its waker.
        if !self.is_task && !woke_itself && !self.is_lost && !self.is_only_poll {
            return;
        }
        current::with_existing_poll_stack(self.recorder, |polls| {
            polls.innermost_waker.set(self.outer);
            let poll_nanos = if self.is_task {
                polls.end(PollSource::Future).map(|ended| ended.nanos)
            } else {
                self.is_only_poll.then(|| polls.poll_nanos())
            };
            let kind_record = polls.worker.kind_record(self.kind);
            if woke_itself {
                kind_record.self_wakes.add(1);
            }
            if self.is_lost {
                kind_record.lost_wakers.add(1);
            }
            if self.is_only_poll && poll_nanos >= Some(self.recorder.threshold_nanos) {
                kind_record.never_yielded.add(1);
            }
        });
    }
}
