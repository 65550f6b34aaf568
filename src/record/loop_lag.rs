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
    waker: Lock<Option<Arc<Waker>>>,
    has_ended: AtomicBool,
}

impl LagProbe {
    /// Records the lag since the last wake, and stores the waker for the next
    /// one. Returns `Ready` after [`LagProbes::end`]. Only the probe's canary
    /// calls this, when it is polled.
    pub(crate) fn poll(&self, clock: &Clock, context: &mut Context<'_>) -> Poll<()> {
        let is_known = |waker: &Arc<Waker>| waker.will_wake(context.waker());
        if !self.waker.lock().as_ref().is_some_and(is_known) {
            self.set_waker(Some(Arc::new(context.waker().clone())));
        }
        let woken_at = self.woken_at.load(Acquire);
        if woken_at != 0 {
            self.lag.record(clock.nanos(woken_at, clock.ticks()), &self.carried);
            self.woken_at.store(0, Release);
        }
        if self.has_ended.load(Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Stops the measurement in progress: its canary was dropped.
    pub(crate) fn canary_dropped(&self) {
        self.set_waker(None);
        self.woken_at.store(0, Release);
    }

    /// To clone or to drop a waker may run code of the application, which may
    /// end the scope. So both are done without the lock.
    fn set_waker(&self, waker: Option<Arc<Waker>>) {
        let previous = std::mem::replace(&mut *self.waker.lock(), waker);
        drop(previous);
    }

    fn wake_canary(&self, now: Ticks) {
        let waker = self.waker.lock().clone();
        let Some(waker) = waker else { return };
        // If the canary has not been polled since the last wake, that
        // measurement continues.
        if self.woken_at.compare_exchange(0, now.max(1), Release, Relaxed).is_ok() {
            waker.wake_by_ref();
        }
    }

    fn end(&self) {
        self.has_ended.store(true, Release);
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake_by_ref();
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::Wake;
    use std::thread;

    use super::*;

    /// Ends the scope when it is dropped, as a task that owns the scope does.
    struct OwnsScope(Arc<LagProbes>);

    impl Wake for OwnsScope {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for OwnsScope {
        fn drop(&mut self) {
            self.0.end();
        }
    }

    #[test]
    fn a_waker_may_end_the_scope_when_it_is_dropped() {
        let (send, has_ended) = mpsc::channel();
        thread::spawn(move || {
            let clock = Clock::new();
            for is_dropped in [false, true] {
                let lag_probes = Arc::new(LagProbes::default());
                let lag_probe = lag_probes.for_canary("canary");
                let waker = Waker::from(Arc::new(OwnsScope(lag_probes)));
                assert!(lag_probe.poll(&clock, &mut Context::from_waker(&waker)).is_pending());
                drop(waker);
                if is_dropped {
                    lag_probe.canary_dropped();
                }
                let again = lag_probe.poll(&clock, &mut Context::from_waker(Waker::noop()));
                send.send(again.is_ready()).unwrap();
            }
        });
        let results: Vec<_> =
            (0..2).map_while(|_| has_ended.recv_timeout(Duration::from_secs(60)).ok()).collect();
        assert_eq!(results, [true, true]);
    }
}
