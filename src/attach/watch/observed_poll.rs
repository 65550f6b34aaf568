//! A poll of the other process, as several looks show it.

use std::sync::Arc;

use crate::attach::watch::tools::Tools;
use crate::evidence::{Capture, LONG_STALL_NANOS, Message, Phase, StallEvidence, Stretch, TimeSplit};
use crate::record::clock::Ticks;
use crate::record::flight_recorder::PastPoll;
use crate::record::kinds::KindId;
use crate::record::recorder::Recorder;
use crate::record::worker::Worker;
use crate::watchdog::sample::{InSyscall, ThreadSample};

/// A stall in progress is reported at these ages.
const REPORT_NANOS: [u64; 4] =
    [LONG_STALL_NANOS, 60 * LONG_STALL_NANOS, 600 * LONG_STALL_NANOS, 3600 * LONG_STALL_NANOS];
/// A poll has at most this many captures.
const MAX_CAPTURES: usize = 16;

/// What tells a poll from others of its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PollKey {
    /// The contents of the frame of the function that polls tasks.
    Frame(u64),
    /// One wait: a call, and how many times the thread was put on a CPU before.
    Wait { call: InSyscall, slices: u64 },
}

/// A poll that may be in progress.
pub(super) struct ObservedPoll {
    pub(super) key: PollKey,
    first: ThreadSample,
    last: ThreadSample,
    /// The wait that the last look found, and when the first look found it.
    wait: Option<(InSyscall, u64, Ticks)>,
    /// Counts the waits, and the times in between.
    stretch: u32,
    captures: Vec<Capture>,
    /// The capture that shows the present wait.
    current: Option<usize>,
    next_capture_nanos: u64,
    stall: Option<OpenStall>,
}

/// A poll that has lasted for the threshold.
struct OpenStall {
    seq: u64,
    kind: KindId,
    reported: usize,
    next_progress_nanos: u64,
}

impl ObservedPoll {
    pub(super) fn new(key: PollKey, now: &ThreadSample, call: Option<InSyscall>) -> Self {
        Self {
            key,
            first: *now,
            last: *now,
            wait: call.map(|call| (call, now.times.slices, now.times.at)),
            stretch: 1,
            captures: Vec::new(),
            current: None,
            next_capture_nanos: 0,
            stall: None,
        }
    }

    pub(super) fn has_stall(&self) -> bool {
        self.stall.is_some()
    }

    /// Returns whether the thread has certainly waited since the last look.
    pub(super) fn is_same_wait(&self, now: &ThreadSample, call: Option<InSyscall>) -> bool {
        matches!((self.wait, call), (Some((before, slices, _)), Some(call))
            if before == call && slices == now.times.slices)
    }

    /// Adds another look at the poll.
    pub(super) fn add(&mut self, now: &ThreadSample, call: Option<InSyscall>) {
        if !self.is_same_wait(now, call) {
            self.stretch = self.stretch.saturating_add(1);
            self.current = None;
            self.wait = call.map(|call| (call, now.times.slices, now.times.at));
        }
        self.last = *now;
    }

    fn age_nanos(&self, recorder: &Recorder) -> u64 {
        recorder.clock.nanos(self.first.times.at, self.last.times.at)
    }

    /// Returns whether a capture of the wait in progress is due.
    pub(super) fn is_capture_due(&self, recorder: &Recorder) -> bool {
        let is_new = self.current.is_none() || self.wait.is_none();
        is_new
            && self.captures.len() < MAX_CAPTURES
            && self.times(recorder).own() >= self.next_capture_nanos.max(recorder.threshold_nanos)
    }

    /// Adds a capture of the wait in progress. The first one begins a stall.
    pub(super) fn add_capture(&mut self, capture: Capture, task: &str, worker: &Worker, tools: &Tools<'_>) {
        let recorder = tools.recorder;
        let age_nanos = self.age_nanos(recorder);
        self.next_capture_nanos = self.times(recorder).own().saturating_mul(2);
        let stretch = Stretch { number: self.stretch, own_nanos: 0 };
        self.current = self.wait.map(|_| self.captures.len());
        self.captures.push(Capture { age_nanos, stretch, ..capture });
        self.extend_current(recorder);
        if self.stall.is_some() {
            return;
        }
        let kind = recorder.kinds.for_name(task);
        worker.slot.begin(self.first.times.at, 0, kind);
        let Some(poll) = worker.slot.active() else { return };
        let next_progress_nanos = age_nanos + recorder.threshold_nanos;
        self.stall = Some(OpenStall { seq: poll.seq, kind, reported: 0, next_progress_nanos });
        worker.set_own_nanos(poll.seq, self.times(recorder).own());
        self.send(Phase::Began, worker, tools);
    }

