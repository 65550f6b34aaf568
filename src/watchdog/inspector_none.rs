//! Where stacks cannot be had yet: the stall is seen, its line is not.

use crate::evidence::Capture;
use crate::os::ThreadInfo;
use crate::record::clock::Clock;
use crate::record::slot::Slot;
use crate::self_metrics::{Captured, SelfMetrics};
use crate::settings::Signals;
use crate::watchdog::sample::{ThreadActivity, ThreadSample};

/// Looks at one thread.
#[derive(Debug)]
pub(crate) struct Inspector {
    thread: ThreadInfo,
}

/// What a look needs besides the thread.
pub(crate) struct CaptureTools<'t> {
    pub(crate) unwinder: &'t mut Unwinder,
    pub(crate) self_metrics: &'t SelfMetrics,
    pub(crate) signals: Signals,
}

/// Unwinds nothing here.
#[derive(Debug)]
pub(crate) struct Unwinder;

impl Unwinder {
    pub(crate) fn new() -> Self {
        Self
    }
}

impl Inspector {
    pub(crate) fn new(thread: ThreadInfo, _slot: &'static Slot) -> Self {
        Self { thread }
    }

    pub(crate) fn thread(&self) -> ThreadInfo {
        self.thread
    }

    /// A made-up sample: time passes, and nothing is known of it.
    pub(crate) fn sample(&self, clock: &Clock) -> Option<ThreadSample> {
        Some(ThreadSample {
            at: clock.ticks(),
            cpu_nanos: 0,
            run_queue_nanos: 0,
            slices: 0,
            state: b'?',
            activity: ThreadActivity::Unknown,
        })
    }

    pub(crate) fn capture(
        &mut self,
        _: u64,
        at_nanos: u64,
        _: &ThreadSample,
        tools: &mut CaptureTools<'_>,
    ) -> Option<Capture> {
        let CaptureTools { self_metrics, unwinder: Unwinder, signals: _ } = tools;
        self_metrics.captured(Captured::Nothing);
        Some(Capture::without_stack(at_nanos, false, None))
    }

    pub(crate) fn seems_to_hold(&self, _: u64) -> bool {
        false
    }

    pub(crate) fn is_asking(&self) -> bool {
        false
    }

    pub(crate) fn classify(&self, at_nanos: u64, _: &ThreadSample) -> Capture {
        Capture::without_stack(at_nanos, false, None)
    }

    pub(crate) fn late_answer(&mut self, _: &mut CaptureTools<'_>) -> Option<Capture> {
        None
    }

    pub(crate) fn forget(&mut self) -> Option<Capture> {
        None
    }
}
