//! When everybody stood still: a stopped process or a suspended machine must
//! not be blamed on a poll.

use std::collections::VecDeque;
use std::ops::Range;

use crate::os;
use crate::record::clock::{Clock, Ticks};

/// How often the watchdog's own accounts are read while it is on time: the
/// small waits of many ticks must not add up to one long one.
const READ_EVERY_TICKS: u32 = 64;
/// Spans that are kept: a poll has met fewer, or is a hang.
const MAX_SPANS: usize = 64;

/// The watchdog's own lateness, which tells: it sleeps for one tick to two.
///
/// Time is the recorder's, as that is what polls are measured by; of a suspended
/// machine it may count what the system's clock leaves out.
#[derive(Debug)]
pub(crate) struct ProcessPauses {
    at: Ticks,
    tick_nanos: u64,
    tid: i32,
    looks: u32,
    /// What the watchdog had run at the last call.
    cpu_nanos: u64,
    /// What it had waited for a CPU as that was read last.
    run_queue_nanos: u64,
    /// In nanoseconds of the recorder's clock.
    spans: VecDeque<Range<u64>>,
}

impl ProcessPauses {
    pub(crate) fn new(tid: i32, tick_nanos: u64, clock: &Clock) -> Self {
        Self {
            at: clock.ticks(),
            tick_nanos,
            tid,
            looks: 0,
            cpu_nanos: cpu_nanos(tid),
            run_queue_nanos: os::run_queue_nanos(tid),
            spans: VecDeque::new(),
        }
    }

    /// The watchdog has slept for as long as it wanted.
    pub(crate) fn skip(&mut self, clock: &Clock) {
        self.at = clock.ticks();
        self.cpu_nanos = cpu_nanos(self.tid);
        self.run_queue_nanos = os::run_queue_nanos(self.tid);
    }

    /// Notes how long nothing ran since the last call, after which the watchdog
    /// meant to sleep for `pause_nanos`: what it overslept without having run or
    /// waited for a CPU. Where it did wait for one, the workers' own accounts tell
    /// who else did. In the middle of its looks it means not to sleep at all.
    pub(crate) fn measure(&mut self, pause_nanos: u64, clock: &Clock) {
        let now = clock.ticks();
        let passed = clock.nanos(std::mem::replace(&mut self.at, now), now);
        let cpu = cpu_nanos(self.tid);
        let ran = cpu.saturating_sub(std::mem::replace(&mut self.cpu_nanos, cpu));
        self.looks = self.looks.wrapping_add(1);
        let Some(overslept) = passed.checked_sub(pause_nanos + self.tick_nanos) else {
            if self.looks.is_multiple_of(READ_EVERY_TICKS) {
                self.run_queue_nanos = os::run_queue_nanos(self.tid);
            }
            return;
        };
        let queued = os::run_queue_nanos(self.tid);
        let waited = queued.saturating_sub(std::mem::replace(&mut self.run_queue_nanos, queued));
        let lost = overslept.saturating_sub(ran + waited);
        if lost > self.tick_nanos {
            let end = clock.since_start(now);
            self.note(end.saturating_sub(lost)..end);
        }
    }

    fn note(&mut self, span: Range<u64>) {
        if self.spans.len() >= MAX_SPANS {
            self.spans.pop_front();
        }
        self.spans.push_back(span);
    }

    /// How much of a time was lost to everybody, in nanoseconds.
    pub(crate) fn within(&self, start: Ticks, end: Ticks, clock: &Clock) -> u64 {
        let (start, end) = (clock.since_start(start), clock.since_start(end));
        self.spans.iter().map(|span| span.end.min(end).saturating_sub(span.start.max(start))).sum()
    }
}

fn cpu_nanos(tid: i32) -> u64 {
    os::thread_cpu_nanos(tid).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_is_spared_what_it_shares_with_a_standstill() {
        let clock = Clock::new();
        let mut pauses = ProcessPauses::new(0, 1_000, &clock);
        let begin = clock.ticks();
        let at = |wanted: u64| {
            let mut ticks = begin;
            while clock.since_start(ticks) < wanted {
                ticks += 100;
            }
            ticks
        };
        let base = clock.since_start(begin);
        pauses.note(base + 10_000..base + 20_000);
        let within = |from, to| pauses.within(at(base + from), at(base + to), &clock) / 1_000;
        assert_eq!(within(0, 9_000), 0);
        assert!((4..=5).contains(&within(0, 15_000)));
        assert!((9..=10).contains(&within(5_000, 50_000)));
        assert_eq!(within(30_000, 50_000), 0);
    }
}
