//! Named futures, which are recorded on whatever executor polls them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::runtime::Id;

use crate::instrument::skipped_poll;
use crate::instrument::waker::WakeTracker;
use crate::record::current;
use crate::record::kinds::KindId;
use crate::record::poll_stack::{PollSource, PollStack, Poller, WakerId};
use crate::record::recorder::Recorder;
use crate::record::runtimes;
use crate::record::slot::UNTIMED;
use crate::record::worker::Worker;

/// The size in bytes from which a future counts as large.
///
/// Each spawn and each move of a future copies it, and the stack must have room
/// for it. In a release build, Tokio puts the future of a task into a separate
/// box if it is larger than this.
pub const LARGE_FUTURE_BYTES: usize = 16 * 1024;

/// Gives a future a name, by which it is recorded.
pub trait Named: Future + Sized {
    /// Wraps the future so that it is recorded as a task of the kind `name`.
    ///
    /// What is recorded depends on where the future is polled:
    ///
    /// * As the future of a task on a watched runtime (with
    ///   `--cfg tokio_unstable`), it gives that task its name. With
    ///   [`schedule_delay(false)`](crate::ScopeBuilder::schedule_delay), it
    ///   also measures the task's schedule delay.
    /// * Inside another named future that polls it with the same waker, it is a
    ///   part of the outer future and records nothing.
    /// * Inside another named future that polls it with a different waker, as a
    ///   `LocalSet` or a `FuturesUnordered` does, it counts as a separate task.
    /// * Anywhere else, on any executor, it counts as a separate task of the
    ///   [`Scope`](crate::Scope) that was started last, unless the thread
    ///   belongs to another scope.
    ///
    /// For a separate task, loopscope records the polls and the delay from the
    /// first wake to the next poll. For every future that is not a part of
    /// another, it also records the size, the polls in which it woke itself,
    /// whether its last waker was dropped while it was pending, and whether it
    /// ran from start to end in one poll longer than the threshold.
    ///
    /// Without a scope the wrapper does nothing.
    ///
    /// The future is polled with loopscope's own waker, which wakes the waker
    /// of the task. Its memory comes from a future that ended on the same
    /// thread, or else is allocated at the first poll.
    ///
    /// # Examples
    ///
    /// ```
    /// use loopscope::Named;
    ///
    /// # async fn handle() {}
    /// # async fn app() {
    /// tokio::spawn(handle().named("session"));
    /// # }
    /// ```
    fn named(self, name: &'static str) -> NamedFuture<Self> {
        NamedFuture {
            future: self,
            name,
            kind: None,
            role: None,
            has_skipped_poll: false,
            searched_generation: u64::MAX,
        }
    }
}

impl<F: Future> Named for F {}

pin_project! {
    /// A named future: see [`Named::named`].
    #[must_use = "futures do nothing unless awaited or spawned"]
    pub struct NamedFuture<F> {
        #[pin]
        future: F,
        name: &'static str,
        kind: Option<(Arc<Recorder>, KindId)>,
        role: Option<FutureRole>,
        // Whether it was polled while its scope was paused, before it had a
        // role.
        has_skipped_poll: bool,
        // The value of `current::default_generation` at the last search for a
        // scope, or `u64::MAX` before the first search.
        searched_generation: u64,
    }
}

/// What a named future stands for. Its first poll determines it.
enum FutureRole {
    /// The future of a task whose polls a hook records. It names the task.
    Name(WakeTracker, #[allow(dead_code)] NamedTask),
    /// A separate task. It counts as alive as long as the future exists.
    Task(WakeTracker, CountedTask),
    /// A part of another named future, which is recorded instead.
    Part,
}

/// Set in the numbers of tasks that loopscope numbers itself. Tokio counts its
/// own task ids from 1.
const SEPARATE_TASK_BIT: u64 = 1 << 63;

/// A separate task, counted as spawned at its first poll and as completed at
/// its drop.
struct CountedTask {
    recorder: Arc<Recorder>,
    kind: KindId,
    /// Identifies the task among the victims of a stall.
    number: u64,
    /// The runtime in which the future was polled last.
    runtime: Option<Id>,
}

impl CountedTask {
    fn new(recorder: &Arc<Recorder>, kind: KindId, runtime: Option<Id>) -> Self {
        static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);
        recorder.kinds.task_counts(kind).spawned.fetch_add(1, Relaxed);
        let number = SEPARATE_TASK_BIT | NEXT_NUMBER.fetch_add(1, Relaxed);
        Self { recorder: Arc::clone(recorder), kind, number, runtime }
    }
}

