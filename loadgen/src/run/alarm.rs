//! A timer of the event loop with the resolution of the kernel's clock.
//! Tokio's own timers have a resolution of a millisecond.

use std::io;
use std::time::Duration;

/// A timer. Its users wait for it one after the other.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(super) struct Alarm(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>);

#[cfg(target_os = "linux")]
impl Alarm {
    /// Returns a timer of the runtime that runs the caller.
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left.
    #[expect(
        deprecated,
        reason = "the descriptor is owned here, so it stays valid: nothing unsafe is needed"
    )]
    pub(super) fn new() -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let interest = tokio::io::Interest::READABLE;
        Ok(Self(tokio::io::unix::AsyncFd::with_interest(timer, interest)?))
    }

    /// Waits for `duration`, or for less if a wait before it was given up.
    pub(super) async fn wait(&self, duration: Duration) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        let after = |duration: Duration| Timespec {
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(duration.subsec_nanos()),
        };
        let once = Itimerspec { it_interval: after(Duration::ZERO), it_value: after(duration) };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        // The number of expirations is not read: setting the timer clears it,
        // and the next expiration makes the descriptor ready again.
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

/// No such timer: the system has none that an event loop can wait for.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(super) enum Alarm {}

#[cfg(not(target_os = "linux"))]
impl Alarm {
    /// Returns an error.
    pub(super) fn new() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Cannot be called.
    pub(super) async fn wait(&self, _duration: Duration) -> io::Result<()> {
        match *self {}
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn each_wait_lasts_as_long_as_asked() {
        let alarm = Alarm::new().expect("a descriptor");
        for duration in [Duration::from_micros(100), Duration::from_millis(5), Duration::from_nanos(1)] {
            let begin = Instant::now();
            tokio::time::timeout(Duration::from_secs(30), alarm.wait(duration))
                .await
                .expect("the timer expires")
                .expect("the timer is set");
            assert!(begin.elapsed() >= duration);
        }
    }
}
