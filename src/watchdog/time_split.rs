//! Splits the time of a poll by what its thread did, from readings of the
//! thread's CPU times.
//!
//! The kernel adds a wait for a CPU to the thread's run-queue time when the
//! wait ends. So between two moments at which a thread does not wait for a CPU,
//! the growth of that time is all the time that the thread lacked a CPU; the
//! rest is the thread's own. This holds however late the watchdog is. A reading
//! from before the poll, or from after its end, makes the growth an upper
//! bound. What no bound proves is unknown.

use crate::evidence::TimeSplit;
use crate::watchdog::sample::{ThreadSample, ThreadTimes};

/// More CPU time than this shows that the thread has run between two samples.
/// The values of one sample are read one after the other, so a smaller
/// difference may come from the reads alone.
const MIN_CPU_NANOS_TO_COUNT_AS_RUNNING: u64 = 20_000;

/// Adds up what is known of one poll. Ages are in nanoseconds since its start,
/// without pauses of the process: a thread of a stopped process seems to wait.
#[derive(Debug, Clone)]
pub(crate) struct TimeSplitter {
    /// The CPU times before the poll.
    before: ThreadTimes,
    /// The last sample, with its age.
    last: Option<(ThreadSample, u64)>,
    /// The last moment at which the thread did not wait for a CPU.
    anchor: Anchor,
    /// The age and the CPU time at the last moment at which the thread is known
    /// to have run or slept: a wait for a CPU that has not ended began later.
    active: (u64, u64),
    /// The own time so far. It never decreases.
    own: u64,
    /// Upper bounds of the time on a CPU and of the ended waits for a CPU.
    on_cpu: u64,
    run_queue: u64,
    /// The wait for a CPU that certainly has not ended.
    pending_wait: u64,
    /// The time in which the thread had a CPU and did not run, since the first
    /// sample in its present slice. If the thread runs again in this slice, the
    /// host had taken its virtual CPU away.
    idle_in_slice: u64,
    /// The time in which the virtual CPU was taken away.
    stolen: u64,
    /// The time in which the thread may have been stopped.
    stopped: u64,
}

/// A moment at which the thread did not wait for a CPU. The start of the poll
/// is the first one.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    age: u64,
    own: u64,
    cpu_nanos: u64,
    run_queue_nanos: u64,
    stolen: u64,
    stopped: u64,
}

impl TimeSplitter {
    /// `before` are the thread's CPU times from before the poll; the older they
    /// are, the less is proven about the time before the first sample.
    /// `gap_nanos` is the time from then to the start of the poll.
    pub(crate) fn new(before: ThreadTimes, gap_nanos: u64) -> Self {
        // The thread may have run during the whole gap.
        let cpu_nanos = before.cpu_nanos.saturating_add(gap_nanos);
        let anchor = Anchor {
            age: 0,
            own: 0,
            cpu_nanos,
            run_queue_nanos: before.run_queue_nanos,
            stolen: 0,
            stopped: 0,
        };
        Self {
            before,
            last: None,
            anchor,
            active: (0, cpu_nanos),
            own: 0,
            on_cpu: 0,
            run_queue: 0,
            pending_wait: 0,
            idle_in_slice: 0,
            stolen: 0,
            stopped: 0,
        }
    }

    /// Returns whether the poll has been sampled.
    pub(crate) fn has_sample(&self) -> bool {
        self.last.is_some()
    }

    /// Adds a sample of the poll at this age.
    pub(crate) fn add(&mut self, now: ThreadSample, age: u64) {
        let times = now.times;
        if let Some((last, last_age)) = self.last {
            self.add_interval(&last, &now, age.saturating_sub(last_age), last_age);
        } else {
            self.on_cpu = times.cpu_nanos.saturating_sub(self.before.cpu_nanos).min(age);
            self.run_queue = times.run_queue_nanos.saturating_sub(self.before.run_queue_nanos).min(age);
        }
        if now.has_no_pending_wait() {
            self.active = (age, times.cpu_nanos);
            self.pending_wait = 0;
        }
        let (active_age, active_cpu) = self.active;
        let possible_wait =
            age.saturating_sub(active_age).saturating_sub(times.cpu_nanos.saturating_sub(active_cpu));
        self.prove(&times, age, possible_wait, 0);
        if now.has_no_pending_wait() {
            self.anchor = Anchor {
                age,
                own: self.own,
                cpu_nanos: times.cpu_nanos,
                run_queue_nanos: times.run_queue_nanos,
                stolen: self.stolen,
                stopped: self.stopped,
            };
        }
        self.last = Some((now, age));
    }