impl Drop for CountedTask {
    fn drop(&mut self) {
        self.recorder.kinds.task_counts(self.kind).completed.fetch_add(1, Relaxed);
    }
}

/// A task that a hook counts at its spawn location, and that has a name. It is
/// counted at its first poll and at its drop, because tasks of several names
/// may be spawned at one location.
struct NamedTask {
    recorder: Arc<Recorder>,
    location: KindId,
    name: KindId,
    /// Whether this name is the first one at the location.
    is_first_name: bool,
}

impl NamedTask {
    fn new(recorder: &Arc<Recorder>, worker: &Worker, location: KindId, name: KindId) -> Self {
        let is_first_name = recorder.kinds.name_task(location, name);
        worker.kind_record(location).named.add(1);
        if !is_first_name {
            worker.kind_record(name).spawned.add(1);
            worker.kind_record(location).other_names.add(1);
        }
        Self { recorder: Arc::clone(recorder), location, name, is_first_name }
    }
}

impl Drop for NamedTask {
    fn drop(&mut self) {
        let counted = current::with_existing_poll_stack(&self.recorder, |polls| {
            let of_location = polls.worker.kind_record(self.location);
            of_location.named_completed.add(1);
            if !self.is_first_name {
                of_location.other_names_completed.add(1);
                polls.worker.kind_record(self.name).completed.add(1);
            }
        });
        // The thread polls nothing: it drops a runtime or a task.
        if counted.is_none() {
            let [of_location, of_name] =
                [self.location, self.name].map(|kind| self.recorder.kinds.task_counts(kind));
            of_location.named_completed.fetch_add(1, Relaxed);
            if !self.is_first_name {
                of_location.other_names_completed.fetch_add(1, Relaxed);
                of_name.completed.fetch_add(1, Relaxed);
            }
        }
    }
}

impl<F> fmt::Debug for NamedFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedFuture").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F> NamedFuture<F> {
    /// Wraps a future for the scope of `recorder`.
    pub(crate) fn in_recorder(future: F, name: &'static str, recorder: Arc<Recorder>) -> Self {
        let kind = recorder.kinds.for_static_name(name);
        Self {
            future,
            name,
            kind: Some((recorder, kind)),
            role: None,
            has_skipped_poll: false,
            searched_generation: u64::MAX,
        }
    }
}

impl<F: Future> Future for NamedFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.kind.is_none() && *this.searched_generation != current::default_generation() {
            find_scope(this.kind, this.searched_generation, this.name);
        }
        let Some((recorder, kind)) = this.kind.as_ref().filter(|(recorder, _)| recorder.is_live()) else {
            return this.future.poll(context);
        };
        let is_first = this.role.is_none() && !*this.has_skipped_poll;
        let is_paused = recorder.level.is_paused();
        if this.role.is_none() && !is_paused {
            *this.role = find_role::<F>(recorder, *kind, context);
        }
        let (tracker, separate_task) = match this.role {
            None => {
                *this.has_skipped_poll = true;
                return skipped_poll::poll(this.future, None, recorder, context);
            }
            Some(FutureRole::Part) => return this.future.poll(context),
            Some(FutureRole::Name(tracker, _)) => (tracker, None),
            Some(FutureRole::Task(tracker, task)) => (tracker, Some(task)),
        };
        if is_paused {
            return skipped_poll::poll(this.future, Some(tracker), recorder, context);
        }
        tracker.set_task_waker(context.waker());
        let mut poll = RecordedPoll::begin(recorder, *kind, tracker, separate_task);
        let output = this.future.poll(&mut Context::from_waker(poll.tracker.waker()));
        poll.returned(output.is_ready(), is_first);
        output
    }
}

/// Finds the scope at the first poll of a future, and tries again whenever
/// another scope has started since.
#[cold]
fn find_scope(kind: &mut Option<(Arc<Recorder>, KindId)>, searched_generation: &mut u64, name: &'static str) {
    *searched_generation = current::default_generation();
    *kind = current::recorder().map(|recorder| {
        let kind = recorder.kinds.for_static_name(name);
        (recorder, kind)
    });
}

