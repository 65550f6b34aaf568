//! Splits the time of a poll by what its thread did, from readings of the
//! thread's CPU times.
//!
//! The kernel adds a wait for a CPU to the thread's run-queue time when the
//! wait ends. So between two moments at which a thread does not wait for a CPU,
//! the growth of that time is all the time that the thread lacked a CPU; the
//! rest is the thread's own. This holds however late the watchdog is. A reading
//! from before the poll, or from after its end, makes the growth an upper
//! bound. What no bound proves is unknown.
//!
//! Where the run-queue time cannot be read, two things prove own time: the
//! growth of the CPU time, and a sleep at two samples without such growth,
//! because a thread that wakes runs before it sleeps again.

use crate::evidence::TimeSplit;
use crate::record::clock::Ticks;
use crate::watchdog::sample::{ThreadSample, ThreadTimes};

/// More CPU time than this shows that the thread has run between two samples.
/// The values of one sample are read one after the other, so a smaller
/// difference may come from the reads alone.
const MIN_CPU_NANOS_TO_COUNT_AS_RUNNING: u64 = 20_000;
/// If the watchdog waited for a CPU for more than the time between two samples
/// less the time divided by this, the whole time counts as such a wait: short
/// waits are not measured, and the begin and the end of a long one roughly.
const MIN_LOOKED_DIVISOR: u64 = 4;

/// Adds up what is known of one poll. Ages are in nanoseconds since its start,
/// without pauses of the process: a thread of a stopped process seems to wait.
#[derive(Debug, Clone)]
pub(crate) struct TimeSplitter {
    /// The CPU times before the poll.
    before: ThreadTimes,
    /// The CPU time at the start of the poll, or more.
    start_cpu_nanos: u64,
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
    /// The last run-queue time that could be read.
    seen_run_queue: Option<u64>,
    /// The part of `run_queue` that may be from before the poll.
    first_run_queue: u64,
    /// The time in which the thread certainly slept, without a run-queue time.
    slept: u64,
    /// The wait for a CPU that certainly has not ended.
    pending_wait: u64,
    /// The time in which the thread had a CPU and did not run, since the first
    /// sample in its present slice. If the thread runs again in this slice, the
    /// host had taken its virtual CPU away.
    idle_in_slice: u64,
    /// The time in which the virtual CPU was taken away.
    stolen: u64,
    /// The time in which the thread may have been stopped, or may have waited
    /// for a thread that had no CPU.
    stopped: u64,
}

