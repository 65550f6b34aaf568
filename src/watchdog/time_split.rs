//! Where the time of a poll went, from samples of its thread.

use crate::evidence::TimeSplit;
use crate::record::clock::Ticks;
use crate::watchdog::sample::{ThreadActivity, ThreadSample};

/// CPU time that shows that a thread has been running, and not only that its
/// accounts were read one after the other.
const RAN: u64 = 20_000;

/// Adds up the samples of one poll.
#[derive(Debug)]
pub(crate) struct TimeSplitter {
    last: ThreadSample,
    credited: TimeSplit,
    /// Run-queue wait that goes on: the kernel credits it only as it ends.
    pending: u64,
    /// How often the thread had been put on a CPU as that wait was first seen.
    slices: u64,
    /// What has been taken for a wait since the thread last ran: the kernel may
    /// yet credit it.
    advanced: u64,
}

impl TimeSplitter {
    pub(crate) fn new(first: ThreadSample) -> Self {
        Self { last: first, credited: TimeSplit::default(), pending: 0, slices: first.slices, advanced: 0 }
    }

    /// Begins with the first sample of a poll that is `age` old by then, and with
    /// what is certain of the time until then: a thread that waits now has waited
    /// for as long as its accounts, since the sample `before` that poll or since
    /// its birth, have not grown. A watchdog that comes late itself, as everybody
    /// does on a busy machine, would miss the begin of a long wait otherwise.
    pub(crate) fn begin(first: ThreadSample, before: Option<ThreadSample>, age: u64) -> Self {
        let mut time_split = Self::new(first);
        let tells_its_waits = first.slices > 0;
        if matches!(first.state, b'S' | b'D') && tells_its_waits {
            let (cpu, queue) = before.map_or((0, 0), |before| (before.cpu_nanos, before.run_queue_nanos));
            let grown = first.cpu_nanos.saturating_sub(cpu) + first.run_queue_nanos.saturating_sub(queue);
            time_split.credited.off_cpu = age.saturating_sub(grown);
        }
        time_split
    }

    /// When the last sample was taken.
    pub(crate) fn at(&self) -> Ticks {
        self.last.at
    }

    /// Adds the time from the last sample to `now`, of which `wall` nanoseconds
    /// passed for everybody: while a process is stopped, its threads seem to wait.
    pub(crate) fn add(&mut self, now: ThreadSample, wall: u64) {
        let on_cpu = now.cpu_nanos.saturating_sub(self.last.cpu_nanos).min(wall);
        let mut credit = now.run_queue_nanos.saturating_sub(self.last.run_queue_nanos);
        let has_run = on_cpu > RAN;
        self.settle(&mut credit, has_run, now.slices);
        let run_queue = credit.min(wall - on_cpu);
        // More than this interval holds: an earlier one has it already, or looked
        // like a wait for something else.
        let excess = (credit - run_queue).saturating_sub(self.advanced);
        let earlier = excess.min(self.credited.off_cpu);
        self.credited.off_cpu -= earlier;
        self.credited.run_queue += earlier + run_queue;
        self.credited.on_cpu += on_cpu;
        let rest = wall - on_cpu - run_queue;
        self.advanced = if has_run { 0 } else { self.advanced };
        if is_runnable(&self.last) && is_runnable(&now) {
            if has_run && now.slices == self.last.slices {
                self.credited.run_queue += rest;
                self.advanced = rest;
            } else {
                self.slices = if self.pending == 0 { self.last.slices } else { self.slices };
                self.pending += rest;
            }
        } else {
            self.credited.off_cpu += rest;
        }
        self.last = now;
    }

    /// Takes what was pending out of the kernel's credit. Where the thread has
    /// run since, the kernel has credited all, and what is left was no wait for
    /// a CPU after all. But if it was never taken off its CPU, it is the CPU that
    /// was taken away: a virtual one, by its host.
    fn settle(&mut self, credit: &mut u64, has_run: bool, slices: u64) {
        let settled = (*credit).min(self.pending);
        *credit -= settled;
        self.credited.run_queue += settled;
        self.pending -= settled;
        if has_run {
            let unexplained = std::mem::take(&mut self.pending);
            if slices == self.slices {
                self.credited.run_queue += unexplained;
            } else {
                self.credited.off_cpu += unexplained;
            }
        }
    }

    /// The split so far.
    pub(crate) fn times(&self) -> TimeSplit {
        TimeSplit { run_queue: self.credited.run_queue + self.pending, ..self.credited }
    }
}

