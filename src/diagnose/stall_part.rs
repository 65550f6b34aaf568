//! What one call contributes to a stall.

use std::ops::Range;

use crate::diagnose::diagnosis::Diagnosis;
use crate::evidence::TimeSplit;

/// A call that took a part of a stall, or all of it.
#[derive(Debug)]
pub(crate) struct StallPart {
    pub(crate) diagnosis: Diagnosis,
    pub(crate) part: PartOfStall,
}

/// A part of a stall. The parts of a stall do not overlap, and add up to the
/// stall.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartOfStall {
    /// What the thread did in the part.
    pub(crate) times: TimeSplit,
    /// The part in the stall's duration, as if the parts followed one another
    /// in the order in which captures have found them.
    pub(crate) age_nanos: Range<u64>,
    pub(crate) has_no_stack: bool,
    /// Whether the part may have lasted longer: see [`StallEvidence`].
    ///
    /// [`StallEvidence`]: crate::evidence::StallEvidence
    pub(crate) is_lower_bound: bool,
    /// Whether the line of the part rests on one capture.
    pub(crate) is_sampled_once: bool,
}

impl PartOfStall {
    /// Returns the time in which the process was paused.
    pub(crate) fn paused_nanos(&self) -> u64 {
        let TimeSplit { run_queue, unknown, .. } = self.times;
        let length = self.age_nanos.end.saturating_sub(self.age_nanos.start);
        length.saturating_sub(self.times.own() + run_queue + unknown)
    }

    /// Takes own time from the part: waiting and on a CPU in proportion.
    pub(crate) fn take(&mut self, nanos: u64) -> TimeSplit {
        let nanos = nanos.min(self.times.own());
        let on_cpu = self.times.on_cpu_of(nanos).min(self.times.on_cpu);
        let off_cpu = (nanos - on_cpu).min(self.times.off_cpu);
        self.times.on_cpu -= on_cpu;
        self.times.off_cpu -= off_cpu;
        self.age_nanos.end = self.age_nanos.end.saturating_sub(on_cpu + off_cpu).max(self.age_nanos.start);
        TimeSplit { on_cpu, off_cpu, ..TimeSplit::default() }
    }

    /// Adds own time to the part.
    pub(crate) fn give(&mut self, times: TimeSplit) {
        self.times.on_cpu += times.on_cpu;
        self.times.off_cpu += times.off_cpu;
        self.age_nanos.end += times.own();
    }
}