/// A moment at which the thread did not wait for a CPU. The start of the poll
/// is the first one.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    age: u64,
    own: u64,
    cpu_nanos: u64,
    run_queue_nanos: Option<u64>,
    slept: u64,
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
            slept: 0,
            stolen: 0,
            stopped: 0,
        };
        Self {
            before,
            start_cpu_nanos: cpu_nanos,
            last: None,
            anchor,
            active: (0, cpu_nanos),
            own: 0,
            on_cpu: 0,
            run_queue: 0,
            seen_run_queue: before.run_queue_nanos,
            first_run_queue: 0,
            slept: 0,
            pending_wait: 0,
            idle_in_slice: 0,
            stolen: 0,
            stopped: 0,
        }
    }

    /// Adds CPU times that were read in the poll, at this age and before the
    /// first sample. Growth before that reading is in the poll for no longer
    /// than this age.
    pub(crate) fn narrow(&mut self, reading: &ThreadTimes, age: u64) {
        if self.last.is_some() {
            return;
        }
        let in_poll = |read: u64, before: u64| read.saturating_sub(before).min(age);
        let cpu_nanos = in_poll(reading.cpu_nanos, self.before.cpu_nanos);
        self.before.cpu_nanos = reading.cpu_nanos - cpu_nanos;
        if let (Some(read), Some(before)) = (reading.run_queue_nanos, self.before.run_queue_nanos) {
            self.before.run_queue_nanos = Some(read - in_poll(read, before));
            self.anchor.run_queue_nanos = self.before.run_queue_nanos;
            self.seen_run_queue = self.before.run_queue_nanos;
        }
        self.limit_start_cpu(reading);
    }

    /// Notes that the thread had this CPU time at the start of the poll, or
    /// less: `reading` is the first one in the poll.
    fn limit_start_cpu(&mut self, reading: &ThreadTimes) {
        self.start_cpu_nanos = self.start_cpu_nanos.min(reading.cpu_nanos);
        self.anchor.cpu_nanos = self.start_cpu_nanos;
        self.active.1 = self.start_cpu_nanos;
    }

    /// Returns the time from the start of the poll to the reading `times`,
    /// without the pauses of the process: `paused_nanos` of `wall_nanos`. The
    /// thread may have run for `late_nanos` after the poll.
    ///
    /// The watchdog's own delays show a pause, and other delays of the watchdog
    /// look the same. So time that is proven to be the poll's own is none.
    pub(crate) fn age(
        &self,
        times: &ThreadTimes,
        wall_nanos: u64,
        paused_nanos: u64,
        late_nanos: u64,
    ) -> u64 {
        let ran = times.cpu_nanos.saturating_sub(self.start_cpu_nanos).saturating_sub(late_nanos);
        wall_nanos.saturating_sub(paused_nanos).max(ran).max(self.own).min(wall_nanos)
    }

    /// Returns whether the poll has been sampled.
    pub(crate) fn has_sample(&self) -> bool {
        self.last.is_some()
    }

    /// Returns when the poll was last sampled.
    pub(crate) fn last_sample_at(&self) -> Option<Ticks> {
        self.last.map(|(last, _)| last.times.at)
    }

    /// Adds a sample of the poll at this age. Since the last sample, or since
    /// the start, the watchdog itself waited for a CPU for `gap_nanos`. In that
    /// time other threads may have waited too, and kept a lock.
    pub(crate) fn add(&mut self, now: ThreadSample, age: u64, gap_nanos: u64) {
        let times = now.times;
        let stopped = self.stopped;
        if !now.waits_for_no_thread() {
            self.add_gap(&times, gap_nanos, age);
        }
        if let Some((last, last_age)) = self.last {
            let elapsed = age.saturating_sub(last_age);
            self.add_interval(&last, &now, elapsed, last_age);
            if has_slept(&last, &now) {
                self.slept += elapsed.saturating_sub(self.stopped - stopped);
            }
        } else {
            self.on_cpu = times.cpu_nanos.saturating_sub(self.before.cpu_nanos).min(age);
            self.first_run_queue = times.known_wait_since(self.seen_run_queue).min(age);
            self.run_queue = self.first_run_queue;
            self.limit_start_cpu(&times);
        }
        self.seen_run_queue = times.run_queue_nanos.or(self.seen_run_queue);
        if now.has_no_pending_wait() {
            self.active = (age, times.cpu_nanos);
            self.pending_wait = 0;
        }
        // The thread had run for no longer at the anchor than now.
        self.anchor.cpu_nanos = self.anchor.cpu_nanos.min(times.cpu_nanos);
        let (active_age, active_cpu) = self.active;
        let possible_wait =
            age.saturating_sub(active_age).saturating_sub(times.cpu_nanos.saturating_sub(active_cpu));
        self.prove(&times, age, possible_wait, 0);
        // Without a run-queue time, the older moment proves more.
        if now.has_no_pending_wait() && times.run_queue_nanos.is_some() {
            self.anchor = Anchor {
                age,
                own: self.own,
                cpu_nanos: times.cpu_nanos,
                run_queue_nanos: times.run_queue_nanos,
                slept: self.slept,
                stolen: self.stolen,
                stopped: self.stopped,
            };
        }
        self.last = Some((now, age));
    }

    /// Returns the time that may be the poll's own, although it is not proven:
    /// the waits for a CPU that may be from before the poll, of a thread that
    /// waits for something else now. Its stack is captured in time if the end
    /// of the poll proves it.
    pub(crate) fn possibly_own(&self, now: &ThreadSample) -> u64 {
        if now.waits_for_no_thread() { self.first_run_queue } else { 0 }
    }

    /// Adds a gap between the last sample and `now`, at this age. If the
    /// thread waited for a CPU too, it did so in the gap: a quota throttles all
    /// threads at once.
    fn add_gap(&mut self, now: &ThreadTimes, gap_nanos: u64, age: u64) {
        let (last, last_age) = self.last.unzip();
        if !last.is_some_and(|last| last.waits_for_no_thread()) {
            let before = last.map_or(self.before, |last| last.times);
            let elapsed = age.saturating_sub(last_age.unwrap_or(0));
            let is_most = gap_nanos > elapsed - elapsed / MIN_LOOKED_DIVISOR;
            let gap_nanos = if is_most { elapsed } else { gap_nanos };
            self.stopped += gap_nanos.saturating_sub(now.known_wait_since(before.run_queue_nanos));
        }
    }

    fn add_interval(&mut self, last: &ThreadSample, now: &ThreadSample, elapsed: u64, last_age: u64) {
        let (before, after) = (last.times, now.times);
        let ran = after.cpu_nanos.saturating_sub(before.cpu_nanos);
        let waited = after.known_wait_since(self.seen_run_queue);
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
        let Anchor { age: since, own, cpu_nanos, run_queue_nanos, slept, stolen, stopped } = self.anchor;
        let ran = times.cpu_nanos.saturating_sub(cpu_nanos).saturating_sub(late_nanos);
        let not_waited = times.wait_since(run_queue_nanos).map_or(0, |waited| {
            let not_own = waited + possible_wait + (self.stolen - stolen) + (self.stopped - stopped);
            age.saturating_sub(since).saturating_sub(not_own)
        });
        let ran_or_slept = ran + (self.slept - slept);
        self.own = self.own.max(own + ran_or_slept.max(not_waited)).min(age);
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
    /// if they could be read. `gap_nanos` is as in [`Self::add`].
    ///
    /// The thread ran at the end of the poll. So a wait for a CPU that has not
    /// ended began after it.
    pub(crate) fn split_at_end(
        &self,
        age: u64,
        after: Option<ThreadTimes>,
        late_nanos: u64,
        gap_nanos: u64,
    ) -> TimeSplit {
        let mut ended = self.clone();
        ended.pending_wait = 0;
        let Some(times) = after else { return ended.split(age) };
        ended.add_gap(&times, gap_nanos, age);
        let (last, last_age) = self.last.map_or((self.before, 0), |(last, last_age)| (last.times, last_age));
        let ran = times.cpu_nanos.saturating_sub(last.cpu_nanos).min(age.saturating_sub(last_age));
        ended.on_cpu += ran;
        ended.run_queue += times.known_wait_since(self.seen_run_queue);
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

/// Returns whether the thread slept for the whole time between two samples
/// without a run-queue time.
fn has_slept(before: &ThreadSample, now: &ThreadSample) -> bool {
    let is_unread = |sample: &ThreadSample| sample.times.run_queue_nanos.is_none();
    is_unread(before)
        && is_unread(now)
        && before.is_asleep()
        && now.is_asleep()
        && before.times.cpu_nanos == now.times.cpu_nanos
}

#[cfg(test)]
mod tests;
