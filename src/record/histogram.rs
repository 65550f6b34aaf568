//! A histogram of nanoseconds that one thread writes without read-modify-write
//! and any thread may read.
//!
//! Buckets are log-linear: up to 64 ns they are 4 ns wide, every power of two
//! above has 16, so that a bucket is at most 1/16 of its value wide. Counts
//! have 32 bits, which keeps a kind below 4 KB a worker; a bucket that is half
//! full is carried over into 64 bits: see [`CarriedCounts`].

use std::sync::MutexGuard;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use crate::lock::Lock;
use crate::snapshot::HistogramSnapshot;

/// Buckets of a power of two: 2 to this.
const SUB_BITS: u32 = 4;
const SUB: usize = 1 << SUB_BITS;
/// Nanoseconds of the narrowest bucket: 2 to this.
const UNIT_BITS: u32 = 2;
/// Values from here on share the last bucket: 2^34 ns, about 17 s.
const MAX_BITS: u32 = 34;
const BUCKETS: usize = (MAX_BITS - UNIT_BITS - SUB_BITS) as usize * SUB + SUB;

/// A bucket is carried over at this count, and may go on to twice that while
/// somebody reads.
const HALF_FULL: u32 = 1 << 31;

/// A total with a single writer.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    /// Adds `n`. Only the owning thread may call it: a load and a store, not a
    /// read-modify-write, so a second writer's additions would be lost.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// The larger of itself and `n`; for the owning thread only.
    #[inline]
    pub(crate) fn raise_to(&self, n: u64) {
        if n > self.0.load(Relaxed) {
            self.0.store(n, Relaxed);
        }
    }
}

/// All zero bytes are an empty histogram: see `worker.rs`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Histogram {
    sum: Tally,
    max: Tally,
    /// The smallest value, as its complement, so that zero means none yet.
    min: Tally,
    buckets: [AtomicU32; BUCKETS],
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            sum: Tally::default(),
            max: Tally::default(),
            min: Tally::default(),
            buckets: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// For the owning thread only.
    #[inline]
    pub(crate) fn record(&self, nanos: u64, carried: &CarriedCounts) {
        // At least 1, so that a sum of zero means empty.
        self.sum.add(nanos.max(1));
        self.max.raise_to(nanos);
        self.min.raise_to(!nanos);
        let bucket = &self.buckets[bucket_of(nanos)];
        let count = bucket.load(Relaxed).wrapping_add(1);
        bucket.store(count, Relaxed);
        if count >= HALF_FULL {
            carried.take_from(bucket);
        }
    }

    /// Whether nothing was recorded; touches none of the buckets.
    pub(crate) fn is_empty(&self) -> bool {
        self.sum.get() == 0
    }

    /// Adds what was recorded to a snapshot while it may go on. No value is
    /// lost or counted twice; the last few may show in the buckets and not yet
    /// in the sum, or the other way round.
    pub(crate) fn add_to(&self, into: &mut HistogramSnapshot, carried: &CarriedCountsGuard<'_>) {
        if self.is_empty() {
            return;
        }
        let touched = bucket_of(!self.min.get())..=bucket_of(self.max.get());
        let buckets = touched.filter_map(|index| {
            let bucket = self.buckets.get(index)?;
            let count = u64::from(bucket.load(Relaxed)) + carried.of(bucket);
            (count > 0).then(|| (highest_of(index), count))
        });
        into.add_buckets(buckets);
        into.sum += Duration::from_nanos(self.sum.get());
        into.max = into.max.max(Duration::from_nanos(self.max.get()));
    }

    /// The snapshot of a histogram that stands alone.
    pub(crate) fn snapshot(&self, carried: &CarriedCounts) -> HistogramSnapshot {
        let mut snapshot = HistogramSnapshot::default();
        self.add_to(&mut snapshot, &carried.table());
        snapshot
    }
}

/// What buckets held beyond their 32 bits, each under its address.
///
/// A reader holds the lock from before it reads the first bucket, so that no
/// bucket is carried over between two of its looks. The writer never waits: a
/// bucket has room for two thousand million values more until it finds the
/// lock free, and asks for it once in two thousand million values.
#[derive(Debug)]
pub(crate) struct CarriedCounts(Lock<Vec<(usize, u64)>>);

/// Held by a reader.
pub(crate) struct CarriedCountsGuard<'c>(MutexGuard<'c, Vec<(usize, u64)>>);

impl CarriedCounts {
    pub(crate) fn new() -> Self {
        // Room enough for two hundred thousand million values.
        Self(Lock::new(Vec::with_capacity(64)))
    }

    #[cold]
    fn take_from(&self, bucket: &AtomicU32) {
        let Some(mut table) = self.0.try_lock() else { return };
        let key = address_of(bucket);
        match table.iter_mut().find(|(address, _)| *address == key) {
            Some((_, total)) => *total += u64::from(HALF_FULL),
            None => table.push((key, u64::from(HALF_FULL))),
        }
        bucket.store(bucket.load(Relaxed) - HALF_FULL, Relaxed);
    }

    pub(crate) fn table(&self) -> CarriedCountsGuard<'_> {
        CarriedCountsGuard(self.0.lock())
    }
}

impl CarriedCountsGuard<'_> {
    #[inline]
    fn of(&self, bucket: &AtomicU32) -> u64 {
        if self.0.is_empty() {
            return 0;
        }
        let key = address_of(bucket);
        self.0.iter().find(|(address, _)| *address == key).map_or(0, |(_, total)| *total)
    }
}

fn address_of(bucket: &AtomicU32) -> usize {
    std::ptr::from_ref(bucket).addr()
}

