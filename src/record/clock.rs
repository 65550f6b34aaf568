//! The clock of the poll path: the CPU's time stamp counter.

use std::time::SystemTime;

use crate::unix_time;

/// A reading of the counter, in ticks of unknown length. Only differences that
/// [`Clock`] computes are meaningful.
pub(crate) type Ticks = u64;

/// Reads the time stamp counter (about 10 ns), or the monotonic clock where
/// the counter is not invariant.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    counter: quanta::Clock,
    start: Ticks,
}

impl Clock {
    /// Creates a clock. The first one in a process calibrates the counter,
    /// which takes up to 200 ms. Later ones take no time.
    pub(crate) fn new() -> Self {
        let counter = quanta::Clock::new();
        Self { start: counter.raw(), counter }
    }

    /// Creates a clock that only advances when the mock does.
    #[cfg(test)]
    pub(crate) fn mock() -> (Self, std::sync::Arc<quanta::Mock>) {
        let (counter, mock) = quanta::Clock::mock();
        (Self { start: counter.raw(), counter }, mock)
    }

    #[inline]
    pub(crate) fn ticks(&self) -> Ticks {
        self.counter.raw()
    }

    /// Returns the nanoseconds from `start` to `end`, or zero if `end` is
    /// earlier: the counters of two CPUs may differ slightly.
    #[inline]
    pub(crate) fn nanos(&self, start: Ticks, end: Ticks) -> u64 {
        self.counter.delta_as_nanos(start, end)
    }

    /// Returns the nanoseconds from the creation of this clock to a reading.
    /// Unlike the results of [`Self::unix_nanos`], these do not change when the
    /// system clock is set, so they can be compared with each other.
    pub(crate) fn since_start(&self, at: Ticks) -> u64 {
        self.nanos(self.start, at)
    }

    /// Returns the instant of a reading, in nanoseconds since the Unix epoch.
    /// Each call reads the wall clock again, so that it and the counter cannot
    /// drift apart in a long run.
    pub(crate) fn unix_nanos(&self, at: Ticks) -> u64 {
        let wall = unix_time::to_nanos(SystemTime::now());
        let now = self.ticks();
        (wall + self.nanos(now, at)).saturating_sub(self.nanos(at, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_reading_is_an_earlier_instant() {
        let clock = Clock::new();
        let first = clock.ticks();
        while clock.nanos(first, clock.ticks()) < 1_000_000 {}
        let second = clock.ticks();
        assert!(clock.nanos(first, second) >= 1_000_000);
        assert_eq!(clock.nanos(second, first), 0);
        assert!(clock.unix_nanos(first) < clock.unix_nanos(second));
    }
}