    /// Makes the next capture due later: this one has failed.
    pub(super) fn delay_capture(&mut self, recorder: &Recorder) {
        self.next_capture_nanos = self.times(recorder).own() + recorder.threshold_nanos;
    }

    /// Makes the capture of the present wait that of this moment: the thread
    /// has not run since.
    fn extend_current(&mut self, recorder: &Recorder) {
        let age_nanos = self.age_nanos(recorder);
        let (Some((_, _, since)), Some(index)) = (self.wait, self.current) else { return };
        let own_nanos = recorder.clock.nanos(since, self.last.times.at);
        if let Some(capture) = self.captures.get_mut(index) {
            capture.age_nanos = age_nanos;
            capture.stretch.own_nanos = own_nanos;
        }
    }

    /// Reports a stall that lasts, when that is due.
    pub(super) fn report_progress(&mut self, worker: &Worker, tools: &Tools<'_>) {
        let age_nanos = self.age_nanos(tools.recorder);
        let times = self.times(tools.recorder);
        let Some(stall) = &mut self.stall else { return };
        worker.set_own_nanos(stall.seq, times.own());
        let milestone = REPORT_NANOS.iter().filter(|nanos| times.own() >= **nanos).count();
        let is_report_due = milestone > stall.reported;
        if !is_report_due && age_nanos < stall.next_progress_nanos {
            return;
        }
        stall.reported = milestone;
        stall.next_progress_nanos = age_nanos + LONG_STALL_NANOS.min(age_nanos);
        let key = (worker.number, stall.seq);
        if is_report_due {
            self.send(Phase::Lasts, worker, tools);
        } else {
            let message = Message::Progress { key, duration_nanos: age_nanos, times };
            tools.outbox.0.send(message, tools.self_metrics);
        }
    }

    /// Ends the poll: the last look was the last that showed it.
    pub(super) fn end(&mut self, worker: Option<&Worker>, tools: &Tools<'_>) {
        let (Some(worker), Some(stall)) = (worker, &self.stall) else { return };
        worker.slot.end();
        worker.counters.busy_nanos.add(self.age_nanos(tools.recorder));
        let (start, end) = (self.first.times.at, self.last.times.at);
        worker.flight.push(PastPoll { start, end, kind: stall.kind });
        self.send(Phase::Ended, worker, tools);
    }

    fn send(&mut self, phase: Phase, worker: &Worker, tools: &Tools<'_>) {
        self.extend_current(tools.recorder);
        let Some(stall) = &self.stall else { return };
        let message = Message::Stall(StallEvidence {
            phase,
            polls: 1,
            key: (worker.number, stall.seq),
            worker: worker.label.worker.clone(),
            tid: worker.tid(),
            runtime: Arc::from(&*worker.label.runtime),
            held_driver: None,
            kind: stall.kind,
            start_nanos: tools.recorder.clock.since_start(self.first.times.at),
            is_lower_bound: false,
            duration_nanos: self.age_nanos(tools.recorder),
            times: self.times(tools.recorder),
            threshold_nanos: tools.recorder.threshold_nanos,
            captures: self.captures.clone(),
        });
        tools.outbox.0.send(message, tools.self_metrics);
    }

    /// Returns what the thread did between the first look and the last.
    fn times(&self, recorder: &Recorder) -> TimeSplit {
        let age_nanos = self.age_nanos(recorder);
        let (first, last) = (&self.first.times, &self.last.times);
        let on_cpu = last.cpu_nanos.saturating_sub(first.cpu_nanos).min(age_nanos);
        let run_queue = last.known_wait_since(first.run_queue_nanos).min(age_nanos - on_cpu);
        TimeSplit { on_cpu, run_queue, off_cpu: age_nanos - on_cpu - run_queue, unknown: 0 }
    }
}
