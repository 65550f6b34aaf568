//! Sets Tokio's hooks: where every task of a watched runtime is recorded.

use std::sync::Arc;

use tokio::runtime::Builder;

use crate::instrument::hooks::{Hooks, OnThread};
use crate::record::current;
use crate::record::hook_status::{Hook, HookStatus};
use crate::record::poll_stack::PollSource;
#[cfg(tokio_unstable)]
use crate::record::poll_stack::PollStack;
use crate::record::recorder::Recorder;

/// What the hooks of one call of `watch` share.
struct HookContext {
    hook_status: Arc<HookStatus>,
    recorder: Arc<Recorder>,
    hooks: Hooks,
}

impl HookContext {
    /// Whether what the hook is called for is to be recorded.
    #[inline]
    fn sees(&self, hook: Hook) -> bool {
        self.hook_status.calls(hook);
        self.recorder.is_live() && !self.hook_status.is_blind()
    }

    #[cfg(tokio_unstable)]
    #[inline]
    fn by(&self) -> PollSource {
        PollSource::Hook(self.hook_status.id)
    }
}

/// Sets the hooks on a runtime's builder, and lets them call the application's.
/// They replace those set before and are replaced by those set after.
pub(crate) fn install(builder: &mut Builder, recorder: &Arc<Recorder>, hooks: Hooks) {
    if !recorder.is_live() {
        return install_alone(builder, hooks);
    }
    let context = Arc::new(HookContext {
        hook_status: recorder.add_hook_status(),
        recorder: Arc::clone(recorder),
        hooks,
    });
    let [start, stop, park, unpark] = std::array::from_fn(|_| Arc::clone(&context));
    builder
        .on_thread_start(move || {
            start.hook_status.calls(Hook::ThreadStart);
            current::set_home(&start.recorder);
            call(&start.hooks.thread_start);
        })
        .on_thread_park(move || {
            parks(&park);
            call(&park.hooks.thread_park);
        })
        .on_thread_unpark(move || {
            call(&unpark.hooks.thread_unpark);
            unparks(&unpark);
        });
    if context.hooks.thread_stop.is_some() {
        builder.on_thread_stop(move || call(&stop.hooks.thread_stop));
    }
    #[cfg(tokio_unstable)]
    {
        tasks::install(builder, &context);
        if recorder.every_delay {
            builder.track_task_schedule_latency();
        }
    }
}