    fn add_interval(&mut self, last: &ThreadSample, now: &ThreadSample, elapsed: u64, last_age: u64) {
        let (before, after) = (last.times, now.times);
        let ran = after.cpu_nanos.saturating_sub(before.cpu_nanos);
        let waited = after.run_queue_nanos.saturating_sub(before.run_queue_nanos);
        let rest = elapsed.saturating_sub(ran);
        let has_run = ran > MIN_CPU_NANOS_TO_COUNT_AS_RUNNING;
        self.on_cpu += ran.min(elapsed);
        self.run_queue += waited;
        if has_run {
            self.active = (last_age, before.cpu_nanos);
        }
        if last.is_stopped() || now.is_stopped() {
            self.stopped += rest;
        }
        let is_runnable = last.state == b'R' && now.state == b'R';
        let is_same_slice = is_runnable && after.slices > 0 && before.slices == after.slices;
        // A thread that sleeps in between gets a new slice before it runs.
        let has_only_waited = is_same_slice && !has_run && !last.is_on_cpu && !now.is_on_cpu;
        self.pending_wait = if has_only_waited { self.pending_wait + elapsed } else { 0 };
        if !is_same_slice {
            self.idle_in_slice = 0;
        } else if now.is_on_cpu {
            self.stolen += std::mem::take(&mut self.idle_in_slice) + rest;
        } else if has_run {
            self.stolen += std::mem::replace(&mut self.idle_in_slice, rest);
        } else {
            self.idle_in_slice += rest;
        }
    }

    /// Raises the own time to what these CPU times prove for this age. The
    /// thread may wait for a CPU since `possible_wait`, and may have run for
    /// `late_nanos` after that age.
    fn prove(&mut self, times: &ThreadTimes, age: u64, possible_wait: u64, late_nanos: u64) {
        let Anchor { age: since, own, cpu_nanos, run_queue_nanos, stolen, stopped } = self.anchor;
        let ran = times.cpu_nanos.saturating_sub(cpu_nanos).saturating_sub(late_nanos);
        let waited = times.run_queue_nanos.saturating_sub(run_queue_nanos) + possible_wait;
        let not_own = waited + (self.stolen - stolen) + (self.stopped - stopped);
        let not_waited = age.saturating_sub(since).saturating_sub(not_own);
        self.own = self.own.max(own + ran.max(not_waited)).min(age);
    }

    /// Returns the split of the poll until its last sample, which has this age
    /// or an earlier one.
    pub(crate) fn split(&self, age: u64) -> TimeSplit {
        let own = self.own.min(age);
        let on_cpu = self.on_cpu.min(own);
        let run_queue = (self.run_queue + self.pending_wait + self.stolen).min(age - own);
        TimeSplit { on_cpu, run_queue, off_cpu: own - on_cpu, unknown: age - own - run_queue }
    }

