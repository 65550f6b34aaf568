//! Installs Tokio's hooks, which record every task of a watched runtime.

use std::sync::Arc;

use tokio::runtime::Builder;

use crate::instrument::hooks::{Hooks, ThreadCallback};
use crate::record::current;
use crate::record::hook_status::{Hook, HookStatus};
#[cfg(tokio_unstable)]
use crate::record::poll_stack::PollStack;
use crate::record::poll_stack::{PollSource, Poller};
use crate::record::recorder::Recorder;

/// The data that the hooks of one call of `Scope::watch` share.
struct HookContext {
    hook_status: Arc<HookStatus>,
    recorder: Arc<Recorder>,
    hooks: Hooks,
}

impl HookContext {
    /// Notes the call of a hook, and returns whether to record its event.
    #[inline]
    fn should_record(&self, hook: Hook) -> bool {
        self.hook_status.record_call(hook) && self.recorder.is_live()
    }

    #[inline]
    fn poller(&self) -> Poller {
        Poller::Hook(self.hook_status.id)
    }

    #[cfg(tokio_unstable)]
    #[inline]
    fn source(&self) -> PollSource {
        PollSource::Hook(self.hook_status.id)
    }
}

/// Sets the hooks on a runtime's builder. They call the application's hooks.
/// They replace all hooks that were set before, and a hook that is set later
/// replaces them.
pub(crate) fn install(builder: &mut Builder, recorder: &Arc<Recorder>, hooks: Hooks) {
    if !recorder.is_live() {
        return install_application_hooks(builder, hooks);
    }
    let context = Arc::new(HookContext {
        hook_status: recorder.add_hook_status(),
        recorder: Arc::clone(recorder),
        hooks,
    });
    let [start, stop, park, unpark] = std::array::from_fn(|_| Arc::clone(&context));
    builder
        .on_thread_start(move || {
            start.hook_status.record_call(Hook::ThreadStart);
            current::set_thread_scope(&start.recorder);
            call(&start.hooks.thread_start);
        })
        .on_thread_park(move || {
            on_park(&park);
            call(&park.hooks.thread_park);
        })
        .on_thread_unpark(move || {
            call(&unpark.hooks.thread_unpark);
            on_unpark(&unpark);
        });
    if context.hooks.thread_stop.is_some() {
        builder.on_thread_stop(move || call(&stop.hooks.thread_stop));
    }
    #[cfg(tokio_unstable)]
    {
        tasks::install(builder, &context);
        if recorder.tokio_measures_delay {
            builder.track_task_schedule_latency();
        }
    }
}

/// Sets only the application's hooks: there is no live scope.
fn install_application_hooks(builder: &mut Builder, hooks: Hooks) {
    if let Some(f) = hooks.thread_start {
        builder.on_thread_start(f);
    }
    if let Some(f) = hooks.thread_stop {
        builder.on_thread_stop(f);
    }
    if let Some(f) = hooks.thread_park {
        builder.on_thread_park(f);
    }
    if let Some(f) = hooks.thread_unpark {
        builder.on_thread_unpark(f);
    }
    #[cfg(tokio_unstable)]
    {
        if let Some(f) = hooks.task_spawn {
            builder.on_task_spawn(f);
        }
        if let Some(f) = hooks.before_task_poll {
            builder.on_before_task_poll(f);
        }
        if let Some(f) = hooks.after_task_poll {
            builder.on_after_task_poll(f);
        }
        if let Some(f) = hooks.task_terminate {
            builder.on_task_terminate(f);
        }
    }
}

#[inline]
fn call(hook: &Option<ThreadCallback>) {
    if let Some(hook) = hook {
        hook();
    }
}

/// Marks a thread as parked, and registers it if it is new. A thread that parks
/// is a worker or the thread of a root future, so it is known before its first
/// poll.
fn on_park(context: &HookContext) {
    if !context.should_record(Hook::ThreadPark) {
        return;
    }
    current::with_existing_poll_stack(&context.recorder, |polls| {
        polls.check_runtime();
        polls.discard(PollSource::Thread);
        // A thread that parks is in no poll: no hook has reported the end.
        polls.forget_skipped();
        #[cfg(tokio_unstable)]
        if polls.source() == context.source() {
            stop_recording(context, polls);
        }
    });
    current::with_poll_stack(&context.recorder, context.poller(), |polls| polls.worker.park());
}

