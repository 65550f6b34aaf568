//! A poll that is followed from pass to pass.

use crate::evidence::{Capture, TimeSplit};
use crate::record::slot::ActivePoll;
use crate::watchdog::sample::ThreadSample;
use crate::watchdog::time_split::TimeSplitter;
use crate::watchdog::worker_monitor::driver_check::DriverCheck;
use crate::watchdog::worker_monitor::stretch::StretchTracker;

/// A running thread has just woken if its CPU time is less than the poll's
/// own time divided by this.
const JUST_WOKEN_CPU_DIVISOR: u64 = 4;
/// A thread that has just woken is not captured, for at most this many
/// consecutive wakes. If there are more, the thread sleeps again and again, and
/// wakes each time when the watchdog samples it.
const MAX_SKIPPED_WAKES: u32 = 8;

/// The watchdog makes at most this many passes for the first capture earlier
/// than at its regular interval. A thread that waits for a CPU does not come
/// closer to its capture.
const MAX_EARLY_PASSES: u32 = 3;

/// A progress message is due after this time at the latest.
const MAX_PROGRESS_STEP_NANOS: u64 = 1_000_000_000;

/// A poll that was in progress in some pass.
pub(super) struct TrackedPoll {
    pub(super) poll: ActivePoll,
    pub(super) splitter: TimeSplitter,
    /// The part of the poll's time in which the whole process was paused.
    pub(super) paused_nanos: u64,
    pub(super) captures: Vec<Capture>,
    /// The age at which the holder of the awaited lock is searched again.
    #[cfg(stack_capture)]
    pub(super) next_search_nanos: u64,
    /// Whether the search has shown which thread holds the awaited lock, or
    /// that none does.
    #[cfg(stack_capture)]
    pub(super) has_holder: bool,
    /// How many of the last searches in succession found one thread that is in
    /// no poll.
    #[cfg(stack_capture)]
    pub(super) searches_with_thread: u32,
    /// What the thread does now, and for how long.
    pub(super) stretch: StretchTracker,
    threshold_nanos: u64,
    /// The own time at which the next capture is due. It doubles each time.
    next_capture_nanos: u64,
    /// The shortest time after which the first capture may be due, if that is
    /// less than the regular interval of the passes.
    pub(super) nanos_to_capture: Option<u64>,
    /// How many passes were early for the first capture.
    pub(super) early_passes: u32,
    /// The number of consecutive wakes, see [`count_wakes`].
    wakes: u32,
    pub(super) driver: DriverCheck,
    /// The milestone of the latest report: how many ages of
    /// [`ONGOING_REPORT_NANOS`](super::ONGOING_REPORT_NANOS) had passed.
    pub(super) reported_milestone: Option<usize>,
    /// Whether the next pass reports the stall, although it has reported this
    /// milestone before.
    pub(super) is_report_due: bool,
    /// The number of the stretch of the last capture in the latest report.
    pub(super) reported_stretch: Option<u32>,
    /// The own time of the latest report or progress message.
    pub(super) told_nanos: u64,
    /// The latest time of which captures show what took it.
    pub(super) proven_times: TimeSplit,
    /// The latest sample, and the age at which it was taken.
    pub(super) last_sample: Option<(u64, ThreadSample)>,
    /// How many polls had found the ring of events full when this one began.
    pub(super) lost_polls: u64,
}

impl TrackedPoll {
    pub(super) fn new(
        poll: ActivePoll,
        splitter: TimeSplitter,
        lost_polls: u64,
        threshold_nanos: u64,
    ) -> Self {
        Self {
            poll,
            splitter,
            paused_nanos: 0,
            captures: Vec::new(),
            #[cfg(stack_capture)]
            next_search_nanos: 0,
            #[cfg(stack_capture)]
            has_holder: false,
            #[cfg(stack_capture)]
            searches_with_thread: 0,
            stretch: StretchTracker::default(),
            threshold_nanos,
            next_capture_nanos: threshold_nanos,
            nanos_to_capture: None,
            early_passes: 0,
            wakes: 0,
            driver: DriverCheck::new(threshold_nanos),
            reported_milestone: None,
            is_report_due: false,
            reported_stretch: None,
            told_nanos: 0,
            proven_times: TimeSplit::default(),
            last_sample: None,
            lost_polls,
        }
    }

    /// Returns whether a capture or the last sample shows what takes the time.
    pub(super) fn was_seen_to_block(&self) -> bool {
        !self.captures.is_empty() || self.last_sample.is_some_and(|(_, sample)| sample.waits_for_no_thread())
    }

    /// Returns whether a capture is due at this time of the poll, unless the
    /// thread has just woken.
    pub(super) fn is_capture_due(&self, sample: &ThreadSample, times: TimeSplit) -> bool {
        self.possibly_own(sample, times) >= self.next_capture_nanos || self.is_extra_capture_due()
    }

