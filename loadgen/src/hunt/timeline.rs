//! The stalls of a run over time, by finding.

use std::collections::{BTreeMap, HashMap};

/// The times of one stall, and its finding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FindingStall {
    /// When it began, in nanoseconds; all stalls use the same clock.
    pub(crate) start_ns: i64,
    /// When it ended.
    pub(crate) end_ns: i64,
    /// The index of its finding.
    pub(crate) finding: usize,
}

/// A segment of time in which the same findings blocked the server.
#[derive(Debug, Clone)]
struct Segment {
    start_ns: i64,
    end_ns: i64,
    /// In ascending order, without duplicates.
    findings: Vec<usize>,
}

/// The part of a segment that belongs to one finding.
#[derive(Debug, Clone, Copy)]
struct Piece {
    start_ns: i64,
    end_ns: i64,
    /// The finding's part of each nanosecond: from 0 to 1.
    weight: f64,
    /// The sum of the finding's parts of all earlier segments, in nanoseconds.
    before_ns: f64,
}

/// The stalls of a run over time.
///
/// Where stalls of several findings overlap on several workers, each of these
/// findings gets an equal part of that time. Overlapping stalls of one finding
/// count once. So the sum of all parts never exceeds the time that passed.
#[derive(Debug, Default)]
pub(crate) struct StallTimeline {
    segments: Vec<Segment>,
    /// By finding.
    pieces: Vec<Vec<Piece>>,
}

impl StallTimeline {
    /// Returns the timeline of the stalls of `findings` findings.
    pub(crate) fn new(stalls: &[FindingStall], findings: usize) -> Self {
        let segments = segments(stalls);
        let mut pieces: Vec<Vec<Piece>> = vec![Vec::new(); findings];
        for segment in &segments {
            #[expect(clippy::cast_precision_loss, reason = "the number of findings is small")]
            let weight = 1.0 / segment.findings.len() as f64;
            for &finding in &segment.findings {
                let Some(pieces) = pieces.get_mut(finding) else { continue };
                let before_ns = pieces.last().map_or(0.0, |last| last.before_ns + last.part(i64::MAX));
                pieces.push(Piece { start_ns: segment.start_ns, end_ns: segment.end_ns, weight, before_ns });
            }
        }
        Self { segments, pieces }
    }

    /// Returns how many nanoseconds between `start_ns` and `end_ns` belong to
    /// `finding`.
    pub(crate) fn part_ns(&self, finding: usize, start_ns: i64, end_ns: i64) -> f64 {
        (self.part_until_ns(finding, end_ns) - self.part_until_ns(finding, start_ns)).max(0.0)
    }

    /// Returns the time, in nanoseconds, between the end of a stall and the
    /// arrival of a delivery, and the findings of that stall. The delivery
    /// waits from `start_ns` to `end_ns`; the stall is the last one in which it
    /// waits. Returns `None` if there is no such stall, or if it does not end
    /// before the arrival.
    pub(crate) fn time_after_last_stall(&self, start_ns: i64, end_ns: i64) -> Option<(i64, &[usize])> {
        let started = self.segments.partition_point(|segment| segment.start_ns < end_ns);
        let last = self.segments.get(started.checked_sub(1)?)?;
        let after = end_ns - last.end_ns;
        (last.end_ns > start_ns && after > 0).then_some((after, &*last.findings))
    }

    /// Returns how many nanoseconds before `at_ns` belong to `finding`.
    fn part_until_ns(&self, finding: usize, at_ns: i64) -> f64 {
        let Some(pieces) = self.pieces.get(finding) else { return 0.0 };
        let started = pieces.partition_point(|piece| piece.start_ns < at_ns);
        let last = started.checked_sub(1).and_then(|last| pieces.get(last));
        last.map_or(0.0, |piece| piece.before_ns + piece.part(at_ns))
    }
}