    /// Returns the split of the whole poll, which ended at this age. `after`
    /// are CPU times of the thread that were read `late_nanos` after the end,
    /// if they could be read.
    ///
    /// The thread ran at the end of the poll. So a wait for a CPU that has not
    /// ended began after it.
    pub(crate) fn split_at_end(&self, age: u64, after: Option<ThreadTimes>, late_nanos: u64) -> TimeSplit {
        let mut ended = self.clone();
        ended.pending_wait = 0;
        let Some(times) = after else { return ended.split(age) };
        let (last, last_age) = self.last.map_or((self.before, 0), |(last, last_age)| (last.times, last_age));
        let ran = times.cpu_nanos.saturating_sub(last.cpu_nanos).min(age.saturating_sub(last_age));
        ended.on_cpu += ran;
        ended.run_queue += times.run_queue_nanos.saturating_sub(last.run_queue_nanos);
        let is_runnable = self.last.is_some_and(|(last, _)| last.state == b'R');
        if is_runnable && times.slices > 0 && last.slices == times.slices {
            ended.stolen += self.idle_in_slice + age.saturating_sub(last_age).saturating_sub(ran);
        }
        if self.last.is_some_and(|(last, _)| last.is_stopped()) {
            ended.stopped += age.saturating_sub(last_age).saturating_sub(ran);
        }
        ended.prove(&times, age, 0, late_nanos);
        ended.split(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watchdog::sample::{InSyscall, ThreadActivity};

    const MS: u64 = 1_000_000;

    /// What a sample of a thread shows, in milliseconds. The letters are those
    /// of proc(5), except that `C` is a thread on a CPU, and `R` is one that is
    /// runnable and not on a CPU.
    #[derive(Clone, Copy)]
    struct At {
        age: u64,
        cpu: u64,
        queue: u64,
        slices: u64,
        state: u8,
    }

    fn at(age: u64, cpu: u64, queue: u64, state: u8) -> At {
        // Each sample is in a slice of its own.
        At { age, cpu, queue, slices: 100 + age, state }
    }

    fn in_slice(slices: u64, age: u64, cpu: u64, queue: u64, state: u8) -> At {
        At { slices, ..at(age, cpu, queue, state) }
    }

    fn times(at: At) -> ThreadTimes {
        let At { cpu, queue, slices, .. } = at;
        ThreadTimes { at: 0, cpu_nanos: cpu * MS, run_queue_nanos: queue * MS, slices }
    }

    fn sample(at: At) -> ThreadSample {
        let waiting = ThreadActivity::InSyscall(InSyscall { number: 230, arguments: [0; 6], sp: 0, pc: 0 });
        let is_runnable = matches!(at.state, b'C' | b'R');
        ThreadSample {
            times: times(at),
            is_on_cpu: at.state == b'C',
            state: if is_runnable { b'R' } else { at.state },
            activity: if is_runnable { ThreadActivity::Running } else { waiting },
        }
    }

    /// Adds samples to a poll that began `gap` after a reading of zeros.
    fn splitter(gap: u64, samples: &[At]) -> TimeSplitter {
        let mut splitter = TimeSplitter::new(ThreadTimes::default(), gap * MS);
        for now in samples {
            splitter.add(sample(*now), now.age * MS);
        }
        splitter
    }

    fn in_ms(split: TimeSplit) -> [u64; 4] {
        let TimeSplit { on_cpu, run_queue, off_cpu, unknown } = split;
        [on_cpu, run_queue, off_cpu, unknown].map(|nanos| (nanos + MS / 2) / MS)
    }

    /// Returns on-CPU, run queue, off-CPU and unknown time at the last sample.
    fn split(gap: u64, samples: &[At]) -> [u64; 4] {
        in_ms(splitter(gap, samples).split(samples.last().unwrap().age * MS))
    }

    /// Returns the split of a poll that ended at `age`. Its thread was read
    /// `late` after that, with these CPU times.
    fn split_at_end(gap: u64, samples: &[At], age: u64, after: At, late: u64) -> [u64; 4] {
        in_ms(splitter(gap, samples).split_at_end(age * MS, Some(times(after)), late * MS))
    }

    #[test]
    fn a_sleeper_is_off_cpu() {
        assert_eq!(split(0, &[at(5, 0, 0, b'S'), at(100, 1, 0, b'S')]), [1, 0, 99, 0]);
        assert_eq!(split(0, &[at(5, 0, 0, b'S'), at(100, 1, 20, b'S')]), [1, 20, 79, 0]);
    }

    #[test]
    fn a_spinner_is_on_cpu() {
        assert_eq!(split(0, &[at(5, 5, 0, b'C'), at(50, 50, 0, b'C'), at(100, 99, 1, b'C')]), [99, 1, 0, 0]);
    }

    #[test]
    fn a_wait_for_a_cpu_counts_once_and_before_the_kernel_adds_it() {
        let waiting = |age| in_slice(7, age, 0, 0, b'R');
        let samples = [waiting(5), waiting(30), waiting(60)];
        assert_eq!(split(0, &samples), [0, 55, 0, 5], "before the first sample, nothing is known");
        let [first, second, third] = samples;
        let credited = [first, second, third, at(70, 5, 65, b'C')];
        assert_eq!(split(0, &credited), [5, 65, 0, 0]);
    }

    #[test]
    fn a_throttled_poll_that_is_first_sampled_late_has_no_more_than_its_cpu_time() {
        // The poll of 3 ms was throttled for 70 ms, the watchdog too.
        assert_eq!(split(1, &[at(73, 4, 70, b'C')]), [3, 70, 0, 0]);
        assert_eq!(split(1, &[at(73, 3, 0, b'R')]), [2, 0, 0, 71], "it still waits for a CPU");
        assert_eq!(split(1, &[at(73, 3, 0, b'S')]), [3, 0, 70, 0], "it slept all the time");
    }

    #[test]
    fn a_poll_that_no_sample_saw_has_what_the_cpu_times_leave_over() {
        assert_eq!(split_at_end(2, &[], 73, at(0, 4, 70, b'C'), 1), [3, 70, 0, 0], "throttled");
        assert_eq!(split_at_end(2, &[], 12, at(0, 13, 0, b'C'), 1), [12, 0, 0, 0], "a computation");
        assert_eq!(split_at_end(2, &[], 12, at(0, 2, 0, b'C'), 1), [2, 0, 10, 0], "a sleep");
        assert_eq!(
            split_at_end(40, &[], 60, at(0, 10, 80, b'C'), 40),
            [0, 60, 0, 0],
            "the waits may all have been in the poll"
        );
    }

    #[test]
    fn without_a_reading_after_the_end_the_rest_is_unknown() {
        let polled = splitter(0, &[at(5, 0, 0, b'S'), at(10, 0, 0, b'S')]);
        assert_eq!(in_ms(polled.split_at_end(80 * MS, None, 0)), [0, 0, 10, 70]);
    }

    #[test]
    fn a_wait_for_a_cpu_after_the_end_takes_nothing_from_the_samples() {
        let sleeps = [at(5, 0, 0, b'S'), at(58, 0, 0, b'S')];
        assert_eq!(split_at_end(0, &sleeps, 60, at(0, 1, 70, b'C'), 75), [1, 2, 57, 0]);
        assert_eq!(split_at_end(0, &sleeps, 60, at(0, 1, 0, b'R'), 75), [1, 0, 59, 0]);
    }

    #[test]
    fn the_own_time_never_decreases() {
        let mut splitter = splitter(0, &[at(5, 0, 0, b'S'), at(50, 0, 0, b'S')]);
        let mut before = splitter.split(50 * MS).own();
        for now in [at(60, 0, 0, b'R'), at(70, 1, 19, b'C'), at(80, 1, 19, b'R'), at(90, 2, 60, b'S')] {
            splitter.add(sample(now), now.age * MS);
            let own = splitter.split(now.age * MS).own();
            assert!(own >= before, "{own} after {before} at {} ms", now.age);
            before = own;
        }
        assert_eq!(before / MS, 52);
    }

    #[test]
    fn short_waits_between_runs_are_not_starvation() {
        // The thread is runnable at each sample, but sleeps in between, for
        // example on a fast disk.
        let samples = [at(5, 0, 0, b'R'), at(10, 2, 0, b'R'), at(20, 4, 0, b'R'), at(30, 6, 0, b'R')];
        assert_eq!(split(0, &samples), [6, 0, 16, 8], "the last 8 ms may be a wait for a CPU");
        let [first, second, third, fourth] = samples;
        assert_eq!(split(0, &[first, second, third, fourth, at(40, 8, 0, b'S')]), [8, 0, 32, 0]);
    }

    #[test]
    fn a_virtual_cpu_taken_away_by_its_host_counts_as_run_queue_time() {
        let on = |age, cpu, state| in_slice(7, age, cpu, 0, state);
        let samples = [on(0, 0, b'C'), on(10, 1, b'R'), on(20, 1, b'R'), on(30, 2, b'C')];
        assert_eq!(split(0, &samples), [2, 28, 0, 0]);
    }

    #[test]
    fn a_wait_that_began_after_work_counts_once() {
        let samples = [
            in_slice(1, 5, 0, 0, b'S'),
            in_slice(1, 100, 0, 0, b'S'),
            in_slice(2, 110, 4, 0, b'C'),
            // The thread is taken off its CPU after 2 ms and waits for 46 ms.
            in_slice(2, 120, 6, 0, b'R'),
            in_slice(2, 150, 6, 0, b'R'),
            in_slice(3, 160, 8, 42, b'C'),
        ];
        assert_eq!(split(0, &samples), [8, 42, 110, 0]);
    }

    #[test]
    fn a_certain_wait_before_the_first_sample_is_credited() {
        assert_eq!(split(9, &[at(70, 2, 5, b'S')]), [2, 5, 63, 0]);
        assert_eq!(split(9, &[at(70, 2, 250, b'D')]), [0, 70, 0, 0], "the thread may have waited for a CPU");
        assert_eq!(split(9, &[at(70, 2, 5, b'R')]), [0, 5, 0, 65], "the thread may wait for a CPU now");
        assert_eq!(split(9, &[at(70, 2, 5, b'T')]), [0, 5, 0, 65], "the thread was stopped");
    }

    #[test]
    fn a_thread_that_was_stopped_is_not_blamed() {
        let samples = [at(5, 0, 0, b'S'), at(10, 0, 0, b'T'), at(80, 0, 0, b'T'), at(90, 0, 0, b'S')];
        assert_eq!(split(0, &samples), [0, 0, 5, 85]);
    }

    #[test]
    fn without_run_queue_times_a_sleep_is_off_cpu() {
        let samples = [in_slice(0, 5, 0, 0, b'?'), in_slice(0, 100, 1, 0, b'?')];
        assert_eq!(split(0, &samples), [1, 0, 99, 0]);
        let on_cpu = [in_slice(0, 5, 5, 0, b'C'), in_slice(0, 50, 50, 0, b'R'), in_slice(0, 90, 90, 0, b'R')];
        assert_eq!(split(0, &on_cpu), [90, 0, 0, 0]);
    }
}
