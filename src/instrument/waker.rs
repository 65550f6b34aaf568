//! A named future's waker: notes when it is first called, then wakes the task.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, fence};
use std::task::{Wake, Waker};

use crate::record::clock::Ticks;
use crate::record::recorder::Recorder;

/// What a future knows of its wakes. Allocated once, and again if the future is
/// handed to another task.
pub(crate) struct WakeTracker {
    state: Arc<WakeState>,
    /// The same state, as what the future is polled with.
    waker: Waker,
    is_known_lost: bool,
}

struct WakeState {
    task: Waker,
    recorder: Arc<Recorder>,
    /// Whether the time of the wake is wanted, or Tokio knows it.
    is_timed: bool,
    /// The first wake since the last poll began, or the end of that poll if it
    /// came earlier; zero if there was none.
    woken_at: AtomicU64,
    /// The thread that polls the future now; zero if none does.
    polling_thread: AtomicUsize,
    woke_itself: AtomicBool,
}

impl WakeTracker {
    #[cold]
    pub(crate) fn new(task: &Waker, recorder: &Arc<Recorder>, is_timed: bool) -> Self {
        let state = Arc::new(WakeState {
            task: task.clone(),
            recorder: Arc::clone(recorder),
            is_timed,
            woken_at: AtomicU64::new(0),
            polling_thread: AtomicUsize::new(0),
            woke_itself: AtomicBool::new(false),
        });
        Self { waker: Waker::from(Arc::clone(&state)), state, is_known_lost: false }
    }

    /// Sees to it that `task` is what is woken. A waker of before wakes the task
    /// of before.
    #[inline]
    pub(crate) fn set_task(&mut self, task: &Waker) {
        if !self.state.task.will_wake(task) {
            *self = Self::new(task, &self.state.recorder, self.state.is_timed);
        }
    }

    /// What the future is to be polled with.
    #[inline]
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// A poll begins: when the wake was that led to it, if there was one.
    #[inline]
    pub(crate) fn begin_poll(&self) -> Option<Ticks> {
        let state = &*self.state;
        state.polling_thread.store(thread_key(), Relaxed);
        let woken_at = state.woken_at.load(Acquire);
        if woken_at != 0 {
            // A wake that comes in between is the same to this poll.
            state.woken_at.store(0, Relaxed);
        }
        (woken_at != 0).then_some(woken_at)
    }

    /// The poll has ended: whether the future woke itself in it.
    #[inline]
    pub(crate) fn end_poll(&self) -> bool {
        let state = &*self.state;
        state.polling_thread.store(0, Relaxed);
        if state.is_timed && state.woken_at.load(Relaxed) != 0 {
            // Woken amid the poll: it waits only from now on.
            state.woken_at.store(state.recorder.clock.ticks().max(1), Release);
        }
        let woke_itself = state.woke_itself.load(Relaxed);
        if woke_itself {
            state.woke_itself.store(false, Relaxed);
        }
        woke_itself
    }

    /// Whether nobody is left to wake the future, which is pending: true once.
    #[inline]
    pub(crate) fn became_lost(&mut self) -> bool {
        if Arc::strong_count(&self.state) > 2 || self.is_known_lost {
            return false;
        }
        // Who dropped the last waker may have called it before.
        fence(Acquire);
        self.is_known_lost = self.state.woken_at.load(Relaxed) == 0;
        self.is_known_lost
    }
}

impl WakeState {
    #[inline]
    fn record_wake(&self) {
        if self.woken_at.load(Relaxed) == 0 {
            // Of two at once either is the first.
            let now = if self.is_timed { self.recorder.clock.ticks().max(1) } else { 1 };
            self.woken_at.store(now, Release);
        }
        if self.polling_thread.load(Relaxed) == thread_key() {
            self.woke_itself.store(true, Relaxed);
        }
    }
}

impl Wake for WakeState {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.record_wake();
        self.task.wake_by_ref();
    }
}

/// A number that no other living thread has, and not zero.
#[inline]
fn thread_key() -> usize {
    thread_local!(static THREAD_MARKER: u8 = const { 0 });
    THREAD_MARKER.try_with(|marker| std::ptr::from_ref(marker).addr()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wake_tracker() -> WakeTracker {
        WakeTracker::new(Waker::noop(), &Arc::new(Recorder::new(Duration::from_secs(1))), true)
    }

    #[test]
    fn the_first_wake_counts_and_only_once() {
        let wakes = wake_tracker();
        assert_eq!(wakes.begin_poll(), None);
        wakes.end_poll();
        let before = wakes.state.recorder.clock.ticks();
        wakes.waker().wake_by_ref();
        let between = wakes.state.recorder.clock.ticks();
        wakes.waker().wake_by_ref();
        let woken_at = wakes.begin_poll().unwrap();
        assert!((before..=between).contains(&woken_at));
        wakes.end_poll();
        assert_eq!(wakes.begin_poll(), None);
    }

    #[test]
    fn who_is_woken_amid_a_poll_waits_from_its_end() {
        let wakes = wake_tracker();
        let clock = &wakes.state.recorder.clock;
        wakes.begin_poll();
        wakes.waker().wake_by_ref();
        let before = clock.ticks();
        wakes.end_poll();
        assert!((before..=clock.ticks()).contains(&wakes.begin_poll().unwrap()));
    }

    #[test]
    fn waking_oneself_is_not_being_woken_by_another_thread() {
        let wakes = wake_tracker();
        wakes.begin_poll();
        std::thread::scope(|scope| {
            scope.spawn(|| wakes.waker().wake_by_ref());
        });
        assert!(!wakes.end_poll());
        wakes.begin_poll();
        wakes.waker().wake_by_ref();
        assert!(wakes.end_poll());
        wakes.waker().wake_by_ref();
        assert!(!wakes.end_poll(), "not in a poll");
    }

    #[test]
    fn a_future_is_lost_with_its_last_waker_unless_that_was_called() {
        let mut wakes = wake_tracker();
        let held = wakes.waker().clone();
        assert!(!wakes.became_lost());
        held.wake();
        assert!(!wakes.became_lost(), "it is to be polled");
        wakes.begin_poll();
        assert!(wakes.became_lost());
        assert!(!wakes.became_lost(), "is known");
    }

    #[test]
    fn another_task_gets_its_own_waker() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Relaxed);
            }
        }
        let [first, second] = std::array::from_fn(|_| Arc::new(Count(AtomicUsize::new(0))));
        let recorder = Arc::new(Recorder::new(Duration::from_secs(1)));
        let mut wakes = WakeTracker::new(&Waker::from(Arc::clone(&first)), &recorder, true);
        let old = wakes.waker().clone();
        wakes.set_task(&Waker::from(Arc::clone(&second)));
        old.wake();
        wakes.waker().wake_by_ref();
        assert_eq!((first.0.load(Relaxed), second.0.load(Relaxed)), (1, 1));
    }
}
