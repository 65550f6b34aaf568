//! A task that does nothing but measure when it is polled.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::record::loop_lag::LagProbe;
use crate::record::recorder::Recorder;

/// Measures the lag of an event loop: see
/// [`Scope::canary`](crate::Scope::canary).
#[must_use = "a canary measures nothing unless spawned"]
pub struct Canary {
    recorder: Arc<Recorder>,
    /// `None` if the scope was not live when this was created.
    lag_probe: Option<Arc<LagProbe>>,
}

impl Canary {
    pub(crate) fn new(recorder: &Arc<Recorder>, name: &'static str) -> Self {
        let lag_probe = recorder.is_live().then(|| recorder.lag_probes.for_canary(name));
        Self { recorder: Arc::clone(recorder), lag_probe }
    }
}

impl Future for Canary {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(lag_probe) = self.lag_probe.as_ref().filter(|_| self.recorder.is_live()) else {
            return Poll::Ready(());
        };
        let polled = lag_probe.poll(&self.recorder.clock, context);
        // The watchdog may sleep because there was no canary to wake.
        self.recorder.idle_park.wake();
        polled
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        if let Some(lag_probe) = self.lag_probe.as_ref().filter(|_| !self.recorder.liveness.is_in_child()) {
            lag_probe.canary_dropped();
        }
    }
}

impl fmt::Debug for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canary").finish_non_exhaustive()
    }
}