impl Piece {
    #[expect(clippy::cast_precision_loss, reason = "segments are far shorter than 2^53 ns")]
    fn part(&self, until_ns: i64) -> f64 {
        (self.end_ns.min(until_ns) - self.start_ns) as f64 * self.weight
    }
}

/// Divides the time at every begin and end of a stall.
fn segments(stalls: &[FindingStall]) -> Vec<Segment> {
    let stalls = stalls.iter().filter(|stall| stall.start_ns < stall.end_ns);
    let mut changes: BTreeMap<i64, Vec<(usize, bool)>> = BTreeMap::new();
    for stall in stalls {
        changes.entry(stall.start_ns).or_default().push((stall.finding, true));
        changes.entry(stall.end_ns).or_default().push((stall.finding, false));
    }
    let mut segments = Vec::new();
    let mut running: HashMap<usize, usize> = HashMap::new();
    let mut since = i64::MIN;
    for (at_ns, changes) in changes {
        if !running.is_empty() {
            let mut findings: Vec<_> = running.keys().copied().collect();
            findings.sort_unstable();
            segments.push(Segment { start_ns: since, end_ns: at_ns, findings });
        }
        for (finding, begins) in changes {
            let count = running.entry(finding).or_default();
            *count = if begins { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                running.remove(&finding);
            }
        }
        since = at_ns;
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn stall(finding: usize, start_ns: i64, end_ns: i64) -> FindingStall {
        FindingStall { start_ns, end_ns, finding }
    }

    #[track_caller]
    fn assert_part(timeline: &StallTimeline, finding: usize, start: i64, end: i64, expected: f64) {
        let part = timeline.part_ns(finding, start, end);
        assert!((part - expected).abs() < 1e-9, "{part} instead of {expected}");
    }

    #[test]
    fn overlapping_findings_share_the_common_time() {
        let timeline = StallTimeline::new(&[stall(0, 100, 200), stall(1, 150, 300)], 2);
        assert_part(&timeline, 0, 0, 1000, 75.0);
        assert_part(&timeline, 1, 0, 1000, 125.0);
        assert_part(&timeline, 0, 120, 160, 35.0);
        assert_part(&timeline, 1, 120, 160, 5.0);
        assert_part(&timeline, 1, 300, 1000, 0.0);
        assert_part(&timeline, 7, 0, 1000, 0.0);
    }

    #[test]
    fn two_workers_in_the_same_call_count_once() {
        let timeline = StallTimeline::new(&[stall(0, 0, 100), stall(0, 50, 150), stall(0, 150, 200)], 1);
        assert_part(&timeline, 0, -50, 500, 200.0);
        assert_part(&timeline, 0, 90, 160, 70.0);
    }

    #[test]
    fn adjacent_and_empty_stalls_leave_no_open_segment() {
        let timeline =
            StallTimeline::new(&[stall(0, 10, 20), stall(0, 20, 30), stall(0, 40, 40), stall(1, 60, 50)], 2);
        assert_part(&timeline, 0, 0, 100, 20.0);
        assert_part(&timeline, 1, 0, 100, 0.0);
    }

    #[test]
    fn the_time_after_a_stall_counts_from_the_last_stall_in_which_a_delivery_waited() {
        let timeline = StallTimeline::new(&[stall(0, 100, 200), stall(1, 150, 300)], 2);
        assert_eq!(timeline.time_after_last_stall(250, 340), Some((40, &[1][..])));
        assert_eq!(timeline.time_after_last_stall(250, 290), None, "the stall is ongoing");
        assert_eq!(timeline.time_after_last_stall(300, 340), None, "due after the stall");
        assert_eq!(timeline.time_after_last_stall(0, 90), None, "arrived before the stall");
        let timeline = StallTimeline::new(&[stall(0, 100, 200), stall(1, 100, 200)], 2);
        assert_eq!(timeline.time_after_last_stall(100, 210), Some((10, &[0, 1][..])));
    }
}
