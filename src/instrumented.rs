//! Futures with a name, recorded wherever they are polled.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::record::{KindId, Recorder, current, worker::Worker};

/// Gives futures a name.
pub trait Named: Future + Sized {
    /// The same future, recorded as a task of the kind `name`.
    ///
    /// As the future of a task on a watched runtime it only gives that task its
    /// name; anywhere else, on any executor, its polls are recorded too, for
    /// the [`Scope`](crate::Scope) that was started last. Without a scope it
    /// does nothing.
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
        role: Option<Role>,
        no_scope_at: u64,
    }
}

/// What the future is, as its first poll shows.
enum Role {
    /// Part of a task whose polls a hook records: gives it the name.
    Name,
    /// A task of its own: counted here.
    Task { recorder: Arc<Recorder>, kind: KindId },
}

impl Role {
    #[cold]
    fn task(recorder: &Arc<Recorder>, kind: KindId) -> Self {
        recorder.kinds.spawned[kind.index()].fetch_add(1, Relaxed);
        Self::Task { recorder: Arc::clone(recorder), kind }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if let Self::Task { recorder, kind } = self {
            recorder.kinds.completed[kind.index()].fetch_add(1, Relaxed);
        }
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
        let kind = recorder.kinds.of_name(name);
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
        let _poll = RecordedPoll::begin(recorder, *kind, this.role);
        this.future.poll(context)
    }
}

/// Looks for a scope as the future is polled for the first time, and again
/// whenever another scope has started since.
#[cold]
fn find_scope(kind: &mut Option<(Arc<Recorder>, KindId)>, no_scope_at: &mut u64, name: &str) {
    *no_scope_at = current::default_generation();
    *kind = current::recorder().map(|recorder| {
        let kind = recorder.kinds.of_name(name);
        (recorder, kind)
    });
}

/// A poll of a named future that no hook records; ends as it is dropped, also
/// by a panic.
struct RecordedPoll<'r>(Option<&'r Arc<Recorder>>);

impl<'r> RecordedPoll<'r> {
    fn begin(recorder: &'r Arc<Recorder>, kind: KindId, role: &mut Option<Role>) -> Self {
        let begin = |worker: &Worker| {
            if worker.slot.in_poll() {
                if let (Some(unnamed), None) = (worker.slot.name(kind), &role) {
                    recorder.kinds.name(unnamed, kind);
                    *role = Some(Role::Name);
                }
                return None;
            }
            role.get_or_insert_with(|| Role::task(recorder, kind));
            worker.slot.set_awake();
            worker.begin(recorder.clock.ticks(), 0, kind);
            worker.slot.name(kind);
            recorder.doze.wake();
            Some(recorder)
        };
        Self(current::with_worker(recorder, begin).flatten())
    }
}

impl Drop for RecordedPoll<'_> {
    fn drop(&mut self) {
        let Some(recorder) = self.0 else { return };
        current::with_existing_worker(recorder, |worker| {
            worker.end(&recorder.clock, recorder.threshold_nanos);
            worker.slot.set_idle();
        });
    }
}
