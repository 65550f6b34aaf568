//! The stalls of a flight recording.

use crate::evidence::StallKey;
use crate::findings::recent::EndedStall;
use crate::findings::{Findings, OngoingStall};
use crate::record::polls_in_progress::PollsInProgress;
use crate::snapshot::{FlightStall, FlightThread};

impl Findings {
    /// Returns the recent stalls that had not ended by `since_nanos` of the
    /// recorder's clock, and all stalls in progress.
    #[cfg_attr(not(feature = "telemetry"), allow(dead_code))]
    pub(crate) fn flight_stalls(&self, since_nanos: u64, polls: &PollsInProgress) -> Vec<FlightStall> {
        let inner = self.0.lock();
        let ended = inner.recent.stalls().map(EndedStall::to_flight);
        let ongoing = inner.ongoing.iter().map(|(key, ongoing)| ongoing.to_flight(*key, polls));
        // A stall may be over although its end is not known yet.
        let is_recent = |stall: &FlightStall| stall.end_nanos.is_none_or(|end| end >= since_nanos);
        // The stalls as they were at the time of the polls.
        let now = polls.at.nanos;
        let at_now = |stall: FlightStall| {
            let end_nanos = stall.end_nanos.filter(|end| *end <= now);
            (stall.start_nanos < now).then_some(FlightStall { end_nanos, ..stall })
        };
        ended.chain(ongoing).filter(is_recent).filter_map(at_now).collect()
    }
}

impl EndedStall {
    fn to_flight(&self) -> FlightStall {
        FlightStall {
            thread: FlightThread { tid: self.tid, label: self.worker.clone() },
            poll: self.key,
            polls: self.polls,
            task: self.task.clone(),
            finding: self.finding.clone(),
            start_nanos: self.nanos.start,
            end_nanos: Some(self.nanos.end),
        }
    }
}

impl OngoingStall {
    /// If the poll is over, the stall ends where the latest message has shown
    /// it.
    fn to_flight(&self, key: StallKey, polls: &PollsInProgress) -> FlightStall {
        let is_in_progress = polls.keys.contains(&key);
        let last_seen = self.start_nanos.saturating_add(self.duration_nanos);
        FlightStall {
            thread: FlightThread { tid: self.tid, label: self.worker.clone() },
            poll: key,
            polls: 1,
            task: self.task.kind.clone(),
            finding: self.finding.clone(),
            start_nanos: self.start_nanos,
            end_nanos: (!is_in_progress).then_some(last_seen),
        }
    }
}
