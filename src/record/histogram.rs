//! A histogram of nanoseconds that one thread writes without read-modify-write
//! and any thread may read.
//!
//! Buckets are log-linear: values below 32 have a bucket each, every power of
//! two above has 32, so that a bucket is at most 1/32 of its value wide.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::HistogramSnapshot;

/// Buckets of a power of two: 2 to this.
const SUB_BITS: u32 = 5;
const SUB: usize = 1 << SUB_BITS;
/// Values from here on share the last bucket: 2^41 ns, about 37 minutes.
const MAX_BITS: u32 = 41;
const BUCKETS: usize = (MAX_BITS - SUB_BITS) as usize * SUB + SUB;

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

    #[inline]
    fn raise_to(&self, n: u64) {
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
    buckets: [Tally; BUCKETS],
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            sum: Tally::default(),
            max: Tally::default(),
            buckets: std::array::from_fn(|_| Tally::default()),
        }
    }

    #[inline]
    pub(crate) fn record(&self, nanos: u64) {
        // At least 1, so that a sum of zero means empty.
        self.sum.add(nanos.max(1));
        self.max.raise_to(nanos);
        self.buckets[bucket_of(nanos)].add(1);
    }

    /// Sum of all values; cheaper than a snapshot.
    pub(crate) fn sum_nanos(&self) -> u64 {
        self.sum.get()
    }

    /// Whether nothing was recorded; touches none of the buckets.
    pub(crate) fn is_empty(&self) -> bool {
        self.sum.get() == 0
    }

    /// How many values; cheaper than a snapshot.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(Tally::get).sum()
    }

    /// Reads it while it may be written. No value is lost or counted twice;
    /// the last few may show in the buckets and not yet in the sum.
    pub(crate) fn snapshot(&self) -> HistogramSnapshot {
        let buckets: Vec<(u64, u64)> = self
            .buckets
            .iter()
            .enumerate()
            .map(|(index, count)| (highest_of(index), count.get()))
            .filter(|(_, count)| *count > 0)
            .collect();
        HistogramSnapshot {
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
            sum: Duration::from_nanos(self.sum.get()),
            max: Duration::from_nanos(self.max.get()),
        }
    }
}

#[inline]
fn bucket_of(value: u64) -> usize {
    let magnitude = 63 - (value | 1).leading_zeros();
    if magnitude >= MAX_BITS {
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
    low + (1 << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_narrow() {
        let mut expected_lowest = 0_u64;
        for bucket in 0..BUCKETS - 1 {
            let highest = highest_of(bucket);
            assert_eq!(bucket_of(expected_lowest), bucket);
            assert_eq!(bucket_of(highest), bucket);
            let width = highest - expected_lowest + 1;
            assert!(width == 1 || width * 32 <= expected_lowest, "bucket {bucket} is {width} wide");
            expected_lowest = highest + 1;
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_of(1 << MAX_BITS), BUCKETS - 1);
    }

    #[test]
    fn a_snapshot_holds_count_sum_max_and_quantiles() {
        let histogram = Histogram::new();
        for value in 1..=10_000_u64 {
            histogram.record(value * 1_000);
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count, 10_000);
        assert_eq!(snapshot.sum, Duration::from_nanos(50_005_000_000));
        assert_eq!(snapshot.max, Duration::from_millis(10));
        for quantile in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let exact = (quantile * 10_000.0 * 1_000.0) as u64;
            let read = snapshot.quantile(quantile).as_nanos() as u64;
            assert!(read >= exact && read <= exact + exact / 31, "{quantile}: {read} for {exact}");
        }
    }

    #[test]
    fn quantiles_match_hdrhistogram() {
        let histogram = Histogram::new();
        let mut reference = hdrhistogram::Histogram::<u64>::new(3).unwrap();
        let mut value = 1_u64;
        for _ in 0..50_000 {
            // A multiplicative generator spreads the values over all magnitudes.
            value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let sample = (value >> 24) % (1 << (value % 36 + 4));
            histogram.record(sample);
            reference.record(sample).unwrap();
        }
        let snapshot = histogram.snapshot();
        for quantile in [0.1, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let (ours, theirs) =
                (snapshot.quantile(quantile).as_nanos() as f64, reference.value_at_quantile(quantile) as f64);
            assert!((ours - theirs).abs() <= theirs * 0.035 + 1.0, "{quantile}: {ours} against {theirs}");
        }
    }
}
