//! How the watchdog sleeps while nothing runs, without a system call on the
//! path of those who wake it.
//!
//! It wakes often while a worker runs. Once all are parked for a while it says
//! so here and sleeps until a worker unparks. A worker that unparks looks at
//! one flag, and only finds it set after such a pause: at most one system call
//! a pause, however often it parks.
//!
//! Either the worker sees the flag or the watchdog sees that the worker runs.
//! A worker with park hooks has a fence for that, once an unpark. A thread that
//! polls named futures without such hooks would need one every poll, so there
//! the watchdog makes the kernel fence all threads before it looks
//! ([`os::fence_all_threads`]); where the kernel cannot, it does not sleep.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, fence};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::os;

#[derive(Debug, Default)]
pub(crate) struct IdlePark {
    asleep: AtomicBool,
    watchdog: OnceLock<Thread>,
}

impl IdlePark {
    /// Wakes the watchdog if it sleeps. The caller has marked its slot awake
    /// ([`Slot::set_awake`](super::slot::Slot::set_awake)), behind a fence, or
    /// has begun a poll in it on a thread without hooks.
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

    /// Sleeps on the watchdog's thread until woken, unless `all_idle` says,
    /// asked after the flag is up, that somebody runs by now. `unhooked` says
    /// whether there are threads without park hooks. Sleeps for `limit` at most.
    /// May also return for no reason.
    pub(crate) fn sleep_while_idle(
        &self,
        unhooked: bool,
        limit: Option<Duration>,
        all_idle: impl Fn() -> bool,
    ) {
        self.watchdog.get_or_init(thread::current);
        self.asleep.store(true, SeqCst);
        fence(SeqCst);
        let is_seen = !unhooked || os::fence_all_threads();
        if is_seen && all_idle() {
            match limit {
                None => thread::park(),
                Some(limit) => thread::park_timeout(limit),
            }
        }
        self.asleep.store(false, SeqCst);
    }
}
