//! Splits the time of a poll by what its thread did, from samples of the
//! thread.

use crate::evidence::TimeSplit;
use crate::record::clock::Ticks;
use crate::watchdog::sample::{ThreadActivity, ThreadSample};

/// More CPU time than this shows that the thread has run between two samples.
/// The values of one sample are read one after the other, so a smaller
/// difference may come from the reads alone.
const MIN_CPU_NANOS_TO_COUNT_AS_RUNNING: u64 = 20_000;

/// Adds up the intervals between the samples of one poll.
#[derive(Debug)]
pub(crate) struct TimeSplitter {
    last: ThreadSample,
    credited: TimeSplit,
    /// The current wait for a CPU. The kernel adds a wait to the thread's
    /// run-queue time only when the wait ends.
    pending_run_queue: u64,
    /// How many times the thread had been put on a CPU when that wait was first
    /// observed.
    slices_at_pending: u64,
    /// The time that was credited as a wait for a CPU since the thread last
    /// ran, although the kernel had not added it yet. The kernel may still add
    /// it.
    assumed_run_queue: u64,
    /// Whether no sample has been added to the first one.
    has_one_sample: bool,
}

impl TimeSplitter {
    pub(crate) fn new(first: ThreadSample) -> Self {
        Self {
            last: first,
            credited: TimeSplit::default(),
            pending_run_queue: 0,
            slices_at_pending: first.slices,
            assumed_run_queue: 0,
            has_one_sample: true,
        }
    }

    /// Begins with the first sample of a poll that has this age, and credits
    /// the part of the age that was certainly a wait.
    ///
    /// `before` is a sample of the thread from before the poll; without it, the
    /// CPU times are compared with zero, their values at the thread's start. A
    /// thread that waits at the first sample has waited for the whole age,
    /// except for the growth of its CPU times. On a busy machine the watchdog
    /// itself is late, and without this rule it would miss the start of a long
    /// wait.
    pub(crate) fn begin(first: ThreadSample, before: Option<ThreadSample>, age_nanos: u64) -> Self {
        let mut splitter = Self::new(first);
        let has_schedstat = first.slices > 0;
        if matches!(first.state, b'S' | b'D') && has_schedstat {
            let (cpu, queue) = before.map_or((0, 0), |before| (before.cpu_nanos, before.run_queue_nanos));
            let grown = first.cpu_nanos.saturating_sub(cpu) + first.run_queue_nanos.saturating_sub(queue);
            splitter.credited.off_cpu = age_nanos.saturating_sub(grown);
        }
        splitter
    }

    /// Returns whether the split is only what [`Self::begin`] has credited.
    pub(crate) fn has_one_sample(&self) -> bool {
        self.has_one_sample
    }

    /// Returns the time of the last sample.
    pub(crate) fn at(&self) -> Ticks {
        self.last.at
    }

    /// Adds the interval from the last sample to `now`. `elapsed` is its length
    /// in nanoseconds without pauses of the process: a thread of a stopped
    /// process seems to wait.
    pub(crate) fn add(&mut self, now: ThreadSample, elapsed: u64) {
        self.has_one_sample = false;
        let on_cpu = now.cpu_nanos.saturating_sub(self.last.cpu_nanos).min(elapsed);
        let mut credit = now.run_queue_nanos.saturating_sub(self.last.run_queue_nanos);
        let has_run = on_cpu > MIN_CPU_NANOS_TO_COUNT_AS_RUNNING;
        self.settle(&mut credit, has_run, now.slices);
        let run_queue = credit.min(elapsed - on_cpu);
        // The kernel may add a wait that is longer than this interval. The part
        // before this interval was credited as an assumed wait for a CPU, or as
        // off-CPU time.
        let excess = (credit - run_queue).saturating_sub(self.assumed_run_queue);
        let earlier = excess.min(self.credited.off_cpu);
        self.credited.off_cpu -= earlier;
        self.credited.run_queue += earlier + run_queue;
        self.credited.on_cpu += on_cpu;
        let rest = elapsed - on_cpu - run_queue;
        self.assumed_run_queue = if has_run { 0 } else { self.assumed_run_queue };
        if is_runnable(&self.last) && is_runnable(&now) {
            if has_run && now.slices == self.last.slices {
                self.credited.run_queue += rest;
                self.assumed_run_queue = rest;
            } else {
                if self.pending_run_queue == 0 {
                    self.slices_at_pending = self.last.slices;
                }
                self.pending_run_queue += rest;
            }
        } else {
            self.credited.off_cpu += rest;
        }
        self.last = now;
    }