/// Sets the application's hooks as if there were no scope.
fn install_alone(builder: &mut Builder, hooks: Hooks) {
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
fn call(hook: &Option<OnThread>) {
    if let Some(hook) = hook {
        hook();
    }
}

/// A thread that parks is a worker, or a root future's thread, from now on: it
/// is known before its first poll.
fn parks(context: &HookContext) {
    if !context.sees(Hook::ThreadPark) {
        return;
    }
    current::with_existing_poll_stack(&context.recorder, |polls| {
        polls.abandon(PollSource::Thread);
        #[cfg(tokio_unstable)]
        if polls.by() == context.by() {
            no_poll_ends(context, polls);
        }
    });
    current::with_poll_stack(&context.recorder, |polls| polls.worker.park());
}

/// A runtime polls one task after the other and parks after the last, so the
/// hook that ends polls is somebody else's: nothing of this runtime can be
/// recorded any more, and what seems to be polled there is not.
#[cfg(tokio_unstable)]
#[cold]
fn no_poll_ends(context: &HookContext, polls: &PollStack) {
    context.hook_status.set_blind();
    polls.abandon(context.by());
    context.recorder.replaced_hooks.note(Hook::AfterTaskPoll);
    context.recorder.disown(&polls.worker.label.runtime);
}

fn unparks(context: &HookContext) {
    if !context.sees(Hook::ThreadUnpark) {
        return;
    }
    let woke = current::with_existing_poll_stack(&context.recorder, |polls| {
        polls.worker.unpark();
        // Nothing else tells what runs until it parks again.
        #[cfg(not(tokio_unstable))]
        if polls.by() == PollSource::Nobody {
            let recorder = &context.recorder;
            polls.begin(recorder.clock.ticks(), 0, recorder.unnamed, PollSource::Thread);
        }
    });
    if woke.is_some() {
        context.recorder.idle_park.wake();
    }
}

#[cfg(tokio_unstable)]
mod tasks {
    use std::hash::{Hash, Hasher};
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;

    use tokio::runtime::{Builder, TaskMeta};

    use crate::instrument::hooks::OnTask;
    use crate::instrument::install::HookContext;
    use crate::record::current;
    use crate::record::hook_status::Hook;
    use crate::record::poll_stack::PollStack;

    pub(super) fn install(builder: &mut Builder, context: &Arc<HookContext>) {
        let [spawn, before, after, terminate] = std::array::from_fn(|_| Arc::clone(context));
        builder
            .on_task_spawn(move |meta| {
                spawned(&spawn, meta);
                call(&spawn.hooks.task_spawn, meta);
            })
            .on_before_task_poll(move |meta| {
                call(&before.hooks.before_task_poll, meta);
                poll_begins(&before, meta);
            })
            .on_after_task_poll(move |meta| {
                poll_ends(&after);
                call(&after.hooks.after_task_poll, meta);
            })
            .on_task_terminate(move |meta| {
                terminated(&terminate, meta);
                call(&terminate.hooks.task_terminate, meta);
            });
    }

    #[inline]
    fn call(hook: &Option<OnTask>, meta: &TaskMeta<'_>) {
        if let Some(hook) = hook {
            hook(meta);
        }
    }

    /// May run on any thread, so what is not counted at a worker is counted in
    /// common: once a task, never once a poll.
    fn spawned(context: &HookContext, meta: &TaskMeta<'_>) {
        if !context.sees(Hook::TaskSpawn) {
            return;
        }
        let recorder = &context.recorder;
        let kind = recorder.kinds.of_location(meta.spawned_at());
        let counted =
            current::with_existing_poll_stack(recorder, |polls| polls.worker.cell(kind).spawned.add(1));
        if counted.is_none() {
            recorder.kinds.tasks(kind).spawned.fetch_add(1, Relaxed);
        }
    }

    #[inline]
    fn poll_begins(context: &HookContext, meta: &TaskMeta<'_>) {
        if !context.sees(Hook::BeforeTaskPoll) {
            return;
        }
        let recorder = &context.recorder;
        let kind = recorder.kinds.of_location(meta.spawned_at());
        let task = number_of(meta.id());
        current::with_poll_stack(recorder, |polls| {
            if polls.by() == context.by() {
                return super::no_poll_ends(context, polls);
            }
            let now = recorder.clock.ticks();
            // An application may have asked Tokio for it by itself: named futures
            // know theirs then.
            if recorder.every_delay
                && let Some(delay) = meta.schedule_latency()
            {
                polls.waited(delay.as_nanos() as u64, now, task, kind);
            }
            if polls.worker.slot.is_idle() {
                wakes_up(polls);
            }
            polls.begin(now, task, kind, context.by());
            polls.wakes_watchdog();
        });
    }

    /// No unpark came before: a root future's thread turns to its tasks.
    #[cold]
    fn wakes_up(polls: &PollStack) {
        polls.worker.slot.set_awake();
        polls.recorder.idle_park.wake();
    }

    #[inline]
    fn poll_ends(context: &HookContext) {
        if !context.sees(Hook::AfterTaskPoll) {
            return;
        }
        let recorder = &context.recorder;
        let handed_over = current::with_existing_poll_stack(recorder, |polls| {
            polls.end(context.by());
            polls.worker.handed_over_at().is_some()
        });
        if handed_over == Some(true) {
            current::leave(recorder);
        }
    }

    /// Also fires for calls of `spawn_blocking` and for the runtime's own jobs,
    /// which were never spawned as tasks: their locations are not known here.
    fn terminated(context: &HookContext, meta: &TaskMeta<'_>) {
        if !context.sees(Hook::TaskTerminate) {
            return;
        }
        let recorder = &context.recorder;
        let Some(kind) = recorder.kinds.seen(meta.spawned_at()) else { return };
        let counted =
            current::with_existing_poll_stack(recorder, |polls| polls.worker.cell(kind).completed.add(1));
        if counted.is_none() {
            recorder.kinds.tasks(kind).completed.fetch_add(1, Relaxed);
        }
    }

    /// A task's number. `Id` does not give it out, but hashes as it.
    #[inline]
    fn number_of(id: tokio::task::Id) -> u64 {
        struct Number(u64);
        impl Hasher for Number {
            fn write(&mut self, bytes: &[u8]) {
                for byte in bytes {
                    self.0 = self.0 << 8 | u64::from(*byte);
                }
            }
            fn write_u64(&mut self, number: u64) {
                self.0 = number;
            }
            fn finish(&self) -> u64 {
                self.0
            }
        }
        let mut number = Number(0);
        id.hash(&mut number);
        number.finish()
    }
}
