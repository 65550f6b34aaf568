//! A named future's waker: notes when it is first called, then wakes the task.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, fence};
use std::task::{Wake, Waker};

use crate::record::clock::Ticks;
use crate::record::recorder::Recorder;

/// What a future knows of its wakes. Allocated once, and again if the future is
/// handed to another task.
pub(crate) struct Wakes {
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
    polled_on: AtomicUsize,
    woke_itself: AtomicBool,
}

impl Wakes {
    #[cold]
    pub(crate) fn new(task: &Waker, recorder: &Arc<Recorder>, is_timed: bool) -> Self {
        let state = Arc::new(WakeState {
            task: task.clone(),
            recorder: Arc::clone(recorder),
            is_timed,
            woken_at: AtomicU64::new(0),
            polled_on: AtomicUsize::new(0),
            woke_itself: AtomicBool::new(false),
        });
        Self { waker: Waker::from(Arc::clone(&state)), state, is_known_lost: false }
    }

    /// Sees to it that `task` is what is woken. A waker of before wakes the task
    /// of before.
    #[inline]
    pub(crate) fn follow(&mut self, task: &Waker) {
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
    pub(crate) fn poll_begins(&self) -> Option<Ticks> {
        let state = &*self.state;
        state.polled_on.store(this_thread(), Relaxed);
        let woken_at = state.woken_at.load(Acquire);
        if woken_at != 0 {
            // A wake that comes in between is the same to this poll.
            state.woken_at.store(0, Relaxed);
        }
        (woken_at != 0).then_some(woken_at)
    }

    /// The poll has ended: whether the future woke itself in it.
    #[inline]
    pub(crate) fn poll_ends(&self) -> bool {
        let state = &*self.state;
        state.polled_on.store(0, Relaxed);
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
    fn note(&self) {
        if self.woken_at.load(Relaxed) == 0 {
            // Of two at once either is the first.
            let now = if self.is_timed { self.recorder.clock.ticks().max(1) } else { 1 };
            self.woken_at.store(now, Release);
        }
        if self.polled_on.load(Relaxed) == this_thread() {
            self.woke_itself.store(true, Relaxed);
        }
    }
}

impl Wake for WakeState {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.note();
        self.task.wake_by_ref();
    }
}

/// A number that no other living thread has, and not zero.
#[inline]
fn this_thread() -> usize {
    thread_local!(static MARK: u8 = const { 0 });
    MARK.try_with(|mark| std::ptr::from_ref(mark).addr()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wakes() -> Wakes {
        Wakes::new(Waker::noop(), &Arc::new(Recorder::new(Duration::from_secs(1))), true)
    }

    #[test]
    fn the_first_wake_counts_and_only_once() {
        let wakes = wakes();
        assert_eq!(wakes.poll_begins(), None);
        wakes.poll_ends();
        let before = wakes.state.recorder.clock.ticks();
        wakes.waker().wake_by_ref();
        let between = wakes.state.recorder.clock.ticks();
        wakes.waker().wake_by_ref();
        let woken_at = wakes.poll_begins().unwrap();
        assert!((before..=between).contains(&woken_at));
        wakes.poll_ends();
        assert_eq!(wakes.poll_begins(), None);
    }

    #[test]
    fn who_is_woken_amid_a_poll_waits_from_its_end() {
        let wakes = wakes();
        let clock = &wakes.state.recorder.clock;
        wakes.poll_begins();
        wakes.waker().wake_by_ref();
        let before = clock.ticks();
        wakes.poll_ends();
        assert!((before..=clock.ticks()).contains(&wakes.poll_begins().unwrap()));
    }

    #[test]
    fn waking_oneself_is_not_being_woken_by_another_thread() {
        let wakes = wakes();
        wakes.poll_begins();
        std::thread::scope(|scope| {
            scope.spawn(|| wakes.waker().wake_by_ref());
        });
        assert!(!wakes.poll_ends());
        wakes.poll_begins();
        wakes.waker().wake_by_ref();
        assert!(wakes.poll_ends());
        wakes.waker().wake_by_ref();
        assert!(!wakes.poll_ends(), "not in a poll");
    }

    #[test]
    fn a_future_is_lost_with_its_last_waker_unless_that_was_called() {
        let mut wakes = wakes();
        let held = wakes.waker().clone();
        assert!(!wakes.became_lost());
        held.wake();
        assert!(!wakes.became_lost(), "it is to be polled");
        wakes.poll_begins();
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
        let mut wakes = Wakes::new(&Waker::from(Arc::clone(&first)), &recorder, true);
        let old = wakes.waker().clone();
        wakes.follow(&Waker::from(Arc::clone(&second)));
        old.wake();
        wakes.waker().wake_by_ref();
        assert_eq!((first.0.load(Relaxed), second.0.load(Relaxed)), (1, 1));
    }
}
