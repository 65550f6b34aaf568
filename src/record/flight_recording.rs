//! What the flight recorders of all threads have kept.

use std::sync::Arc;
use std::time::Duration;

use crate::record::clock::ClockReading;
use crate::record::flight_recorder::PastPoll;
use crate::record::kinds::KindId;
use crate::record::recorder::Recorder;
use crate::record::worker::Worker;
use crate::snapshot::{FlightPoll, FlightRecording, FlightThread, RecordedPolls, WorkerPolls};

impl Recorder {
    /// Returns the polls that had not ended by `since_nanos`, as they were at
    /// the time `at`, and no stalls.
    #[cfg_attr(not(feature = "telemetry"), allow(dead_code))]
    pub(crate) fn flight(&self, at: ClockReading, since_nanos: u64) -> FlightRecording {
        let workers = self.all_workers();
        let thread = |worker: &Worker| FlightThread { tid: worker.tid(), label: worker.label.to_string() };
        let threads = workers.iter().map(|worker| thread(worker)).collect();
        let polls = workers.iter().flat_map(|worker| self.flight_of(worker, at.nanos, since_nanos)).collect();
        let kinds = self.kind_names();
        FlightRecording { now: at.wall, now_nanos: at.nanos, threads, kinds, polls, stalls: Vec::new() }
    }

    /// Returns the polls of each worker that had not ended by `since_nanos`, as
    /// they were at the time `at`.
    #[cfg_attr(not(feature = "telemetry"), allow(dead_code))]
    pub(crate) fn recorded_polls(&self, at: ClockReading, since_nanos: u64) -> RecordedPolls {
        let workers = self.all_workers();
        // Read first, so that no poll is missing after this time.
        let full_since = self.level.full_since().map_or(at.nanos, |since| match since {
            0 => 0,
            since => self.clock.since_start(since),
        });
        let polls = |worker: &Arc<Worker>| {
            // Read first: older polls may be overwritten meanwhile.
            let polls = self.flight_of(worker, at.nanos, since_nanos);
            WorkerPolls {
                label: worker.label.to_string(),
                recorded_since_nanos: self.clock.since_start(worker.registered_at).max(full_since),
                overwritten_until_nanos: worker.flight.complete_since().map(|at| self.clock.since_start(at)),
                polls,
            }
        };
        // Read before the names: a poll may be the first of its kind.
        let workers = workers.iter().map(polls).collect();
        RecordedPolls {
            scope_start: at.wall_at(0),
            now_nanos: at.nanos,
            min_kept: Duration::from_nanos(self.min_kept_nanos),
            kinds: self.kind_names(),
            workers,
        }
    }

    fn kind_names(&self) -> Vec<String> {
        (0..self.kinds.len())
            .map(|index| self.kinds.get(KindId::from_u32(index as u32)).name.clone())
            .collect()
    }

    fn flight_of(&self, worker: &Worker, now_nanos: u64, since_nanos: u64) -> Vec<FlightPoll> {
        // Read before the recorder: a poll that ends meanwhile is in both, and
        // not in none.
        let active = worker.active().map(|poll| self.with_kind(poll));
        let active = active.filter(|poll| self.is_live() && !self.has_no_end_event(poll));
        let tid = worker.tid();
        // Polls are kept in the order of their ends.
        let is_recent = |poll: &PastPoll| self.clock.since_start(poll.end) >= since_nanos;
        let past = worker.flight.polls(is_recent).into_iter().filter_map(|poll| {
            let [start_nanos, end] = [poll.start, poll.end].map(|ticks| self.clock.since_start(ticks));
            let end_nanos = (end <= now_nanos).then_some(end);
            (start_nanos < now_nanos).then_some(FlightPoll {
                tid,
                kind: poll.kind.index(),
                start_nanos,
                end_nanos,
            })
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
    fn the_polls_of_a_worker_say_since_when_they_are_complete() {
        let polls = polls();
        let recorder = &polls.recorder;
        let before = recorder.clock.reading();
        let poll = || {
            polls.begin(recorder.clock.ticks(), 1, KindId::OTHER, PollSource::Future);
            polls.end(PollSource::Future);
        };
        (0..100).for_each(|_| poll());
        let middle = recorder.clock.reading();
        let complete = recorder.recorded_polls(middle, 0);
        let [worker] = &complete.workers[..] else { panic!("{complete:?}") };
        assert_eq!((worker.polls.len(), worker.overwritten_until_nanos), (100, None));
        assert!((1..=before.nanos).contains(&worker.recorded_since_nanos), "{worker:?}");
        assert_eq!(complete.kinds[worker.polls[0].kind], recorder.kinds.get(KindId::OTHER).name);
        (0..8_192).for_each(|_| poll());
        let now = recorder.clock.reading();
        let worker = recorder.recorded_polls(now, 0).workers.remove(0);
        assert_eq!(worker.overwritten_until_nanos, Some(worker.polls[0].start_nanos));
        assert!(worker.overwritten_until_nanos > Some(before.nanos));
        let later = recorder.recorded_polls(now, now.nanos).workers.remove(0);
        assert_eq!((later.polls, later.label), (Vec::new(), "io/0".to_owned()));
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
