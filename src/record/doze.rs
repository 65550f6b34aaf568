//! How the watchdog sleeps while nothing runs, without a system call on the
//! path of those who wake it.
//!
//! It wakes often while a worker runs. Once all are parked for a while it says
//! so here and sleeps until a worker unparks. A worker that unparks looks at
//! one flag, and only finds it set after such a pause: at most one system call
//! a pause, however often it parks.

use std::{
    sync::{
        OnceLock,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
            fence,
        },
    },
    thread::{self, Thread},
};

#[derive(Debug, Default)]
pub(crate) struct Doze {
    asleep: AtomicBool,
    watchdog: OnceLock<Thread>,
}

impl Doze {
    /// Wakes the watchdog if it sleeps. The caller has marked its slot awake
    /// ([`Slot::set_awake`](super::slot::Slot::set_awake)), behind a fence.
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
    /// asked after the flag is up, that somebody runs by now. May also return
    /// for no reason.
    pub(crate) fn sleep_while(&self, all_idle: impl Fn() -> bool) {
        self.watchdog.get_or_init(thread::current);
        self.asleep.store(true, SeqCst);
        fence(SeqCst);
        if all_idle() {
            thread::park();
        }
        self.asleep.store(false, SeqCst);
    }
}
