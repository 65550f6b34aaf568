//! Bells that the watchdog rings and canaries answer: how late they do is how
//! far behind an event loop is.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::lock::Lock;
use crate::record::clock::{Clock, Ticks};
use crate::record::histogram::{CarriedCounts, Histogram};
use crate::snapshot::LoopLagSnapshot;

/// One loop's bell. Outlives its canary, so that totals never go back.
#[derive(Debug)]
pub(crate) struct LagProbe {
    name: &'static str,
    lag: Histogram,
    carried: CarriedCounts,
    /// When it was rung; zero once that was answered.
    rung_at: AtomicU64,
    waker: Lock<Option<Waker>>,
    is_over: AtomicBool,
}

impl LagProbe {
    /// Polled by its one canary: answers, and waits for the next ring. Ready
    /// once there will be none.
    pub(crate) fn poll(&self, clock: &Clock, context: &mut Context<'_>) -> Poll<()> {
        let mut waker = self.waker.lock();
        if waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        drop(waker);
        let rung_at = self.rung_at.load(Acquire);
        if rung_at != 0 {
            self.lag.record(clock.nanos(rung_at, clock.ticks()), &self.carried);
            self.rung_at.store(0, Release);
        }
        if self.is_over.load(Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Nobody answers any more.
    pub(crate) fn leave(&self) {
        *self.waker.lock() = None;
        self.rung_at.store(0, Release);
    }

    fn ring(&self, now: Ticks) {
        let waker = self.waker.lock().clone();
        let Some(waker) = waker else { return };
        // One that was not answered yet goes on ringing.
        if self.rung_at.compare_exchange(0, now.max(1), Release, Relaxed).is_ok() {
            waker.wake();
        }
    }

    fn end(&self) {
        self.is_over.store(true, Release);
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn snapshot(&self, clock: &Clock, now: Ticks) -> LoopLagSnapshot {
        let rung_at = self.rung_at.load(Relaxed);
        LoopLagSnapshot {
            name: self.name,
            lag: self.lag.snapshot(&self.carried),
            unanswered: (rung_at != 0).then(|| Duration::from_nanos(clock.nanos(rung_at, now))),
        }
    }
}

/// All bells of a scope.
#[derive(Debug, Default)]
pub(crate) struct LagProbes(Lock<Vec<Arc<LagProbe>>>);

impl LagProbes {
    /// A bell for a new canary: that of an ended one of the same name if there
    /// is one.
    pub(crate) fn hang(&self, name: &'static str) -> Arc<LagProbe> {
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
            rung_at: AtomicU64::new(0),
            waker: Lock::new(None),
            is_over: AtomicBool::new(false),
        });
        lag_probes.push(Arc::clone(&lag_probe));
        lag_probe
    }

    /// Whether there is a canary to hear one.
    pub(crate) fn has_canaries(&self) -> bool {
        self.0.lock().iter().any(|lag_probe| Arc::strong_count(lag_probe) > 1)
    }

    pub(crate) fn wake_canaries(&self, now: Ticks) {
        self.all().iter().for_each(|lag_probe| lag_probe.ring(now));
    }

    /// There will be no more ringing.
    pub(crate) fn end(&self) {
        self.all().iter().for_each(|lag_probe| lag_probe.end());
    }

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

    /// A waker is called without the lock: it may run anything.
    fn all(&self) -> Vec<Arc<LagProbe>> {
        self.0.lock().clone()
    }
}
