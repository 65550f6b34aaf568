//! Tokio's hooks: where every task of a watched runtime is recorded.

use std::sync::Arc;

use tokio::runtime::Builder;

use crate::record::{Recorder, current};

/// Sets the hooks on a runtime's builder. Tokio keeps one callback a hook, so
/// they replace those set before and are replaced by those set after.
pub(crate) fn install(builder: &mut Builder, recorder: &Arc<Recorder>, schedule_delay: bool) {
    let start = Arc::clone(recorder);
    let park = Arc::clone(recorder);
    let unpark = Arc::clone(recorder);
    builder
        .on_thread_start(move || current::set_home(&start))
        .on_thread_park(move || {
            current::with_existing_worker(&park, |worker| worker.park());
        })
        .on_thread_unpark(move || {
            let woke = current::with_existing_worker(&unpark, |worker| worker.slot.set_awake());
            if woke.is_some() {
                unpark.doze.wake();
            }
        });
    #[cfg(tokio_unstable)]
    {
        tasks::install(builder, recorder);
        if schedule_delay {
            builder.track_task_schedule_latency();
        }
    }
    #[cfg(not(tokio_unstable))]
    let _ = schedule_delay;
}

#[cfg(tokio_unstable)]
mod tasks {
    use std::{
        hash::{Hash, Hasher},
        sync::{Arc, atomic::Ordering::Relaxed},
    };

    use tokio::runtime::{Builder, TaskMeta};

    use crate::record::{KindId, Recorder, current, worker::Worker};

    pub(super) fn install(builder: &mut Builder, recorder: &Arc<Recorder>) {
        let [spawn, before, after, terminate] = std::array::from_fn(|_| Arc::clone(recorder));
        builder
            .on_task_spawn(move |meta| spawned(&spawn, meta))
            .on_before_task_poll(move |meta| poll_begins(&before, meta))
            .on_after_task_poll(move |_| poll_ends(&after))
            .on_task_terminate(move |meta| terminated(&terminate, meta));
    }

    /// May run on any thread, so what is not counted on a worker is counted in
    /// common: once a task, never once a poll.
    fn spawned(recorder: &Arc<Recorder>, meta: &TaskMeta<'_>) {
        if !recorder.is_live() {
            return;
        }
        let kind = recorder.kinds.of_location(meta.spawned_at());
        let counted = current::with_existing_worker(recorder, |worker| worker.cell(kind).spawned.add(1));
        if counted.is_none() {
            recorder.kinds.spawned[kind.index()].fetch_add(1, Relaxed);
        }
    }

    #[inline]
    fn poll_begins(recorder: &Arc<Recorder>, meta: &TaskMeta<'_>) {
        if !recorder.is_live() {
            return;
        }
        let kind = recorder.kinds.seen(meta.spawned_at()).unwrap_or(KindId::OTHER);
        let task = number_of(meta.id());
        current::with_worker(recorder, |worker| {
            let now = recorder.clock.ticks();
            if let Some(delay) = meta.schedule_latency() {
                worker.waited(delay.as_nanos() as u64, now, task, kind, recorder.threshold_nanos);
            }
            if worker.slot.is_idle() {
                wakes_up(recorder, worker);
            }
            // A runtime inside a poll of another one: the outer poll goes on.
            if !worker.slot.in_poll() {
                worker.begin(now, task, kind);
            }
        });
    }

    /// No unpark came before: a root future's thread turns to its tasks.
    #[cold]
    fn wakes_up(recorder: &Recorder, worker: &Worker) {
        worker.slot.set_awake();
        recorder.doze.wake();
    }

    #[inline]
    fn poll_ends(recorder: &Arc<Recorder>) {
        current::with_existing_worker(recorder, |worker| {
            if worker.slot.in_poll() {
                worker.end(&recorder.clock, recorder.threshold_nanos);
            }
        });
    }

    /// Also fires for calls of `spawn_blocking` and for the runtime's own jobs,
    /// which were never spawned as tasks: their locations are not known here.
    fn terminated(recorder: &Arc<Recorder>, meta: &TaskMeta<'_>) {
        let Some(kind) = recorder.kinds.seen(meta.spawned_at()).filter(|_| recorder.is_live()) else {
            return;
        };
        let counted = current::with_existing_worker(recorder, |worker| worker.cell(kind).completed.add(1));
        if counted.is_none() {
            recorder.kinds.completed[kind.index()].fetch_add(1, Relaxed);
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