#[inline]
fn bucket_of(nanos: u64) -> usize {
    let value = nanos >> UNIT_BITS;
    let magnitude = 63 - (value | 1).leading_zeros();
    if magnitude >= MAX_BITS - UNIT_BITS {
        return BUCKETS - 1;
    }
    let shift = magnitude.saturating_sub(SUB_BITS);
    shift as usize * SUB + (value >> shift) as usize
}

/// The highest value that falls into a bucket.
fn highest_of(bucket: usize) -> u64 {
    if bucket == BUCKETS - 1 {
        return u64::MAX;
    }
    let shift = (bucket / SUB).saturating_sub(1);
    let low = ((bucket - shift * SUB) as u64) << shift;
    ((low + (1 << shift)) << UNIT_BITS) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_are_contiguous_and_narrow() {
        let mut expected_lowest = 0_u64;
        for bucket in 0..BUCKETS - 1 {
            let highest = highest_of(bucket);
            assert_eq!(bucket_of(expected_lowest), bucket);
            assert_eq!(bucket_of(highest), bucket);
            let width = highest - expected_lowest + 1;
            assert!(width == 4 || width * 16 <= expected_lowest, "bucket {bucket} is {width} wide");
            expected_lowest = highest + 1;
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_of(1 << MAX_BITS), BUCKETS - 1);
    }

    #[test]
    fn a_full_bucket_is_carried_over_and_nothing_is_lost() {
        let (histogram, carried) = (Histogram::new(), CarriedCounts::new());
        histogram.record(5, &carried);
        histogram.buckets[bucket_of(5)].store(HALF_FULL - 2, Relaxed);
        for expected in u64::from(HALF_FULL) - 1..u64::from(HALF_FULL) + 3 {
            histogram.record(5, &carried);
            assert_eq!(histogram.snapshot(&carried).count, expected);
        }
        assert_eq!(histogram.buckets[bucket_of(5)].load(Relaxed), 2);
        histogram.buckets[bucket_of(5)].store(HALF_FULL - 1, Relaxed);
        {
            let _reader = carried.table();
            histogram.record(5, &carried);
        }
        assert_eq!(histogram.snapshot(&carried).count, 2 * u64::from(HALF_FULL), "a reader was in the way");
        histogram.record(5, &carried);
        assert_eq!(histogram.snapshot(&carried).count, 2 * u64::from(HALF_FULL) + 1);
        assert_eq!(histogram.buckets[bucket_of(5)].load(Relaxed), 1);
    }

    proptest! {
        /// The same values in hdrhistogram, which has three significant figures
        /// here, and so an error of its own of a thousandth.
        #[test]
        fn quantiles_match_hdrhistogram(
            values in prop::collection::vec((0_u32..34, any::<u64>()), 1..400),
            quantile in 0.0_f64..=1.0,
        ) {
            let (histogram, carried) = (Histogram::new(), CarriedCounts::new());
            let mut reference = hdrhistogram::Histogram::<u64>::new(3).unwrap();
            let mut exact = Vec::new();
            for (bits, value) in values {
                // All magnitudes alike.
                let value = value % (1 << bits) + (1 << bits);
                histogram.record(value, &carried);
                reference.record(value).unwrap();
                exact.push(value);
            }
            let snapshot = histogram.snapshot(&carried);
            prop_assert_eq!(snapshot.count, exact.len() as u64);
            prop_assert_eq!(snapshot.sum, Duration::from_nanos(exact.iter().sum()));
            prop_assert_eq!(snapshot.max, Duration::from_nanos(*exact.iter().max().unwrap()));
            let ours = snapshot.quantile(quantile).as_nanos() as f64;
            let theirs = reference.value_at_quantile(quantile) as f64;
            prop_assert!(
                ours >= theirs * 0.998 - 4.0 && ours <= theirs * (1.0 + 1.0 / 16.0) * 1.002 + 4.0,
                "{}: {} against {}", quantile, ours, theirs
            );
        }

        /// Reading in between, and merging, changes nothing.
        #[test]
        fn merged_snapshots_are_the_snapshot_of_all(
            ours in prop::collection::vec(0_u64..1 << 40, 0..200),
            theirs in prop::collection::vec(0_u64..1 << 40, 0..200),
        ) {
            let carried = CarriedCounts::new();
            let [a, b, all] = std::array::from_fn(|_| Histogram::new());
            let mut last = HistogramSnapshot::default();
            for value in &ours {
                a.record(*value, &carried);
                all.record(*value, &carried);
                let now = a.snapshot(&carried);
                prop_assert_eq!(now.count, last.count + 1);
                prop_assert!(now.sum >= last.sum && now.max >= last.max);
                last = now;
            }
            for value in &theirs {
                b.record(*value, &carried);
                all.record(*value, &carried);
            }
            let mut merged = a.snapshot(&carried);
            merged.merge(&b.snapshot(&carried));
            prop_assert_eq!(merged, all.snapshot(&carried));
        }
    }

    #[test]
    fn a_reader_beside_the_writer_loses_nothing_and_never_goes_back() {
        let (histogram, carried) = (Histogram::new(), CarriedCounts::new());
        let (histogram, carried) = (&histogram, &carried);
        const VALUES: u64 = 300_000;
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                for n in 0..VALUES {
                    histogram.record(n % 100_000, carried);
                }
            });
            let mut last = HistogramSnapshot::default();
            while !writer.is_finished() {
                let now = histogram.snapshot(carried);
                assert!(now.count >= last.count && now.sum >= last.sum && now.max >= last.max);
                for (highest, count) in &last.buckets {
                    let same = now.buckets.iter().find(|(bound, _)| bound == highest);
                    assert!(same.is_some_and(|(_, now)| now >= count), "{highest}");
                }
                last = now;
            }
        });
        assert_eq!(histogram.snapshot(carried).count, VALUES);
    }
}
