//! Parks the watchdog while nothing runs. A worker needs a system call to wake
//! it, but only rarely.
//!
//! While a worker runs, the watchdog wakes often. Once all workers are parked,
//! it sets a flag here and sleeps until a worker unparks. A worker that unparks
//! reads the flag. It finds the flag set only if the watchdog sleeps, so it
//! makes at most one system call each time that the watchdog sleeps, however
//! often it parks. The watchdog does not sleep while workers park only for a
//! moment: see `watchdog/rest.rs`.
//!
//! Either the worker sees the flag, or the watchdog sees that the worker runs.
//! A worker with park hooks executes a fence for this at each unpark. A thread
//! that is not parked, because it has no such hooks or has left its runtime,
//! would need a fence at each poll. For those threads, the watchdog instead
//! asks the kernel to execute a fence on all threads before it reads their
//! slots ([`os::fence_all_threads`]). If the kernel cannot do that, the
//! watchdog does not sleep.

use std::time::Duration;

use crate::os;
use crate::record::sync::{AtomicBool, OnceLock, Relaxed, SeqCst, Thread, fence, thread};

/// The flag of a sleeping watchdog, and its thread.
#[derive(Debug, Default)]
pub(crate) struct IdlePark {
    asleep: AtomicBool,
    watchdog: OnceLock<Thread>,
}

impl IdlePark {
    /// Wakes the watchdog if it sleeps. Before this call, the caller has either
    /// marked its slot as awake, which includes a fence
    /// ([`Slot::set_awake`](super::slot::Slot::set_awake)), or has begun a poll
    /// in its slot on a thread without hooks.
    #[inline]
    pub(crate) fn wake(&self) {
        if self.asleep.load(Relaxed) {
            self.wake_now();
        }
    }

    #[cold]
    fn wake_now(&self) {
        if self.asleep.swap(false, SeqCst)
            && let Some(watchdog) = self.watchdog.get()
        {
            watchdog.unpark();
        }
    }

    /// Puts the watchdog's own thread to sleep until [`Self::wake`], or until
    /// `limit` has passed. Does not sleep if `all_idle`, which is called after
    /// the flag is set, returns `false`. `has_unparked_threads` says whether
    /// some threads are not parked. May also return spuriously.
    pub(crate) fn sleep_while_idle(
        &self,
        has_unparked_threads: bool,
        limit: Option<Duration>,
        all_idle: impl Fn() -> bool,
    ) {
        self.watchdog.get_or_init(thread::current);
        self.asleep.store(true, SeqCst);
        fence(SeqCst);
        let sees_all_polls = !has_unparked_threads || os::fence_all_threads();
        if sees_all_polls && all_idle() {
            match limit {
                None => thread::park(),
                Some(limit) => thread::park_timeout(limit),
            }
        }
        self.asleep.store(false, SeqCst);
    }
}
