//! The waker of a named future: it records its first call, then wakes the task.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, fence};
use std::task::{Wake, Waker};

use crate::record::clock::Ticks;
use crate::record::recorder::Recorder;

/// How many states of ended futures a thread keeps for its next futures.
const MAX_UNUSED_STATES: usize = 32;

/// Stands for the time of a wake that has read no clock.
const UNTIMED_WAKE: Ticks = 1;

thread_local! {
    static UNUSED_STATES: RefCell<Vec<Arc<WakeState>>> = const { RefCell::new(Vec::new()) };
}

/// Records the wakes of one future. It needs a state on the heap, and another
/// one if the future moves to another task.
pub(crate) struct WakeTracker {
    state: Arc<WakeState>,
    /// The same state as a waker, with which the future is polled.
    waker: Waker,
    is_known_lost: bool,
}

/// The part of a [`WakeTracker`] that its wakers share.
struct WakeState {
    task_waker: Waker,
    /// `None` while the state is unused.
    recorder: Option<Arc<Recorder>>,
    /// Whether to record the time of a wake. Not needed if Tokio measures it.
    is_timed: bool,
    /// The time of the first wake since the last poll began. For a wake during
    /// that poll it is the end of the poll. Zero if there was no wake.
    woken_at: AtomicU64,
    /// The key of the thread that polls the future now; zero if none does.
    polling_thread: AtomicUsize,
    woke_itself: AtomicBool,
}

impl WakeTracker {
    /// Creates a tracker for a future that is woken through `task_waker`.
    #[cold]
    pub(crate) fn new(task_waker: &Waker, recorder: &Arc<Recorder>, is_timed: bool) -> Self {
        let new = WakeState::new(task_waker.clone(), Some(Arc::clone(recorder)), is_timed);
        let unused = UNUSED_STATES.try_with(|states| states.borrow_mut().pop()).ok().flatten();
        let state = match unused {
            Some(mut state) => {
                if let Some(unused) = Arc::get_mut(&mut state) {
                    *unused = new;
                }
                state
            }
            None => Arc::new(new),
        };
        Self { waker: Waker::from(Arc::clone(&state)), state, is_known_lost: false }
    }

    /// Makes new wakers wake the task of `task_waker`. Wakers created earlier
    /// still wake the previous task.
    #[inline]
    pub(crate) fn set_task_waker(&mut self, task_waker: &Waker) {
        if !self.state.task_waker.will_wake(task_waker)
            && let Some(recorder) = self.state.recorder.clone()
        {
            *self = Self::new(task_waker, &recorder, self.state.is_timed);
        }
    }

    /// Returns the waker with which to poll the future.
    #[inline]
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Begins a poll. Returns the time of the wake that led to it, if there was
    /// one and it has read the clock.
    #[inline]
    pub(crate) fn begin_poll(&self) -> Option<Ticks> {
        let state = &*self.state;
        state.polling_thread.store(thread_key(), Relaxed);
        let woken_at = state.woken_at.load(Acquire);
        if woken_at != 0 {
            // A wake between the load and the store also leads to this poll.
            state.woken_at.store(0, Relaxed);
        }
        (woken_at > UNTIMED_WAKE).then_some(woken_at)
    }

    /// Forgets the wake that led to a poll which is not recorded.
    pub(crate) fn forget_wake(&self) {
        self.state.woken_at.store(0, Relaxed);
    }

    /// Ends a poll. Returns whether the future woke itself during it.
    #[inline]
    pub(crate) fn end_poll(&self) -> bool {
        let state = &*self.state;
        state.polling_thread.store(0, Relaxed);
        if state.is_timed && state.woken_at.load(Relaxed) != 0 {
            // Woken during the poll: the future waits only from now on.
            state.woken_at.store(state.now(), Release);
        }
        let woke_itself = state.woke_itself.load(Relaxed);
        if woke_itself {
            state.woke_itself.store(false, Relaxed);
        }
        woke_itself
    }

    /// Returns whether no waker is left that can wake the future, which is
    /// pending. Returns `true` at most once.
    #[inline]
    pub(crate) fn became_lost(&mut self) -> bool {
        if Arc::strong_count(&self.state) > 2 || self.is_known_lost {
            return false;
        }
        // The thread that dropped the last waker may have called it before.
        fence(Acquire);
        self.is_known_lost = self.state.woken_at.load(Relaxed) == 0;
        self.is_known_lost
    }
}

