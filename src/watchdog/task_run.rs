//! Detects a task that holds its worker over many polls, each of them under the
//! threshold.
//!
//! Ten polls of nine milliseconds delay the other tasks as much as one poll of
//! ninety, but none of the ten is a stall. The definition of a run is narrow,
//! so that a busy application has no runs: every pass of the watchdog finds the
//! same task, the average poll lasts for a tenth of the threshold or longer,
//! all this lasts for ten thresholds, and other tasks were ready.

use crate::evidence::Capture;
use crate::record::clock::Ticks;
use crate::record::slot::ActivePoll;
use crate::watchdog::time_split::TimeSplitter;

/// The minimum length of a run, in thresholds.
const MIN_RUN_THRESHOLDS: u64 = 10;
/// The average poll must last for at least the threshold divided by this.
const MIN_AVERAGE_POLL_DIVISOR: u64 = 10;
/// The minimum number of polls in a run. With fewer polls, each one is long
/// enough to be reported as a stall.
const MIN_POLLS: u64 = 4;
/// The thread's CPU times are read once in this many passes. Most runs end
/// before the first read.
const PASSES_PER_SAMPLE: u32 = 4;

/// One task that every pass since `first` has found on its worker.
#[derive(Debug)]
pub(super) struct TaskRun {
    first: ActivePoll,
    last_seq: u64,
    passes: u32,
    pub(super) splitter: TimeSplitter,
    pub(super) captures: Vec<Capture>,
    /// Whether other tasks waited: some were ready in a pass that read the CPU
    /// times, or one reported a wait over the threshold.
    pub(super) others_waited: bool,
    /// The own time at which the next capture is due.
    next_capture_nanos: u64,
}

impl TaskRun {
    pub(super) fn new(poll: ActivePoll, splitter: TimeSplitter, threshold_nanos: u64) -> Self {
        Self {
            first: poll,
            last_seq: poll.seq,
            passes: 1,
            splitter,
            captures: Vec::new(),
            others_waited: false,
            next_capture_nanos: threshold_nanos * MIN_RUN_THRESHOLDS,
        }
    }

    /// Adds the poll that the next pass found. Returns false if the run is
    /// over: the pass found another task, or no task.
    pub(super) fn continue_with(&mut self, poll: Option<ActivePoll>) -> bool {
        let Some(poll) = poll.filter(|poll| poll.task == self.first.task && poll.task != 0) else {
            return false;
        };
        if poll.is_named {
            // The task's future may have given its name after the first pass.
            self.first.kind = poll.kind;
        }
        self.last_seq = poll.seq;
        self.passes += 1;
        true
    }

    pub(super) fn first(&self) -> ActivePoll {
        self.first
    }

    pub(super) fn start(&self) -> Ticks {
        self.first.start
    }

    /// Returns the number of the worker's polls since the start of the run,
    /// which includes polls of other tasks between two passes.
    pub(super) fn polls(&self) -> u64 {
        (self.last_seq.saturating_sub(self.first.seq)) / 2 + 1
    }

    /// Returns whether to read the thread's CPU times in this pass. Reading
    /// them costs more than the rest of the pass, so they are not read while
    /// the polls are short.
    pub(super) fn is_sample_due(&self, age_nanos: u64, threshold_nanos: u64) -> bool {
        self.passes.is_multiple_of(PASSES_PER_SAMPLE)
            && self.polls() >= MIN_POLLS
            && self.has_long_average_poll(age_nanos, threshold_nanos)
    }

    /// Returns whether the run may become long enough for a report: more than
    /// one pass found the task, and its polls are not short.
    pub(super) fn may_be_reported(&self, age_nanos: u64, threshold_nanos: u64) -> bool {
        self.passes > 1 && self.has_long_average_poll(age_nanos, threshold_nanos)
    }

    fn has_long_average_poll(&self, age_nanos: u64, threshold_nanos: u64) -> bool {
        age_nanos / self.polls() >= threshold_nanos / MIN_AVERAGE_POLL_DIVISOR
    }

    /// Returns whether a capture is due for a run with this age and this own
    /// time.
    pub(super) fn is_capture_due(&self, age_nanos: u64, own_nanos: u64, threshold_nanos: u64) -> bool {
        own_nanos >= self.next_capture_nanos
            && self.others_waited
            && self.has_long_average_poll(age_nanos, threshold_nanos)
    }

    /// Adds a capture that was taken at this own time. The next
    /// capture is due at twice that time or earlier.
    pub(super) fn add_capture(&mut self, capture: Capture, own_nanos: u64) {
        self.captures.push(capture);
        while self.next_capture_nanos <= own_nanos {
            self.next_capture_nanos *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchdog::sample::ThreadTimes;

    const MS: u64 = 1_000_000;

    fn splitter() -> TimeSplitter {
        TimeSplitter::new(ThreadTimes::default(), 0)
    }

    fn poll(seq: u64, task: u64) -> ActivePoll {
        ActivePoll { seq, task, ..ActivePoll::default() }
    }

    #[test]
    fn a_run_is_one_task_over_many_polls() {
        let mut run = TaskRun::new(poll(1, 7), splitter(), 10 * MS);
        assert!((1..40).all(|n| run.continue_with(Some(poll(1 + 2 * n, 7)))));
        assert_eq!(run.polls(), 40);
        assert!(run.is_sample_due(120 * MS, 10 * MS));
        assert!(run.may_be_reported(120 * MS, 10 * MS));
        assert!(!run.may_be_reported(30 * MS, 10 * MS), "polls of less than a millisecond");
        assert!(
            !TaskRun::new(poll(1, 7), splitter(), 10 * MS).may_be_reported(9 * MS, 10 * MS),
            "found by one pass"
        );
        assert!(!run.is_capture_due(120 * MS, 120 * MS, 10 * MS), "no other task was ready");
        run.others_waited = true;
        assert!(!run.is_capture_due(120 * MS, 50 * MS, 10 * MS), "most of the time was a wait for a CPU");
        assert!(run.is_capture_due(120 * MS, 120 * MS, 10 * MS));
        run.add_capture(Capture::without_stack(120 * MS, true, None), 120 * MS);
        assert!(!run.is_capture_due(130 * MS, 130 * MS, 10 * MS), "too soon after the first capture");
        assert!(run.is_capture_due(220 * MS, 220 * MS, 10 * MS));
    }

    #[test]
    fn short_polls_and_other_tasks_are_not_part_of_a_run() {
        let mut run = TaskRun::new(poll(1, 7), splitter(), 10 * MS);
        run.others_waited = true;
        assert!(run.continue_with(Some(poll(2_001, 7))));
        assert!(!run.is_capture_due(200 * MS, 200 * MS, 10 * MS), "polls of 0.2 ms");
        assert!(!run.is_sample_due(200 * MS, 10 * MS));
        assert!(!run.continue_with(Some(poll(2_003, 8))));
        assert!(!run.continue_with(None));
        assert!(!TaskRun::new(poll(1, 0), splitter(), MS).continue_with(Some(poll(3, 0))), "no task");
    }
}