    /// Subtracts the pending wait from `credit`, the run-queue time that the
    /// kernel has added.
    ///
    /// If the thread has run since the last sample, the kernel has added every
    /// wait, so the rest of the pending time was not a wait for a CPU. There is
    /// one exception: if the thread was never taken off its CPU, its virtual
    /// CPU was taken away by the host, and the rest counts as a wait for a CPU.
    fn settle(&mut self, credit: &mut u64, has_run: bool, slices: u64) {
        let settled = (*credit).min(self.pending_run_queue);
        *credit -= settled;
        self.credited.run_queue += settled;
        self.pending_run_queue -= settled;
        if has_run {
            let unexplained = std::mem::take(&mut self.pending_run_queue);
            if slices == self.slices_at_pending {
                self.credited.run_queue += unexplained;
            } else {
                self.credited.off_cpu += unexplained;
            }
        }
    }

    /// Returns the split of all intervals so far.
    pub(crate) fn split(&self) -> TimeSplit {
        TimeSplit { run_queue: self.credited.run_queue + self.pending_run_queue, ..self.credited }
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

    /// Splits samples of (time, CPU time, run-queue time, state) in
    /// milliseconds.
    fn split(samples: &[(u64, u64, u64, u8)]) -> TimeSplit {
        split_with_slices(samples, false)
    }

    /// `stays_on_cpu` says that the thread is never taken off its CPU.
    fn split_with_slices(samples: &[(u64, u64, u64, u8)], stays_on_cpu: bool) -> TimeSplit {
        let clock = Clock::new();
        let ticks_per_ms = (1..).map(|n| n * 1_000).find(|n| clock.nanos(0, *n) >= MS).unwrap();
        let waiting = ThreadActivity::InSyscall(InSyscall { number: 230, arguments: [0; 6], sp: 0, pc: 0 });
        let sample = |(slices, &(at, cpu, queue, state)): (usize, &(u64, u64, u64, u8))| ThreadSample {
            slices: if stays_on_cpu { 0 } else { slices as u64 },
            at: at * ticks_per_ms,
            cpu_nanos: cpu * MS,
            run_queue_nanos: queue * MS,
            state,
            activity: if state == b'R' { ThreadActivity::Running } else { waiting },
        };
        let mut samples = samples.iter().enumerate().map(sample);
        let mut splitter = TimeSplitter::new(samples.next().unwrap());
        for sample in samples {
            splitter.add(sample, clock.nanos(splitter.at(), sample.at));
        }
        let times = splitter.split();
        let round = |nanos: u64| (nanos + MS / 2) / MS;
        TimeSplit {
            on_cpu: round(times.on_cpu),
            run_queue: round(times.run_queue),
            off_cpu: round(times.off_cpu),
        }
    }

    #[test]
    fn a_sleeper_is_off_cpu() {
        let times = split(&[(0, 0, 0, b'S'), (100, 1, 0, b'S')]);
        assert_eq!(times, TimeSplit { on_cpu: 1, run_queue: 0, off_cpu: 99 });
    }

    #[test]
    fn a_spinner_is_on_cpu() {
        let times = split(&[(0, 0, 0, b'R'), (50, 50, 0, b'R'), (100, 99, 1, b'R')]);
        assert_eq!(times, TimeSplit { on_cpu: 99, run_queue: 1, off_cpu: 0 });
    }

    #[test]
    fn a_wait_for_a_cpu_counts_once_and_before_the_kernel_adds_it() {
        let waiting = [(0, 0, 0, b'R'), (30, 0, 0, b'R'), (60, 0, 0, b'R')];
        assert_eq!(split(&waiting), TimeSplit { on_cpu: 0, run_queue: 60, off_cpu: 0 });
        let credited = [waiting[0], waiting[1], waiting[2], (70, 5, 65, b'R')];
        assert_eq!(split(&credited), TimeSplit { on_cpu: 5, run_queue: 65, off_cpu: 0 });
    }

    #[test]
    fn short_waits_between_runs_are_not_starvation() {
        // The thread is runnable at each sample, but sleeps in between, for
        // example on a fast disk.
        let samples = [(0, 0, 0, b'R'), (10, 2, 0, b'R'), (20, 4, 0, b'R'), (30, 6, 0, b'R')];
        let times = split(&samples);
        assert_eq!((times.on_cpu, times.off_cpu), (6, 16), "the last 8 ms may still be a wait for a CPU");
    }

    #[test]
    fn a_virtual_cpu_taken_away_by_its_host_counts_as_run_queue_time() {
        let samples = [(0, 0, 0, b'R'), (10, 1, 0, b'R'), (20, 1, 0, b'R'), (30, 2, 0, b'R')];
        assert_eq!(split_with_slices(&samples, true), TimeSplit { on_cpu: 2, run_queue: 28, off_cpu: 0 });
    }

    #[test]
    fn a_wait_that_began_after_work_counts_once() {
        let clock = Clock::new();
        let ms = (1..).map(|n| n * 1_000).find(|n| clock.nanos(0, *n) >= MS).unwrap();
        let sample =
            |at, cpu, queue, slices, state| ThreadSample { at: at * ms, slices, ..sample(cpu, queue, state) };
        let mut splitter = TimeSplitter::new(sample(0, 0, 0, 1, b'S'));
        for sample in [
            sample(100, 0, 0, 1, b'S'),
            sample(110, 4, 0, 2, b'R'),
            // The thread is taken off its CPU after 2 ms and waits for 46 ms.
            sample(120, 6, 0, 2, b'R'),
            sample(150, 6, 0, 2, b'R'),
            sample(160, 8, 46, 3, b'R'),
        ] {
            splitter.add(sample, clock.nanos(splitter.at(), sample.at));
        }
        let times = splitter.split();
        assert!(times.off_cpu >= 100 * MS, "the sleep still counts: {times:?}");
        assert_eq!(times.run_queue / MS, 46, "{times:?}");
    }

    #[test]
    fn a_certain_wait_before_the_first_sample_is_credited() {
        let off_cpu = |first, before| TimeSplitter::begin(first, before, 70 * MS).split().off_cpu / MS;
        assert_eq!(off_cpu(sample(2, 5, b'S'), None), 63, "since the start of the thread");
        assert_eq!(off_cpu(sample(100, 250, b'D'), Some(sample(99, 240, b'S'))), 59);
        assert_eq!(off_cpu(sample(100, 250, b'S'), None), 0, "the thread may have run or waited for a CPU");
        assert_eq!(off_cpu(sample(2, 5, b'R'), None), 0, "the thread may wait for a CPU now");
        assert_eq!(off_cpu(sample(2, 5, b'T'), None), 0, "the thread was stopped");
        assert_eq!(off_cpu(ThreadSample { slices: 0, ..sample(2, 0, b'S') }, None), 0, "no schedstat");
    }

    #[test]
    fn a_pause_of_the_process_is_not_a_wait() {
        let mut splitter = TimeSplitter::new(sample(0, 0, b'R'));
        // The process was stopped for 300 of 342 ms. After that the thread
        // waited for a CPU.
        splitter.add(sample(2, 40, b'R'), 42 * MS);
        assert_eq!(splitter.split(), TimeSplit { on_cpu: 2 * MS, run_queue: 40 * MS, off_cpu: 0 });
    }

    #[test]
    fn proportions_hold_for_another_total() {
        let times = TimeSplit { on_cpu: 10, run_queue: 20, off_cpu: 70 };
        assert_eq!(times.scaled_to(200), TimeSplit { on_cpu: 20, run_queue: 40, off_cpu: 140 });
        assert_eq!(TimeSplit::default().scaled_to(5).off_cpu, 5);
    }
}
