//! Histograms of nanoseconds.

use std::time::Duration;

use hdrhistogram::{Counter, Histogram};

use crate::plan::nanoseconds;

/// Times above an hour count as an hour.
const MAX_NS: u64 = 3_600_000_000_000;

/// Returns an empty histogram with the precision of the report's figures.
pub(crate) fn histogram() -> Histogram<u64> {
    with_digits(3)
}

/// Returns an empty histogram for times up to `longest`, and at least up to an
/// hour, with the precision of the report's figures.
pub(super) fn histogram_up_to(longest: Duration) -> Histogram<u64> {
    Histogram::new_with_bounds(1, nanoseconds(longest).max(MAX_NS), 3).expect("the bounds are right")
}

/// Returns an empty histogram with `digits` significant digits. Its memory is
/// fixed, and two of the same precision can always be added up.
pub(crate) fn with_digits<T: Counter>(digits: u8) -> Histogram<T> {
    Histogram::new_with_bounds(1, MAX_NS, digits).expect("the bounds are constant and right")
}
