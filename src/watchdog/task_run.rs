//! The view of the whole tick: a task that is met at look after look, in many
//! polls, each of them under the threshold.
//!
//! Ten polls of nine milliseconds hold up the others as one of ninety does, but
//! no poll of them is a stall. What counts as such a run is narrow, so that an
//! application that is merely busy shows none: the same task at every look, in
//! polls of a tenth of the threshold or more on average, for ten thresholds,
//! while others were ready.

use crate::evidence::Capture;
use crate::record::clock::Ticks;
use crate::record::slot::ActivePoll;
use crate::watchdog::time_split::TimeSplitter;

/// A run must last for so many thresholds.
const THRESHOLDS: u64 = 10;
/// The part of the threshold that its polls must last on average.
const POLL_SHARE: u64 = 10;
/// It must have so many polls: fewer are stalls that nearly were.
const POLLS: u64 = 4;
/// Its thread's accounts are read at every so many looks: most runs end before
/// the first.
const LOOKS: u32 = 4;

/// One task at look after look.
#[derive(Debug)]
pub(super) struct TaskRun {
    first: ActivePoll,
    last_seq: u64,
    looks: u32,
    pub(super) time_split: Option<TimeSplitter>,
    pub(super) captures: Vec<Capture>,
    pub(super) others_waited: bool,
    next_capture_nanos: u64,
}

impl TaskRun {
    pub(super) fn new(poll: ActivePoll, threshold_nanos: u64) -> Self {
        Self {
            first: poll,
            last_seq: poll.seq,
            looks: 1,
            time_split: None,
            captures: Vec::new(),
            others_waited: false,
            next_capture_nanos: threshold_nanos * THRESHOLDS,
        }
    }

    /// Takes in another look. False if it met another task, or none: the run is
    /// over.
    pub(super) fn goes_on(&mut self, poll: Option<ActivePoll>) -> bool {
        let Some(poll) = poll.filter(|poll| poll.task == self.first.task && poll.task != 0) else {
            return false;
        };
        if poll.is_named {
            // Its future has given it a name, if not before the first look.
            self.first.kind = poll.kind;
        }
        self.last_seq = poll.seq;
        self.looks += 1;
        true
    }

    pub(super) fn first(&self) -> ActivePoll {
        self.first
    }

    pub(super) fn start(&self) -> Ticks {
        self.first.start
    }

    /// All polls of the worker since: its own, and those in between.
    pub(super) fn polls(&self) -> u64 {
        (self.last_seq.saturating_sub(self.first.seq)) / 2 + 1
    }

    /// Whether it is time to read the thread's accounts, which costs more than
    /// all the rest of a look: not for a run of short polls.
    pub(super) fn is_watched(&self, age: u64, threshold_nanos: u64) -> bool {
        self.looks.is_multiple_of(LOOKS) && self.polls() >= POLLS && self.has_long_polls(age, threshold_nanos)
    }

    /// Whether it may become one that is told: more than one look met it, in polls
    /// that are not short.
    pub(super) fn is_long(&self, age: u64, threshold_nanos: u64) -> bool {
        self.looks > 1 && self.has_long_polls(age, threshold_nanos)
    }

    fn has_long_polls(&self, age: u64, threshold_nanos: u64) -> bool {
        age / self.polls() >= threshold_nanos / POLL_SHARE
    }

    /// Whether a capture is due for a run that is `age` old, of which `own` was
    /// not the machine's fault.
    pub(super) fn is_due(&self, age: u64, own: u64, threshold_nanos: u64) -> bool {
        own >= self.next_capture_nanos && self.others_waited && self.has_long_polls(age, threshold_nanos)
    }

    /// Keeps what was captured then.
    pub(super) fn keep(&mut self, capture: Capture, own: u64) {
        self.captures.push(capture);
        while self.next_capture_nanos <= own {
            self.next_capture_nanos *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::kinds::KindId;

    const MS: u64 = 1_000_000;

    fn poll(seq: u64, task: u64) -> ActivePoll {
        ActivePoll { seq, start: 0, task, kind: KindId::OTHER, is_named: false }
    }

    #[test]
    fn a_run_is_one_task_in_many_polls_that_are_not_short() {
        let mut run = TaskRun::new(poll(1, 7), 10 * MS);
        assert!((1..40).all(|n| run.goes_on(Some(poll(1 + 2 * n, 7)))));
        assert_eq!(run.polls(), 40);
        assert!(run.is_watched(120 * MS, 10 * MS));
        assert!(run.is_long(120 * MS, 10 * MS));
        assert!(!run.is_long(30 * MS, 10 * MS), "polls of less than a millisecond");
        assert!(!TaskRun::new(poll(1, 7), 10 * MS).is_long(9 * MS, 10 * MS), "met once");
        assert!(!run.is_due(120 * MS, 120 * MS, 10 * MS), "nobody waited");
        run.others_waited = true;
        assert!(!run.is_due(120 * MS, 50 * MS, 10 * MS), "the machine's fault");
        assert!(run.is_due(120 * MS, 120 * MS, 10 * MS));
        run.keep(Capture::without_stack(120 * MS, true, None), 120 * MS);
        assert!(!run.is_due(130 * MS, 130 * MS, 10 * MS), "not again so soon");
        assert!(run.is_due(220 * MS, 220 * MS, 10 * MS));
    }

    #[test]
    fn short_polls_and_other_tasks_are_none() {
        let mut run = TaskRun::new(poll(1, 7), 10 * MS);
        run.others_waited = true;
        assert!(run.goes_on(Some(poll(2_001, 7))));
        assert!(!run.is_due(200 * MS, 200 * MS, 10 * MS), "polls of 0.2 ms");
        assert!(!run.is_watched(200 * MS, 10 * MS));
        assert!(!run.goes_on(Some(poll(2_003, 8))));
        assert!(!run.goes_on(None));
        assert!(!TaskRun::new(poll(1, 0), MS).goes_on(Some(poll(3, 0))), "no task");
    }
}
