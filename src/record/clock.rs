//! The clock of the poll path: the CPU's time stamp counter.

use std::time::{Duration, SystemTime};

use crate::record::time_stamp_counter;

/// A reading of the counter, in ticks of unknown length. Only differences that
/// [`Clock`] computes are meaningful.
pub(crate) type Ticks = u64;

/// Reads the time stamp counter (10 to 18 ns), or the monotonic clock where the
/// counter is not invariant.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    counter: quanta::Clock,
    /// Whether `counter` reads the time stamp counter. Then it is read here,
    /// without a call and without a choice between types of clocks.
    is_time_stamp: bool,
    /// Nanoseconds per tick, as a multiple of 1/2^32 ([`SCALE_BITS`]).
    scale: u64,
    /// The most ticks whose product with `scale` has 64 bits.
    max_narrow_ticks: u64,
    start: Ticks,
}

const SCALE_BITS: u32 = 32;

impl Clock {
    /// Creates a clock. The first one in a process calibrates the counter,
    /// which takes up to 200 ms. Later ones take no time.
    pub(crate) fn new() -> Self {
        Self::from_counter(quanta::Clock::new())
    }

    /// Creates a clock that only advances when the mock does.
    #[cfg(test)]
    pub(crate) fn mock() -> (Self, std::sync::Arc<quanta::Mock>) {
        let (counter, mock) = quanta::Clock::mock();
        // No real reading is zero.
        mock.increment(1_u64);
        (Self::from_counter(counter), mock)
    }

    fn from_counter(counter: quanta::Clock) -> Self {
        let scale = counter.delta_as_nanos(0, 1 << SCALE_BITS).max(1);
        // A tick of the other clocks is a nanosecond. If the counter's tick is
        // one too, the call below is only slower.
        let has_own_ticks = scale != 1 << SCALE_BITS;
        Self {
            is_time_stamp: has_own_ticks && time_stamp_counter::is_read_by(|| counter.raw()),
            scale,
            max_narrow_ticks: u64::MAX / scale,
            start: counter.raw(),
            counter,
        }
    }

    #[inline]
    pub(crate) fn ticks(&self) -> Ticks {
        if self.is_time_stamp { time_stamp_counter::read() } else { self.counter.raw() }
    }

    /// Returns the nanoseconds from `start` to `end`, or zero if `end` is
    /// earlier: the counters of two CPUs may differ slightly.
    #[inline]
    pub(crate) fn nanos(&self, start: Ticks, end: Ticks) -> u64 {
        let ticks = end.saturating_sub(start);
        // A product of 128 bits takes several times as many instructions.
        if ticks <= self.max_narrow_ticks {
            (ticks * self.scale) >> SCALE_BITS
        } else {
            ((u128::from(ticks) * u128::from(self.scale)) >> SCALE_BITS) as u64
        }
    }

    /// Returns the nanoseconds from the creation of this clock to a reading.
    /// They do not change when the wall clock is set, so they can be compared
    /// with each other.
    pub(crate) fn since_start(&self, at: Ticks) -> u64 {
        self.nanos(self.start, at)
    }

    /// Reads this clock and the wall clock at the same time.
    pub(crate) fn reading(&self) -> ClockReading {
        ClockReading { wall: SystemTime::now(), nanos: self.since_start(self.ticks()) }
    }
}

/// The same instant by the recorder's clock and by the wall clock.
///
/// Times are stored by the recorder's clock, because the wall clock may be set
/// at any time. All times of one document are converted with one reading, which
/// is also the document's own time. So the intervals between them are right
/// whatever happened to the wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockReading {
    pub(crate) wall: SystemTime,
    /// Nanoseconds since the creation of the recorder's clock.
    pub(crate) nanos: u64,
}

impl ClockReading {
    /// Converts a time of the recorder's clock to the wall clock.
    pub(crate) fn wall_at(&self, nanos: u64) -> SystemTime {
        let before = Duration::from_nanos(self.nanos.saturating_sub(nanos));
        let after = Duration::from_nanos(nanos.saturating_sub(self.nanos));
        let at = self.wall.checked_sub(before).unwrap_or(SystemTime::UNIX_EPOCH);
        at.max(SystemTime::UNIX_EPOCH) + after
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
        let reading = clock.reading();
        let [first, second] = [first, second].map(|ticks| reading.wall_at(clock.since_start(ticks)));
        assert!(first < second && second <= reading.wall);
    }

    #[test]
    fn ticks_are_converted_as_the_counter_converts_them() {
        let (mock, _) = Clock::mock();
        for clock in [Clock::new(), mock] {
            for bits in 0..52 {
                let ticks = (1_u64 << bits) + bits;
                let expected = clock.counter.delta_as_nanos(100, 100 + ticks);
                let tolerance = (expected >> (SCALE_BITS - 3)) + 1;
                assert!(clock.nanos(100, 100 + ticks).abs_diff(expected) <= tolerance, "{ticks} ticks");
            }
        }
    }

    #[test]
    fn a_reading_is_one_of_the_counter() {
        let clock = Clock::new();
        let is_between = |_| {
            let [before, reading, after] = [clock.counter.raw(), clock.ticks(), clock.counter.raw()];
            (before..=after).contains(&reading)
        };
        // The thread may move between CPUs whose counters differ slightly.
        assert!((0..1_000).any(is_between));
    }

    #[test]
    fn a_wall_clock_that_was_set_keeps_the_intervals() {
        let reading = ClockReading { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000), nanos: 500 };
        let later = reading.wall_at(700);
        assert_eq!(later.duration_since(reading.wall_at(300)).unwrap(), Duration::from_nanos(400));
        assert_eq!(reading.wall_at(500), reading.wall);
        let at_epoch = ClockReading { wall: SystemTime::UNIX_EPOCH, nanos: 500 };
        assert_eq!(at_epoch.wall_at(100), SystemTime::UNIX_EPOCH, "before the epoch");
    }
}
