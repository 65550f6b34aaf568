//! The timers of one connection: for a client that does not register, and for
//! one that sends nothing.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{self, Instant, Sleep};

use crate::client_limits::ClientLimits;

/// Detects a client that does not register. The time in which it waits for
/// checks of passwords does not count: those of other clients may come first.
pub(crate) struct RegistrationTimer {
    /// `None` after the end of the time.
    timer: Option<Pin<Box<Sleep>>>,
    /// How long the client has waited for checks since the timer was set.
    time_in_checks: Duration,
}

impl RegistrationTimer {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timer: Some(Box::pin(time::sleep(timeout))), time_in_checks: Duration::ZERO }
    }

    /// Waits for a check, whose time does not count.
    pub(crate) async fn paused_for<R>(&mut self, check: impl Future<Output = R>) -> R {
        let started = Instant::now();
        let result = check.await;
        self.time_in_checks += started.elapsed();
        result
    }

    /// Waits for the end of the time. It ends once: after that, this never
    /// completes.
    pub(crate) async fn elapsed(&mut self) {
        let Some(timer) = &mut self.timer else { return std::future::pending().await };
        loop {
            timer.as_mut().await;
            let extension = std::mem::take(&mut self.time_in_checks);
            if extension.is_zero() {
                break;
            }
            let deadline = timer.deadline() + extension;
            timer.as_mut().reset(deadline);
        }
        self.timer = None;
    }
}

/// Detects a client that sends nothing.
pub(crate) struct SilenceTimer {
    client_limits: ClientLimits,
    silent_since: Instant,
    is_ping_sent: bool,
    /// A read does not reset the timer, because that would cost more. When the
    /// timer fires, `elapsed` computes from `silent_since` whether the time is
    /// over.
    timer: Pin<Box<Sleep>>,
}

impl SilenceTimer {
    pub(crate) fn new(client_limits: ClientLimits) -> Self {
        Self {
            client_limits,
            silent_since: Instant::now(),
            is_ping_sent: false,
            timer: Box::pin(time::sleep(client_limits.ping_after)),
        }
    }

    pub(crate) fn reset(&mut self) {
        self.silent_since = Instant::now();
        self.is_ping_sent = false;
    }

    /// Waits until the client has been silent for too long.
    pub(crate) async fn elapsed(&mut self) {
        loop {
            self.timer.as_mut().await;
            let allowed = self.client_limits.ping_after
                + if self.is_ping_sent { self.client_limits.pong_timeout } else { Duration::ZERO };
            let due = self.silent_since + allowed;
            if Instant::now() >= due {
                return;
            }
            self.timer.as_mut().reset(due);
        }
    }

    /// Returns the reason to disconnect the client, or `None` if it must get a
    /// PING first.
    pub(crate) fn timeout_reason(&mut self) -> Option<String> {
        if self.is_ping_sent {
            return Some(format!("Ping timeout: {} seconds", self.silent_since.elapsed().as_secs()));
        }
        self.is_ping_sent = true;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn the_time_for_a_registration_does_not_run_in_a_check() {
        let started = Instant::now();
        let mut timer = RegistrationTimer::new(TIMEOUT);
        time::sleep(TIMEOUT / 2).await;
        timer.paused_for(time::sleep(TIMEOUT * 2)).await;
        time::timeout(TIMEOUT / 4, timer.elapsed()).await.expect_err("a quarter is left");
        timer.paused_for(time::sleep(TIMEOUT)).await;
        timer.elapsed().await;
        assert!(started.elapsed().abs_diff(TIMEOUT * 4) < Duration::from_secs(1), "{:?}", started.elapsed());
        time::timeout(TIMEOUT * 9, timer.elapsed()).await.expect_err("it has ended once");
    }
}