impl Drop for WakeTracker {
    /// Keeps the state for the thread's next future, unless a waker still uses
    /// it.
    fn drop(&mut self) {
        self.waker = Waker::noop().clone();
        if let Some(state) = Arc::get_mut(&mut self.state) {
            // This may run code of the application, so nothing is borrowed.
            *state = WakeState::new(Waker::noop().clone(), None, false);
            let _ = UNUSED_STATES.try_with(|states| {
                let mut states = states.borrow_mut();
                if states.len() < MAX_UNUSED_STATES {
                    states.push(Arc::clone(&self.state));
                }
            });
        }
    }
}

impl WakeState {
    fn new(task_waker: Waker, recorder: Option<Arc<Recorder>>, is_timed: bool) -> Self {
        Self {
            task_waker,
            recorder,
            is_timed,
            woken_at: AtomicU64::new(0),
            polling_thread: AtomicUsize::new(0),
            woke_itself: AtomicBool::new(false),
        }
    }

    /// Returns the time of a wake, or [`UNTIMED_WAKE`] if wakes read no clock.
    #[inline]
    fn now(&self) -> Ticks {
        match &self.recorder {
            Some(recorder) if self.is_timed && recorder.level.is_full() => {
                recorder.clock.ticks().max(UNTIMED_WAKE + 1)
            }
            _ => UNTIMED_WAKE,
        }
    }

    #[inline]
    fn record_wake(&self) {
        if self.woken_at.load(Relaxed) == 0 {
            // If two threads wake at the same time, either may count as the
            // first.
            self.woken_at.store(self.now(), Release);
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
        self.task_waker.wake_by_ref();
    }
}

/// Returns a key that differs from that of each other live thread and is not
/// zero.
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
        let tracker = wake_tracker();
        assert_eq!(tracker.begin_poll(), None);
        tracker.end_poll();
        let before = tracker.state.now();
        tracker.waker().wake_by_ref();
        let after_first = tracker.state.now();
        tracker.waker().wake_by_ref();
        let woken_at = tracker.begin_poll().unwrap();
        assert!((before..=after_first).contains(&woken_at));
        tracker.end_poll();
        assert_eq!(tracker.begin_poll(), None);
    }

    #[test]
    fn a_future_that_is_woken_during_a_poll_waits_from_its_end() {
        let tracker = wake_tracker();
        let clock = &tracker.state.recorder.as_ref().unwrap().clock;
        tracker.begin_poll();
        tracker.waker().wake_by_ref();
        let before = clock.ticks();
        tracker.end_poll();
        assert!((before..=clock.ticks()).contains(&tracker.begin_poll().unwrap()));
    }

    #[test]
    fn only_a_wake_on_the_polling_thread_is_a_self_wake() {
        let tracker = wake_tracker();
        tracker.begin_poll();
        std::thread::scope(|scope| {
            scope.spawn(|| tracker.waker().wake_by_ref());
        });
        assert!(!tracker.end_poll());
        tracker.begin_poll();
        tracker.waker().wake_by_ref();
        assert!(tracker.end_poll());
        tracker.waker().wake_by_ref();
        assert!(!tracker.end_poll(), "the wake came outside a poll");
    }

    #[test]
    fn a_future_whose_last_waker_is_dropped_without_a_wake_is_lost() {
        let mut tracker = wake_tracker();
        let held = tracker.waker().clone();
        assert!(!tracker.became_lost());
        held.wake();
        assert!(!tracker.became_lost(), "it will be polled");
        tracker.begin_poll();
        assert!(tracker.became_lost());
        assert!(!tracker.became_lost(), "already reported");
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
        let mut tracker = WakeTracker::new(&Waker::from(Arc::clone(&first)), &recorder, true);
        let old = tracker.waker().clone();
        tracker.set_task_waker(&Waker::from(Arc::clone(&second)));
        old.wake();
        tracker.waker().wake_by_ref();
        assert_eq!((first.0.load(Relaxed), second.0.load(Relaxed)), (1, 1));
    }
}