    /// Returns whether the thread does something else than in all captures, and
    /// has done so for a threshold.
    fn is_extra_capture_due(&self) -> bool {
        !self.captures.is_empty() && self.stretch.needs_capture(self.threshold_nanos)
    }

    fn possibly_own(&self, sample: &ThreadSample, times: TimeSplit) -> u64 {
        times.own() + self.splitter.possibly_own(sample)
    }

    /// Returns whether a capture is due after this sample, and schedules the
    /// next one if so. `before` is the previous sample of the same thread,
    /// and `times` is the poll's time until the sample.
    pub(super) fn take_due_capture(
        &mut self,
        sample: &ThreadSample,
        before: Option<&ThreadSample>,
        times: TimeSplit,
    ) -> bool {
        self.wakes = count_wakes(self.wakes, sample, before, times);
        let is_skipped = (1..=MAX_SKIPPED_WAKES).contains(&self.wakes);
        let own = self.possibly_own(sample, times);
        let is_regular = own >= self.next_capture_nanos && !is_skipped;
        let is_due = is_regular || self.is_extra_capture_due();
        if is_due {
            self.stretch.set_captured(!is_regular);
        }
        while is_due && self.next_capture_nanos <= own {
            self.next_capture_nanos *= 2;
        }
        is_due
    }

    /// Plans the next pass after this sample, so that the first capture is in
    /// time. A deferred capture is due as soon as possible.
    pub(super) fn plan_pass(&mut self, sample: &ThreadSample, times: TimeSplit, is_deferred: bool) {
        let own = self.possibly_own(sample, times);
        let to_capture = self.next_capture_nanos.saturating_sub(own);
        let is_early = is_deferred || (1..self.threshold_nanos / 4).contains(&to_capture);
        let is_allowed = is_early && self.captures.is_empty() && self.early_passes < MAX_EARLY_PASSES;
        self.nanos_to_capture = is_allowed.then_some(to_capture);
        self.early_passes += u32::from(is_allowed);
    }

    /// Returns whether the reporting thread should be told how long the poll
    /// lasts: its own time has grown by an eighth, or by a second, since the
    /// last message.
    pub(super) fn take_due_progress(&mut self, own_nanos: u64) -> bool {
        let step = (self.told_nanos / 8).min(MAX_PROGRESS_STEP_NANOS);
        let is_grown = own_nanos >= self.told_nanos + step;
        let is_due = self.reported_milestone.is_some() && is_grown;
        if is_due {
            self.told_nanos = own_nanos;
        }
        is_due
    }

    /// Returns whether the latest report shows what the thread does now. A
    /// capture without a stretch may show it.
    pub(super) fn is_stretch_reported(&self) -> bool {
        self.reported_stretch.is_none_or(|number| number == 0 || number == self.stretch.number())
    }

    /// Returns whether captures show more than one stretch.
    pub(super) fn shows_several_stretches(&self) -> bool {
        self.captures.windows(2).any(|pair| pair[0].stretch.number != pair[1].stretch.number)
    }

    /// Returns the number of the stretch that the last capture shows.
    pub(super) fn last_stretch(&self) -> Option<u32> {
        self.captures.last().map(|capture| capture.stretch.number)
    }

    /// Splits the poll's time until its last sample. `wall_nanos` is the age at
    /// that sample.
    pub(super) fn times(&self, wall_nanos: u64) -> TimeSplit {
        self.splitter.split(wall_nanos.saturating_sub(self.paused_nanos))
    }
}

/// Returns whether the thread runs now but waited for most of the poll. Then
/// its current code did not take the time. The next sample, if there is one,
/// shows more.
pub(super) fn has_just_woken(sample: &ThreadSample, times: TimeSplit) -> bool {
    sample.is_runnable() && times.on_cpu < times.own() / JUST_WOKEN_CPU_DIVISOR
}

/// Returns the number of consecutive wakes of a thread which every sample found
/// just woken. `wakes` is that number at the sample `before`. Returns zero if
/// the thread has not just woken.
///
/// On a busy machine, a thread waits for a CPU for many samples after one wake.
/// A signal at that time would interrupt the call that the thread is about to
/// leave. So another wake counts only if the thread has run since `before`.
pub(super) fn count_wakes(
    wakes: u32,
    sample: &ThreadSample,
    before: Option<&ThreadSample>,
    times: TimeSplit,
) -> u32 {
    let runs = |sample: &ThreadSample| (sample.times.cpu_nanos, sample.times.slices);
    let has_run = before.is_none_or(|before| runs(before) != runs(sample));
    match (has_just_woken(sample, times), wakes) {
        (false, _) => 0,
        (true, 0) => 1,
        (true, wakes) => wakes + u32::from(has_run),
    }
}