/// Determines what the future stands for, at its first poll. Returns `None`
/// inside a poll that is not recorded, where this is unknown.
#[cold]
fn find_role<F>(recorder: &Arc<Recorder>, kind: KindId, context: &Context<'_>) -> Option<FutureRole> {
    let is_part = |polls: &PollStack| polls.innermost_waker.get() == WakerId::new(context.waker());
    let runtime = runtimes::current_id();
    let poller = Poller::Future(runtime);
    if skipped_poll::is_in_skipped_poll(recorder) {
        return None;
    }
    let role = current::with_poll_stack(recorder, poller, |polls| match polls.source() {
        PollSource::Hook(_) => match polls.worker.slot.set_named_kind(kind) {
            Some(location) => {
                let tracker = WakeTracker::new(context.waker(), recorder, !recorder.tokio_measures_delay);
                Some(FutureRole::Name(tracker, NamedTask::new(recorder, &polls.worker, location, kind)))
            }
            None => is_part(polls).then_some(FutureRole::Part),
        },
        PollSource::Future if is_part(polls) => Some(FutureRole::Part),
        PollSource::Future | PollSource::Thread | PollSource::NoPoll | PollSource::Skipped => None,
    });
    let role = role.flatten().unwrap_or_else(|| {
        let task = CountedTask::new(recorder, kind, runtime);
        FutureRole::Task(WakeTracker::new(context.waker(), recorder, true), task)
    });
    if !matches!(role, FutureRole::Part) {
        let counts = recorder.kinds.task_counts(kind);
        if counts.largest_future_bytes.load(Relaxed) < size_of::<F>() as u64 {
            counts.largest_future_bytes.fetch_max(size_of::<F>() as u64, Relaxed);
        }
        if size_of::<F>() >= LARGE_FUTURE_BYTES {
            counts.large_futures.fetch_add(1, Relaxed);
        }
    }
    Some(role)
}

/// A poll of a named future. It ends when this is dropped, whether the future
/// returns or panics.
struct RecordedPoll<'r> {
    recorder: &'r Arc<Recorder>,
    kind: KindId,
    tracker: &'r mut WakeTracker,
    is_task: bool,
    /// The waker of the enclosing named future.
    outer: WakerId,
    /// Whether the future's last waker was dropped and never called.
    is_lost: bool,
    /// Whether it was the first poll and also the last.
    is_only_poll: bool,
}

impl<'r> RecordedPoll<'r> {
    #[inline]
    fn begin(
        recorder: &'r Arc<Recorder>,
        kind: KindId,
        tracker: &'r mut WakeTracker,
        mut separate_task: Option<&mut CountedTask>,
    ) -> Self {
        let woken_at = tracker.begin_poll();
        let id = WakerId::new(tracker.waker());
        let poller = Poller::Future(separate_task.as_ref().and_then(|task| task.runtime));
        let is_task = separate_task.is_some();
        let begin = |polls: &PollStack| {
            if let Some(task) = &mut separate_task {
                task.runtime = polls.worker.runtime_id();
                let now = recorder.poll_start();
                if now != UNTIMED
                    && let Some(woken_at) = woken_at
                {
                    polls.record_wait(recorder.clock.nanos(woken_at, now), now, task.number, kind);
                }
                // The slot gets the task number 0, because the watchdog follows
                // only tasks with Tokio's own ids over many polls.
                if polls.begin(now, 0, kind, PollSource::Future) {
                    polls.worker.slot.set_named_kind(kind);
                    polls.wake_watchdog();
                }
            } else if matches!(polls.source(), PollSource::Hook(_))
                && polls.is_innermost_recorded()
                && polls.worker.slot.set_named_kind(kind).is_some()
                && !recorder.tokio_measures_delay
                && let Some(woken_at) = woken_at
            {
                let (start, task) = polls.poll_start_and_task();
                if start != UNTIMED {
                    polls.record_wait(recorder.clock.nanos(woken_at, start), start, task, kind);
                }
            }
            polls.innermost_waker.replace(id)
        };
        let outer = current::with_poll_stack(recorder, poller, begin).unwrap_or_default();
        Self { recorder, kind, tracker, is_task, outer, is_lost: false, is_only_poll: false }
    }

    /// Notes that the future has returned, and so did not panic.
    #[inline]
    fn returned(&mut self, is_ready: bool, is_first: bool) {
        self.is_only_poll = is_ready && is_first;
        self.is_lost = !is_ready && self.tracker.became_lost();
    }
}

impl Drop for RecordedPoll<'_> {
    #[inline]
    fn drop(&mut self) {
        let woke_itself = self.tracker.end_poll();
        // If there is nothing to record, `innermost_waker` keeps the waker of
        // this poll. That is harmless, because no other future has this waker.
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
