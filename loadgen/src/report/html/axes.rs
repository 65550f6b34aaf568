//! The axes that several plots have.

use super::plot::{Axis, Scale};
use crate::report::document::Report;

/// Returns a time axis over the whole run, in seconds.
pub(super) fn time_axis(report: &Report) -> Axis {
    Axis::linear(0.0, report.load.timeline.bin_seconds * bin_count(report), "s")
}

/// Returns the number of bins of the run.
#[expect(clippy::cast_precision_loss, reason = "at most 200")]
pub(super) fn bin_count(report: &Report) -> f64 {
    report.load.timeline.bins.len() as f64
}

/// Returns a logarithmic axis that has all `values`, which are seconds.
pub(super) fn seconds_axis(values: &[(f64, f64)]) -> Scale {
    let values = values.iter().map(|&(_, seconds)| seconds).filter(|&seconds| seconds > 0.0);
    let (least, most) =
        values.fold((f64::MAX, 1e-6), |(least, most), value| (value.min(least), value.max(most)));
    Scale::log_seconds(least.min(most), most)
}
