//! A histogram of nanoseconds that one thread writes without read-modify-write
//! and any thread may read.
//!
//! Buckets are log-linear. Up to 64 ns they are 4 ns wide. Above that, each
//! power of two has 16 buckets, so that the width of a bucket is at most 1/16
//! of its values. Counts have 32 bits, so that a kind takes less than 4 KB for
//! each worker. The count of a bucket that is half full is carried over into 64
//! bits: see [`CarriedCounts`].

use std::sync::MutexGuard;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::lock::Lock;
use crate::record::single_writer::SingleWriterU64;
use crate::snapshot::HistogramSnapshot;

/// Each power of two has 2^4 buckets.
const SUB_BUCKET_BITS: u32 = 4;
const SUB_BUCKETS: usize = 1 << SUB_BUCKET_BITS;
/// The narrowest buckets are 2^2 ns wide.
const UNIT_BITS: u32 = 2;
/// All values of 2^34 ns (about 17 s) and more share the last bucket.
const MAX_BITS: u32 = 34;
const BUCKETS: usize = (MAX_BITS - UNIT_BITS - SUB_BUCKET_BITS) as usize * SUB_BUCKETS + SUB_BUCKETS;

/// The count at which a bucket is carried over. While a reader delays this, the
/// count can grow to almost twice this value.
const HALF_FULL: u32 = 1 << 31;

/// A histogram with one writer. All zero bytes are an empty histogram: see
/// `worker.rs`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Histogram {
    sum: SingleWriterU64,
    max: SingleWriterU64,
    /// The complement of the index of the lowest bucket that has a value, so
    /// that zero means no value yet.
    lowest: SingleWriterU64,
    buckets: [AtomicU32; BUCKETS],
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            sum: SingleWriterU64::default(),
            max: SingleWriterU64::default(),
            lowest: SingleWriterU64::default(),
            buckets: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    /// Records a value. Only the owning thread may call it.
    #[inline]
    pub(crate) fn record(&self, nanos: u64, carried: &CarriedCounts) {
        self.sum.add(nanos);
        self.max.raise_to(nanos);
        let index = bucket_index(nanos);
        let bucket = &self.buckets[index];
        let before = bucket.load(Relaxed);
        bucket.store(before.wrapping_add(1), Relaxed);
        // Zero, or about to be half full: one comparison finds both.
        if before.wrapping_sub(1) >= HALF_FULL - 2 {
            self.counted_rarely(index, before, carried);
        }
    }

    /// Notes a first value of a bucket, or carries over a bucket that is half
    /// full.
    #[cold]
    fn counted_rarely(&self, index: usize, before: u32, carried: &CarriedCounts) {
        if before == 0 {
            self.lowest.raise_to(!(index as u64));
        } else {
            carried.carry_over(&self.buckets[index]);
        }
    }

    /// Returns whether nothing was recorded. Does not access the buckets.
    pub(crate) fn is_empty(&self) -> bool {
        self.lowest.get() == 0
    }

    /// Adds the recorded values to a snapshot. The writer may record at the
    /// same time. No value is lost or counted twice, but the last few may be in
    /// the buckets and not yet in the sum, or the other way round.
    pub(crate) fn add_to(&self, into: &mut HistogramSnapshot, carried: &CarriedCountsGuard<'_>) {
        if self.is_empty() {
            return;
        }
        let touched = !self.lowest.get() as usize..=bucket_index(self.max.get());
        let buckets = touched.filter_map(|index| {
            let bucket = self.buckets.get(index)?;
            let count = u64::from(bucket.load(Relaxed)) + carried.get(bucket);
            (count > 0).then(|| (Duration::from_nanos(highest_value(index)), count))
        });
        into.add_buckets(buckets);
        into.sum += Duration::from_nanos(self.sum.get());
        into.max = into.max.max(Duration::from_nanos(self.max.get()));
    }

    /// Returns a snapshot of this histogram alone.
    pub(crate) fn snapshot(&self, carried: &CarriedCounts) -> HistogramSnapshot {
        let mut snapshot = HistogramSnapshot::default();
        self.add_to(&mut snapshot, &carried.read());
        snapshot
    }
}

/// The counts that buckets carried over from their 32 bits, by bucket address.
///
/// A reader takes the lock before it reads the first bucket, so that no bucket
/// is carried over during the reading. The writer never waits: it only tries
/// the lock, for each 2^31 values of a bucket. If a reader holds the lock, the
/// bucket can count 2^31 more values until the lock is free.
#[derive(Debug)]
pub(crate) struct CarriedCounts(Lock<Vec<(usize, u64)>>);

/// The carried counts, locked by a reader.
pub(crate) struct CarriedCountsGuard<'c>(MutexGuard<'c, Vec<(usize, u64)>>);

impl CarriedCounts {
    pub(crate) fn new() -> Self {
        // 64 buckets: enough for more than 10^11 values.
        Self(Lock::new(Vec::with_capacity(64)))
    }

    /// Carries over half of what a bucket can count, unless a reader holds the
    /// lock.
    #[cold]
    fn carry_over(&self, bucket: &AtomicU32) {
        let Some(mut table) = self.0.try_lock() else { return };
        let key = address(bucket);
        match table.iter_mut().find(|(address, _)| *address == key) {
            Some((_, total)) => *total += u64::from(HALF_FULL),
            None => table.push((key, u64::from(HALF_FULL))),
        }
        bucket.store(bucket.load(Relaxed) - HALF_FULL, Relaxed);
    }

    /// Locks the counts for a reader.
    pub(crate) fn read(&self) -> CarriedCountsGuard<'_> {
        CarriedCountsGuard(self.0.lock())
    }
}

