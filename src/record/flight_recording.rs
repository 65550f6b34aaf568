//! What the flight recorders of all threads have kept.

use crate::record::clock::ClockReading;
use crate::record::kinds::KindId;
use crate::record::recorder::Recorder;
use crate::record::worker::Worker;
use crate::snapshot::{FlightPoll, FlightRecording, FlightThread};

impl Recorder {
    /// Returns the polls that had not ended by `since_nanos`, as they were at
    /// the time `at`, and no stalls.
    #[cfg_attr(not(feature = "telemetry"), allow(dead_code))]
    pub(crate) fn flight(&self, at: ClockReading, since_nanos: u64) -> FlightRecording {
        let workers = self.all_workers();
        let thread = |worker: &Worker| FlightThread { tid: worker.tid(), label: worker.label.to_string() };
        let threads = workers.iter().map(|worker| thread(worker)).collect();
        let polls = workers.iter().flat_map(|worker| self.flight_of(worker, at.nanos, since_nanos)).collect();
        let name = |index| self.kinds.get(KindId::from_u32(index as u32)).name.clone();
        let kinds = (0..self.kinds.len()).map(name).collect();
        FlightRecording { now: at.wall, now_nanos: at.nanos, threads, kinds, polls, stalls: Vec::new() }
    }

    fn flight_of(&self, worker: &Worker, now_nanos: u64, since_nanos: u64) -> Vec<FlightPoll> {
        // Read before the recorder: a poll that ends meanwhile is in both, and
        // not in none.
        let active = worker.active().filter(|poll| self.is_live() && !self.has_no_end_event(poll));
        let tid = worker.tid();
        let past = worker.flight.polls().into_iter().filter_map(|poll| {
            let [start_nanos, end] = [poll.start, poll.end].map(|ticks| self.clock.since_start(ticks));
            let is_included = start_nanos < now_nanos && end >= since_nanos;
            let end_nanos = (end <= now_nanos).then_some(end);
            is_included.then_some(FlightPoll { tid, kind: poll.kind.index(), start_nanos, end_nanos })
        });
        let mut polls: Vec<_> = past.collect();
        if let Some(active) = active {
            let start_nanos = self.clock.since_start(active.start);
            let has_ended =
                polls.iter().any(|poll| poll.end_nanos.is_none() && poll.start_nanos <= start_nanos);
            if now_nanos.saturating_sub(start_nanos) >= self.min_kept_nanos.max(1) && !has_ended {
                polls.push(FlightPoll { tid, kind: active.kind.index(), start_nanos, end_nanos: None });
            }
        }
        polls
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::record::poll_stack::{PollSource, PollStack};
    use crate::record::runtimes::WorkerLabel;

    /// Returns a recorder that keeps all polls, and a worker.
    fn polls() -> PollStack {
        let recorder = Arc::new(Recorder::new(Duration::ZERO));
        let label = WorkerLabel { runtime: "io".to_owned(), worker: "0".to_owned() };
        let worker = recorder.register(label, None, true);
        PollStack::new(recorder, worker)
    }

    fn pass_some_time(recorder: &Recorder) {
        let begin = recorder.clock.ticks();
        while recorder.clock.nanos(begin, recorder.clock.ticks()) < 10_000 {}
    }

    #[test]
    fn polls_that_follow_one_another_at_once_have_equal_times() {
        let polls = polls();
        let recorder = &polls.recorder;
        polls.begin(recorder.clock.ticks(), 1, KindId::OTHER, PollSource::Future);
        pass_some_time(recorder);
        polls.begin(recorder.clock.ticks(), 2, KindId::OTHER, PollSource::Future);
        pass_some_time(recorder);
        polls.end(PollSource::Future);
        let own_part = polls.worker.active().unwrap();
        pass_some_time(recorder);
        polls.end(PollSource::Future);
        pass_some_time(recorder);
        let flight = recorder.flight(recorder.clock.reading(), 0);
        let [inner, outer] = flight.polls[..] else { panic!("{flight:?}") };
        assert_eq!(inner.end_nanos, Some(recorder.clock.since_start(own_part.start)));
        assert!(outer.start_nanos < inner.start_nanos && outer.end_nanos > inner.end_nanos);
        let later = recorder.flight(recorder.clock.reading(), 0);
        assert_eq!(flight.polls, later.polls, "the age of a poll does not move it");
        assert_eq!(flight.threads[0].label, "io/0");
        #[cfg(target_os = "linux")]
        assert_eq!(i64::from(inner.tid), i64::from(crate::os::current_thread().unwrap().tid));
    }

    #[test]
    fn a_recording_shows_the_polls_as_they_were_at_its_time() {
        let polls = polls();
        let recorder = &polls.recorder;
        let before = recorder.clock.reading();
        pass_some_time(recorder);
        polls.begin(recorder.clock.ticks(), 1, KindId::OTHER, PollSource::Future);
        pass_some_time(recorder);
        let during = recorder.clock.reading();
        let in_progress = recorder.flight(during, 0);
        polls.end(PollSource::Future);
        pass_some_time(recorder);
        let [poll] = in_progress.polls[..] else { panic!("{in_progress:?}") };
        assert_eq!((poll.end_nanos, in_progress.now_nanos), (None, during.nanos));
        assert_eq!(recorder.flight(during, 0).polls, [poll], "it has ended after that time");
        assert_eq!(recorder.flight(before, 0).polls, [], "it has begun after that time");
        let after = recorder.clock.reading();
        let [ended] = recorder.flight(after, 0).polls[..] else { panic!("one poll") };
        assert!(ended.start_nanos == poll.start_nanos && ended.end_nanos.is_some());
        assert_eq!(recorder.flight(after, after.nanos).polls, [], "it has ended before that time");
    }
}
