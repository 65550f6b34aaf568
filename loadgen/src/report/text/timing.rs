//! A distribution of times, on a terminal.

use super::units::duration;
use crate::report::document::Timing;

/// Returns the percentiles.
pub(super) fn timing(timing: &Timing) -> String {
    let Timing { p50_seconds, p90_seconds, p99_seconds, p999_seconds, max_seconds, .. } = *timing;
    format!(
        "p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
        duration(p50_seconds),
        duration(p90_seconds),
        duration(p99_seconds),
        duration(p999_seconds),
        duration(max_seconds),
    )
}