/// Stops recording for the runtime, because the hook that ends polls was
/// replaced. A worker polls one task at a time and parks after the last one, so
/// a poll that is still in progress at that time never gets its end event.
/// The polls that seem to be in progress on its workers have ended.
#[cfg(tokio_unstable)]
#[cold]
fn stop_recording(context: &HookContext, polls: &PollStack) {
    context.hook_status.stop_recording();
    polls.discard(context.source());
    context.recorder.replaced_hooks.add(Hook::AfterTaskPoll);
    context.recorder.abandon_workers(&polls.worker.label.runtime);
}

fn on_unpark(context: &HookContext) {
    if !context.should_record(Hook::ThreadUnpark) {
        return;
    }
    let has_poll_stack = current::with_existing_poll_stack(&context.recorder, |polls| {
        polls.worker.unpark();
        // No other hook reports the code that runs until the next park.
        #[cfg(not(tokio_unstable))]
        if polls.source() == PollSource::NoPoll && !context.recorder.level.is_paused() {
            let recorder = &context.recorder;
            polls.begin(recorder.poll_start(), 0, recorder.unnamed_kind, PollSource::Thread);
        }
    });
    if has_poll_stack.is_some() {
        context.recorder.idle_park.wake();
    }
}

#[cfg(tokio_unstable)]
mod tasks {
    use std::sync::Arc;
    use std::sync::atomic::Ordering::{Relaxed, SeqCst};
    use std::sync::atomic::compiler_fence;

    use tokio::runtime::{Builder, TaskMeta};

    use crate::instrument::hooks::TaskCallback;
    use crate::instrument::install::HookContext;
    use crate::instrument::task_number::task_number;
    use crate::record::current;
    use crate::record::fast_poll;
    use crate::record::hook_status::Hook;
    use crate::record::level::Level;
    use crate::record::poll_stack::PollStack;
    use crate::record::slot::UNTIMED;

    pub(super) fn install(builder: &mut Builder, context: &Arc<HookContext>) {
        let [spawn, before, after, terminate] = std::array::from_fn(|_| Arc::clone(context));
        builder
            .on_task_spawn(move |meta| {
                on_spawn(&spawn, meta);
                call(&spawn.hooks.task_spawn, meta);
            })
            .on_before_task_poll(move |meta| {
                call(&before.hooks.before_task_poll, meta);
                on_poll_begin(&before, meta);
            })
            .on_after_task_poll(move |meta| {
                on_poll_end(&after);
                call(&after.hooks.after_task_poll, meta);
            })
            .on_task_terminate(move |meta| {
                on_terminate(&terminate, meta);
                call(&terminate.hooks.task_terminate, meta);
            });
    }

    #[inline]
    fn call(hook: &Option<TaskCallback>, meta: &TaskMeta<'_>) {
        if let Some(hook) = hook {
            hook(meta);
        }
    }

    /// Counts a spawned task. Any thread may spawn one. Outside a worker the
    /// count goes to a shared counter, but only once for each task, never for
    /// each poll.
    fn on_spawn(context: &HookContext, meta: &TaskMeta<'_>) {
        if !context.should_record(Hook::TaskSpawn) {
            return;
        }
        let recorder = &context.recorder;
        let Some(kind) = recorder.kinds.for_location(meta.spawned_at()) else { return };
        let counted = current::with_existing_poll_stack(recorder, |polls| {
            polls.worker.kind_record(kind).spawned.add(1)
        });
        if counted.is_none() {
            recorder.kinds.task_counts(kind).spawned.fetch_add(1, Relaxed);
        }
    }

    #[inline]
    fn on_poll_begin(context: &HookContext, meta: &TaskMeta<'_>) {
        if !context.should_record(Hook::BeforeTaskPoll) {
            return;
        }
        match context.recorder.level.get() {
            Level::Full => begin_poll(context, meta),
            Level::Detect => on_untimed_poll_begin(context, meta),
            Level::Paused => on_skipped_poll_begin(context, meta),
        }
    }

    /// Begins a poll that is recorded in full. As a part of its caller, it
    /// would make the other levels save registers that only it uses.
    #[inline(never)]
    fn begin_poll(context: &HookContext, meta: &TaskMeta<'_>) {
        let recorder = &context.recorder;
        let task = task_number(meta.id());
        current::with_poll_stack(recorder, context.poller(), |polls| {
            if polls.is_in_poll() && polls.source() == context.source() {
                return super::stop_recording(context, polls);
            }
            let kind = polls.known_locations.kind(meta.spawned_at(), &recorder.kinds);
            let now = recorder.clock.ticks();
            // The application may have enabled Tokio's measurement itself. It
            // is not used then, because named futures measure their own delay.
            if recorder.tokio_measures_delay
                && let Some(delay) = meta.schedule_latency()
            {
                polls.record_wait(delay.as_nanos() as u64, now, task, kind);
            }
            if polls.worker.slot.is_idle() {
                set_awake(polls);
            }
            polls.begin(now, task, kind, context.source());
            polls.wake_watchdog();
        });
    }

