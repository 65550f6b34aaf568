//! Time as the poll path reads it: the CPU's time stamp counter.

use std::time::{SystemTime, UNIX_EPOCH};

/// A reading of the counter, in ticks of unknown length. Only differences,
/// taken by [`Clock`], mean anything.
pub(crate) type Ticks = u64;

/// Reads the time stamp counter (about 10 ns), or the monotonic clock where
/// the counter is not invariant.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    counter: quanta::Clock,
    start: Ticks,
}

impl Clock {
    /// Calibrates the counter the first time in a process, which takes up to
    /// 200 ms; later ones are free.
    pub(crate) fn new() -> Self {
        let counter = quanta::Clock::new();
        Self { start: counter.raw(), counter }
    }

    /// A clock that stands still until it is told to go on.
    #[cfg(test)]
    pub(crate) fn mock() -> (Self, std::sync::Arc<quanta::Mock>) {
        let (counter, mock) = quanta::Clock::mock();
        (Self { start: counter.raw(), counter }, mock)
    }

    #[inline]
    pub(crate) fn ticks(&self) -> Ticks {
        self.counter.raw()
    }

    /// Nanoseconds from `start` to `end`; zero if `end` is earlier, as counters
    /// of two CPUs may differ by a little.
    #[inline]
    pub(crate) fn nanos(&self, start: Ticks, end: Ticks) -> u64 {
        self.counter.delta_as_nanos(start, end)
    }

    /// Nanoseconds from the making of this clock to a reading: instants that can
    /// be compared exactly.
    pub(crate) fn since_start(&self, at: Ticks) -> u64 {
        self.nanos(self.start, at)
    }

    /// The instant of a reading, in nanoseconds of the Unix epoch. The wall
    /// clock is read anew each time, so that it and the counter cannot drift
    /// apart in a long run.
    pub(crate) fn unix_nanos(&self, at: Ticks) -> u64 {
        let wall = unix_nanos_now();
        let now = self.ticks();
        (wall + self.nanos(now, at)).saturating_sub(self.nanos(at, now))
    }
}

/// Now, in nanoseconds of the Unix epoch; zero if the clock is set before it.
pub(crate) fn unix_nanos_now() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
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
