//! The inspector for targets without stack capture: a stall is detected, but
//! its source line is unknown.

use std::sync::atomic::Ordering::Acquire;

use crate::evidence::Capture;
use crate::os::ThreadInfo;
use crate::process::Process;
use crate::record::clock::Clock;
use crate::record::slot::Slot;
use crate::self_metrics::{CaptureOutcome, SelfMetrics};
use crate::settings::Signals;
use crate::watchdog::sample::{ParkPlace, ThreadActivity, ThreadSample, ThreadTimes};

/// Returns `false`: nothing reports the calls of a thread.
pub(crate) fn shows_park_places() -> bool {
    false
}

/// Returns [`ParkPlace::Unknown`]: nothing reports the calls of a thread.
pub(crate) fn park_place(_thread: ThreadInfo) -> ParkPlace {
    ParkPlace::Unknown
}

/// Inspects one thread.
#[derive(Debug)]
pub(crate) struct Inspector {
    thread: ThreadInfo,
    slot: &'static Slot,
}

/// What a capture needs in addition to the thread.
pub(crate) struct CaptureTools<'t> {
    pub(crate) unwinder: &'t mut Unwinder,
    pub(crate) self_metrics: &'t SelfMetrics,
    pub(crate) signals: Signals,
}

/// Unwinds nothing.
#[derive(Debug)]
pub(crate) struct Unwinder;

impl Unwinder {
    pub(crate) fn new(_: Process) -> Self {
        Self
    }

    pub(crate) fn list_modules(&mut self) {}
}

impl Inspector {
    pub(crate) fn new(thread: ThreadInfo, slot: &'static Slot) -> Self {
        Self { thread, slot }
    }

    pub(crate) fn thread(&self) -> ThreadInfo {
        self.thread
    }

    /// Returns a sample that has the time and nothing else. Its state makes the
    /// whole time of a poll the poll's own: on these systems nothing shows a
    /// wait for a CPU.
    pub(crate) fn sample(&mut self, clock: &Clock) -> Option<ThreadSample> {
        Some(ThreadSample {
            times: self.times(clock)?,
            is_on_cpu: false,
            state: b'S',
            activity: ThreadActivity::Unknown,
        })
    }

    /// Returns the time and nothing else.
    pub(crate) fn times(&self, clock: &Clock) -> Option<ThreadTimes> {
        Some(ThreadTimes { at: clock.ticks(), ..ThreadTimes::default() })
    }

    /// As [`Self::times`].
    pub(crate) fn cpu_times(&self, clock: &Clock) -> Option<ThreadTimes> {
        self.times(clock)
    }

    pub(crate) fn capture(
        &mut self,
        _: u64,
        age_nanos: u64,
        _: &ThreadSample,
        tools: &mut CaptureTools<'_>,
    ) -> Option<Capture> {
        let CaptureTools { self_metrics, unwinder: Unwinder, signals: _ } = tools;
        self_metrics.count_capture(CaptureOutcome::NoStack);
        Some(Capture::without_stack(age_nanos, false, None))
    }

    pub(crate) fn is_in_poll(&self, seq: u64) -> bool {
        self.slot.seq().load(Acquire) == seq
    }

    pub(crate) fn signals_sent(&self) -> u64 {
        0
    }

    pub(crate) fn has_open_request(&self) -> bool {
        false
    }

    pub(crate) fn defers_capture(&self, _: &ThreadSample, _: Signals) -> bool {
        false
    }

    pub(crate) fn capture_without_stack(&self, age_nanos: u64, _: &ThreadSample) -> Capture {
        Capture::without_stack(age_nanos, false, None)
    }

    pub(crate) fn take_answer(&mut self, _: &mut CaptureTools<'_>) -> Option<Capture> {
        None
    }

    pub(crate) fn end_requests(&mut self) -> Option<Capture> {
        None
    }
}
