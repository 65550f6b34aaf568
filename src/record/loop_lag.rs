//! Measures the lag of an event loop: the watchdog wakes a canary task, and the
//! time until the canary is polled is the lag.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::lock::Lock;
use crate::record::clock::{Clock, Ticks};
use crate::record::histogram::{CarriedCounts, Histogram};
use crate::snapshot::LoopLagSnapshot;

/// The measurements of one canary. They outlive it, so that totals never
/// decrease.
#[derive(Debug)]
pub(crate) struct LagProbe {
    name: &'static str,
    lag: Histogram,
    /// The counts that do not fit into the 32-bit buckets of `lag`.
    carried: CarriedCounts,
    /// When the canary was woken; zero if it has been polled since.
    woken_at: AtomicU64,
    waker: Lock<Option<Waker>>,
    has_ended: AtomicBool,
}

impl LagProbe {
    /// Records the lag since the last wake, and stores the waker for the next
    /// one. Returns `Ready` after [`LagProbes::end`]. Only the probe's canary
    /// calls this, when it is polled.
    pub(crate) fn poll(&self, clock: &Clock, context: &mut Context<'_>) -> Poll<()> {
        let mut waker = self.waker.lock();
        if waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        drop(waker);
        let woken_at = self.woken_at.load(Acquire);
        if woken_at != 0 {
            self.lag.record(clock.nanos(woken_at, clock.ticks()), &self.carried);
            self.woken_at.store(0, Release);
        }
        if self.has_ended.load(Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Stops the measurement in progress: its canary was dropped.
    pub(crate) fn canary_dropped(&self) {
        *self.waker.lock() = None;
        self.woken_at.store(0, Release);
    }

    fn wake_canary(&self, now: Ticks) {
        let waker = self.waker.lock().clone();
        let Some(waker) = waker else { return };
        // If the canary has not been polled since the last wake, that
        // measurement continues.
        if self.woken_at.compare_exchange(0, now.max(1), Release, Relaxed).is_ok() {
            waker.wake();
        }
    }

    fn end(&self) {
        self.has_ended.store(true, Release);
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn snapshot(&self, clock: &Clock, now: Ticks) -> LoopLagSnapshot {
        let woken_at = self.woken_at.load(Relaxed);
        LoopLagSnapshot {
            name: self.name,
            lag: self.lag.snapshot(&self.carried),
            unanswered: (woken_at != 0).then(|| Duration::from_nanos(clock.nanos(woken_at, now))),
        }
    }
}

/// All lag probes of a scope.
#[derive(Debug, Default)]
pub(crate) struct LagProbes(Lock<Vec<Arc<LagProbe>>>);

impl LagProbes {
    /// Returns a lag probe for a new canary. Reuses that of a dropped canary of
    /// the same name if there is one.
    pub(crate) fn for_canary(&self, name: &'static str) -> Arc<LagProbe> {
        let mut lag_probes = self.0.lock();
        let is_free =
            |lag_probe: &&Arc<LagProbe>| lag_probe.name == name && Arc::strong_count(lag_probe) == 1;
        if let Some(lag_probe) = lag_probes.iter().find(is_free) {
            return Arc::clone(lag_probe);
        }
        let lag_probe = Arc::new(LagProbe {
            name,
            lag: Histogram::new(),
            carried: CarriedCounts::new(),
            woken_at: AtomicU64::new(0),
            waker: Lock::new(None),
            has_ended: AtomicBool::new(false),
        });
        lag_probes.push(Arc::clone(&lag_probe));
        lag_probe
    }

    /// Returns whether a canary exists.
    pub(crate) fn has_canaries(&self) -> bool {
        self.0.lock().iter().any(|lag_probe| Arc::strong_count(lag_probe) > 1)
    }

    /// Wakes each canary and begins a measurement.
    pub(crate) fn wake_canaries(&self, now: Ticks) {
        self.all().iter().for_each(|lag_probe| lag_probe.wake_canary(now));
    }

    /// Ends all canaries: the scope has ended.
    pub(crate) fn end(&self) {
        self.all().iter().for_each(|lag_probe| lag_probe.end());
    }

    /// Returns a snapshot for each name.
    pub(crate) fn snapshots(&self, clock: &Clock) -> Vec<LoopLagSnapshot> {
        let now = clock.ticks();
        let mut merged = Vec::<LoopLagSnapshot>::new();
        for lag_probe in self.all() {
            let snapshot = lag_probe.snapshot(clock, now);
            match merged.iter_mut().find(|known| known.name == snapshot.name) {
                Some(known) => {
                    known.lag.merge(&snapshot.lag);
                    known.unanswered = known.unanswered.max(snapshot.unanswered);
                }
                None => merged.push(snapshot),
            }
        }
        merged
    }

    /// Returns copies, so that no waker is called while the lock is held: a
    /// waker may run any code.
    fn all(&self) -> Vec<Arc<LagProbe>> {
        self.0.lock().clone()
    }
}