    /// Begins a poll that reads no clock.
    #[inline]
    fn on_untimed_poll_begin(context: &HookContext, meta: &TaskMeta<'_>) {
        let task = task_number(meta.id());
        if fast_poll::begin(context.hook_status.id, task, meta.spawned_at()) {
            compiler_fence(SeqCst);
            context.recorder.idle_park.wake();
        } else {
            begin_untimed_poll(context, meta, task);
        }
    }

    #[cold]
    fn begin_untimed_poll(context: &HookContext, meta: &TaskMeta<'_>, task: u64) {
        let recorder = &context.recorder;
        current::with_poll_stack(recorder, context.poller(), |polls| {
            if polls.is_in_poll() && polls.source() == context.source() {
                return super::stop_recording(context, polls);
            }
            let kind = polls.known_locations.kind(meta.spawned_at(), &recorder.kinds);
            if polls.worker.slot.is_idle() {
                set_awake(polls);
            }
            polls.begin(UNTIMED, task, kind, context.source());
            polls.wake_watchdog();
        });
    }

    /// Notes that a poll begins while the recorder is paused. A thread without
    /// a poll stack has no poll in which it could be nested.
    #[inline]
    fn on_skipped_poll_begin(context: &HookContext, meta: &TaskMeta<'_>) {
        if !fast_poll::skip(context.hook_status.id, task_number(meta.id())) {
            skip_poll(context);
        }
    }

    #[cold]
    fn skip_poll(context: &HookContext) {
        current::with_existing_poll_stack(&context.recorder, PollStack::skip);
    }

    /// Marks the thread as awake. It polls a task without an unpark before, as
    /// the thread of a root future does.
    #[cold]
    fn set_awake(polls: &PollStack) {
        polls.worker.slot.set_awake();
        polls.recorder.idle_park.wake();
    }

    #[inline]
    fn on_poll_end(context: &HookContext) {
        if !context.should_record(Hook::AfterTaskPoll) {
            return;
        }
        if !fast_poll::end(context.hook_status.id) {
            end_poll(context);
        }
    }

    /// Ends a poll on the poll stack: see [`begin_poll`].
    #[inline(never)]
    fn end_poll(context: &HookContext) {
        let recorder = &context.recorder;
        let is_taken_over = current::with_existing_poll_stack(recorder, |polls| {
            let ended = polls.end(context.source());
            if !recorder.level.is_full() {
                make_ready_for_fast_polls(context, polls);
            }
            match ended {
                Some(ended) => ended.is_taken_over,
                None => polls.worker.taken_over_at().is_some(),
            }
        });
        if is_taken_over.is_none() && recorder.level.is_paused() {
            fast_poll::make_ready(context.hook_status.id, None);
        }
        if is_taken_over == Some(true) {
            current::drop_taken_over_poll_stacks(recorder);
        }
    }

    /// Makes the next polls cheaper. They find the kind by the spawn location
    /// only if the hook that adds it was not replaced.
    #[cold]
    fn make_ready_for_fast_polls(context: &HookContext, polls: &PollStack) {
        if context.hook_status.was_called(Hook::TaskSpawn) {
            polls.make_ready_for_fast_polls(context.hook_status.id);
        }
    }

    /// Counts a completed task. Tokio also calls this hook for calls of
    /// `spawn_blocking` and for its own jobs. They were not spawned as tasks,
    /// so their locations are unknown here and they are not counted.
    fn on_terminate(context: &HookContext, meta: &TaskMeta<'_>) {
        if !context.should_record(Hook::TaskTerminate) {
            return;
        }
        let recorder = &context.recorder;
        let Some(kind) = recorder.kinds.find_location(meta.spawned_at()) else { return };
        let counted = current::with_existing_poll_stack(recorder, |polls| {
            polls.worker.kind_record(kind).completed.add(1)
        });
        if counted.is_none() {
            recorder.kinds.task_counts(kind).completed.fetch_add(1, Relaxed);
        }
    }
}