fn is_runnable(sample: &ThreadSample) -> bool {
    sample.state == b'R' && matches!(sample.activity, ThreadActivity::Running | ThreadActivity::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::clock::Clock;
    use crate::watchdog::sample::InSyscall;

    const MS: u64 = 1_000_000;

    fn sample(cpu: u64, queue: u64, state: u8) -> ThreadSample {
        ThreadSample {
            at: 0,
            cpu_nanos: cpu * MS,
            run_queue_nanos: queue * MS,
            slices: 7,
            state,
            activity: ThreadActivity::Running,
        }
    }

    /// Samples in a made-up time of one tick a nanosecond.
    fn time_split(samples: &[(u64, u64, u64, u8)]) -> TimeSplit {
        account_of(samples, false)
    }

    /// `stays` says that the thread is never taken off its CPU.
    fn account_of(samples: &[(u64, u64, u64, u8)], stays: bool) -> TimeSplit {
        let clock = Clock::new();
        let ticks_per_ms = (1..).map(|n| n * 1_000).find(|n| clock.nanos(0, *n) >= MS).unwrap();
        let waiting = ThreadActivity::InSyscall(InSyscall { number: 230, arguments: [0; 6], sp: 0, pc: 0 });
        let sample = |(slices, &(at, cpu, queue, state)): (usize, &(u64, u64, u64, u8))| ThreadSample {
            slices: if stays { 0 } else { slices as u64 },
            at: at * ticks_per_ms,
            cpu_nanos: cpu * MS,
            run_queue_nanos: queue * MS,
            state,
            activity: if state == b'R' { ThreadActivity::Running } else { waiting },
        };
        let mut samples = samples.iter().enumerate().map(sample);
        let mut time_split = TimeSplitter::new(samples.next().unwrap());
        for sample in samples {
            time_split.add(sample, clock.nanos(time_split.at(), sample.at));
        }
        let times = time_split.times();
        let round = |nanos: u64| (nanos + MS / 2) / MS;
        TimeSplit {
            on_cpu: round(times.on_cpu),
            run_queue: round(times.run_queue),
            off_cpu: round(times.off_cpu),
        }
    }

    #[test]
    fn a_sleeper_is_off_cpu() {
        let times = time_split(&[(0, 0, 0, b'S'), (100, 1, 0, b'S')]);
        assert_eq!(times, TimeSplit { on_cpu: 1, run_queue: 0, off_cpu: 99 });
    }

    #[test]
    fn a_spinner_is_on_cpu() {
        let times = time_split(&[(0, 0, 0, b'R'), (50, 50, 0, b'R'), (100, 99, 1, b'R')]);
        assert_eq!(times, TimeSplit { on_cpu: 99, run_queue: 1, off_cpu: 0 });
    }

    #[test]
    fn a_wait_for_a_cpu_counts_before_the_kernel_credits_it_and_once() {
        let waiting = [(0, 0, 0, b'R'), (30, 0, 0, b'R'), (60, 0, 0, b'R')];
        assert_eq!(time_split(&waiting), TimeSplit { on_cpu: 0, run_queue: 60, off_cpu: 0 });
        let credited = [waiting[0], waiting[1], waiting[2], (70, 5, 65, b'R')];
        assert_eq!(time_split(&credited), TimeSplit { on_cpu: 5, run_queue: 65, off_cpu: 0 });
    }

    #[test]
    fn short_waits_between_runs_are_no_starvation() {
        // Runnable at each look, but asleep in between: a disk that is quick.
        let looks = [(0, 0, 0, b'R'), (10, 2, 0, b'R'), (20, 4, 0, b'R'), (30, 6, 0, b'R')];
        let times = time_split(&looks);
        assert_eq!((times.on_cpu, times.off_cpu), (6, 16), "the last look's wait is still open");
    }

    #[test]
    fn a_virtual_cpu_that_its_host_took_away_is_the_machines_fault() {
        let looks = [(0, 0, 0, b'R'), (10, 1, 0, b'R'), (20, 1, 0, b'R'), (30, 2, 0, b'R')];
        assert_eq!(account_of(&looks, true), TimeSplit { on_cpu: 2, run_queue: 28, off_cpu: 0 });
    }

    #[test]
    fn a_wait_that_began_after_some_work_counts_once() {
        let clock = Clock::new();
        let ms = (1..).map(|n| n * 1_000).find(|n| clock.nanos(0, *n) >= MS).unwrap();
        let sample =
            |at, cpu, queue, slices, state| ThreadSample { at: at * ms, slices, ..sample(cpu, queue, state) };
        let mut time_split = TimeSplitter::new(sample(0, 0, 0, 1, b'S'));
        for sample in [
            sample(100, 0, 0, 1, b'S'),
            sample(110, 4, 0, 2, b'R'),
            // Taken off its CPU after 2 ms, waits for 46.
            sample(120, 6, 0, 2, b'R'),
            sample(150, 6, 0, 2, b'R'),
            sample(160, 8, 46, 3, b'R'),
        ] {
            time_split.add(sample, clock.nanos(time_split.at(), sample.at));
        }
        let times = time_split.times();
        assert!(times.off_cpu >= 100 * MS, "the sleep is still there: {times:?}");
        assert_eq!(times.run_queue / MS, 46, "{times:?}");
    }

    #[test]
    fn what_was_before_the_first_sample_is_a_wait_as_far_as_that_is_certain() {
        let off_cpu = |first, before| TimeSplitter::begin(first, before, 70 * MS).times().off_cpu / MS;
        assert_eq!(off_cpu(sample(2, 5, b'S'), None), 63, "since the thread was born");
        assert_eq!(off_cpu(sample(100, 250, b'D'), Some(sample(99, 240, b'S'))), 59);
        assert_eq!(off_cpu(sample(100, 250, b'S'), None), 0, "it may have run, or waited for a CPU");
        assert_eq!(off_cpu(sample(2, 5, b'R'), None), 0, "it may wait for a CPU now");
        assert_eq!(off_cpu(sample(2, 5, b'T'), None), 0, "it was stopped");
        assert_eq!(off_cpu(ThreadSample { slices: 0, ..sample(2, 0, b'S') }, None), 0, "no schedstat");
    }

    #[test]
    fn what_was_lost_to_everybody_was_no_wait() {
        let mut time_split = TimeSplitter::new(sample(0, 0, b'R'));
        // Stopped for 300 ms, of 342: after that it waits for a CPU like everybody.
        time_split.add(sample(2, 40, b'R'), 42 * MS);
        assert_eq!(time_split.times(), TimeSplit { on_cpu: 2 * MS, run_queue: 40 * MS, off_cpu: 0 });
    }

    #[test]
    fn proportions_hold_for_another_total() {
        let times = TimeSplit { on_cpu: 10, run_queue: 20, off_cpu: 70 };
        assert_eq!(times.scaled_to(200), TimeSplit { on_cpu: 20, run_queue: 40, off_cpu: 140 });
        assert_eq!(TimeSplit::default().scaled_to(5).off_cpu, 5);
    }
}