impl CarriedCountsGuard<'_> {
    #[inline]
    fn get(&self, bucket: &AtomicU32) -> u64 {
        if self.0.is_empty() {
            return 0;
        }
        let key = address(bucket);
        self.0.iter().find(|(address, _)| *address == key).map_or(0, |(_, total)| *total)
    }
}

fn address(bucket: &AtomicU32) -> usize {
    std::ptr::from_ref(bucket).addr()
}

#[inline]
fn bucket_index(nanos: u64) -> usize {
    // All higher values share the bucket of this one.
    let value = (nanos >> UNIT_BITS).min((1 << (MAX_BITS - UNIT_BITS)) - 1) as u32;
    let magnitude = 31 - (value | SUB_BUCKETS as u32).leading_zeros();
    let shift = magnitude - SUB_BUCKET_BITS;
    shift as usize * SUB_BUCKETS + (value >> shift) as usize
}

/// Returns the highest value that belongs to a bucket.
fn highest_value(bucket: usize) -> u64 {
    if bucket == BUCKETS - 1 {
        return u64::MAX;
    }
    let shift = (bucket / SUB_BUCKETS).saturating_sub(1);
    let low = ((bucket - shift * SUB_BUCKETS) as u64) << shift;
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
            let highest = highest_value(bucket);
            assert_eq!(bucket_index(expected_lowest), bucket);
            assert_eq!(bucket_index(highest), bucket);
            let width = highest - expected_lowest + 1;
            assert!(width == 4 || width * 16 <= expected_lowest, "bucket {bucket} is {width} wide");
            expected_lowest = highest + 1;
        }
        assert_eq!(bucket_index(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_index(1 << MAX_BITS), BUCKETS - 1);
    }

    #[test]
    fn a_full_bucket_is_carried_over_and_nothing_is_lost() {
        let (histogram, carried) = (Histogram::new(), CarriedCounts::new());
        histogram.record(5, &carried);
        histogram.buckets[bucket_index(5)].store(HALF_FULL - 2, Relaxed);
        for expected in u64::from(HALF_FULL) - 1..u64::from(HALF_FULL) + 3 {
            histogram.record(5, &carried);
            assert_eq!(histogram.snapshot(&carried).count, expected);
        }
        assert_eq!(histogram.buckets[bucket_index(5)].load(Relaxed), 2);
        histogram.buckets[bucket_index(5)].store(HALF_FULL - 1, Relaxed);
        {
            let _reader = carried.read();
            histogram.record(5, &carried);
        }
        assert_eq!(
            histogram.snapshot(&carried).count,
            2 * u64::from(HALF_FULL),
            "a reader delayed the carry-over"
        );
        histogram.record(5, &carried);
        assert_eq!(histogram.snapshot(&carried).count, 2 * u64::from(HALF_FULL) + 1);
        assert_eq!(histogram.buckets[bucket_index(5)].load(Relaxed), 1);
    }

    proptest! {
        /// hdrhistogram has three significant figures here, so its own error is
        /// up to a thousandth.
        #[test]
        fn quantiles_match_hdrhistogram(
            values in prop::collection::vec((0_u32..34, any::<u64>()), 1..400),
            quantile in 0.0_f64..=1.0,
        ) {
            let (histogram, carried) = (Histogram::new(), CarriedCounts::new());
            let mut reference = hdrhistogram::Histogram::<u64>::new(3).unwrap();
            let mut exact = Vec::new();
            for (bits, value) in values {
                // All magnitudes are equally likely.
                let value = value % (1 << bits) + (1 << bits);
                histogram.record(value, &carried);
                reference.record(value).unwrap();
                exact.push(value);
            }
            let snapshot = histogram.snapshot(&carried);
            prop_assert_eq!(snapshot.count, exact.len() as u64);
            prop_assert_eq!(snapshot.sum, Duration::from_nanos(exact.iter().sum()));
            prop_assert_eq!(snapshot.max, Duration::from_nanos(*exact.iter().max().unwrap()));
            let actual = snapshot.quantile(quantile).as_nanos() as f64;
            let expected = reference.value_at_quantile(quantile) as f64;
            prop_assert!(
                actual >= expected * 0.998 - 4.0 && actual <= expected * (1.0 + 1.0 / 16.0) * 1.002 + 4.0,
                "{}: {} against {}", quantile, actual, expected
            );
        }

        /// Neither a snapshot in between nor a merge changes the result.
        #[test]
        fn merged_snapshots_are_the_snapshot_of_all(
            left in prop::collection::vec(0_u64..1 << 40, 0..200),
            right in prop::collection::vec(0_u64..1 << 40, 0..200),
        ) {
            let carried = CarriedCounts::new();
            let [a, b, all] = std::array::from_fn(|_| Histogram::new());
            let mut last = HistogramSnapshot::default();
            for value in &left {
                a.record(*value, &carried);
                all.record(*value, &carried);
                let now = a.snapshot(&carried);
                prop_assert_eq!(now.count, last.count + 1);
                prop_assert!(now.sum >= last.sum && now.max >= last.max);
                last = now;
            }
            for value in &right {
                b.record(*value, &carried);
                all.record(*value, &carried);
            }
            let mut merged = a.snapshot(&carried);
            merged.merge(&b.snapshot(&carried));
            prop_assert_eq!(merged, all.snapshot(&carried));
        }
    }

    #[test]
    fn a_concurrent_reader_loses_nothing_and_counts_never_decrease() {
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
                    let current = now.buckets.iter().find(|(bound, _)| bound == highest);
                    assert!(current.is_some_and(|(_, now)| now >= count), "{highest:?}");
                }
                last = now;
            }
        });
        assert_eq!(histogram.snapshot(carried).count, VALUES);
    }
}
