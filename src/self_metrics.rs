//! Counters of the watchdog's own work.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};
use std::time::Duration;

use crate::snapshot::PressureSnapshot;

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            const LABELS: &'static [&'static str] = &[$($label),*];
        }
    };
}

counters! {
    /// The outcome of a capture.
    CaptureOutcome {
        /// The thread copied its own stack.
        Signal = "signal",
        /// The watchdog read the stack from outside.
        Passive = "passive",
        /// The capture has no stack, only cause and duration.
        NoStack = "none",
        /// The thread moved on before the copy was complete, so it was
        /// discarded.
        Outdated = "late",
    }
}

counters! {
    /// Why an observation was lost.
    DropReason {
        /// A worker had more long polls and long waits between two passes of
        /// the watchdog than its ring buffer holds.
        RingFull = "ring_full",
        /// A poll passed the threshold, but no sample and no CPU times show
        /// what its thread did.
        EndedBeforeCapture = "ended_before_capture",
        /// The capture budget was used up.
        CaptureBudget = "capture_budget",
        /// The queue of the reporting thread was full.
        QueueFull = "queue_full",
        /// The maximum number of findings was reached.
        TooManyFindings = "too_many_findings",
    }
}

/// Counters that any thread may increment.
#[derive(Debug, Default)]
pub(crate) struct SelfMetrics {
    captures: [AtomicU64; CaptureOutcome::LABELS.len()],
    dropped: [AtomicU64; DropReason::LABELS.len()],
    starved_polls: AtomicU64,
    starved_nanos: AtomicU64,
    some_pressure_nanos: AtomicU64,
    full_pressure_nanos: AtomicU64,
    suppressed_reports: AtomicU64,
    /// The long polls that the latest pass found without a report or event.
    unsettled_polls: AtomicU64,
    /// The signal that copies stacks, zero before it is needed.
    signal: AtomicI32,
    signals_given_up: AtomicU32,
    /// The watchdog's thread id, zero before it runs.
    pub(crate) tid: AtomicI32,
}

impl SelfMetrics {
    pub(crate) fn count_capture(&self, outcome: CaptureOutcome) {
        self.captures[outcome as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn count_dropped(&self, reason: DropReason, n: u64) {
        self.dropped[reason as usize].fetch_add(n, Relaxed);
    }

    /// Counts the part of a long poll's time that is not its own: its thread
    /// waited for a CPU, the process was paused, or nothing is known.
    /// `is_only_cause` says whether the poll was long only because of that.
    pub(crate) fn count_starvation(&self, starved_nanos: u64, is_only_cause: bool) {
        self.starved_nanos.fetch_add(starved_nanos, Relaxed);
        self.starved_polls.fetch_add(u64::from(is_only_cause), Relaxed);
    }

    /// Adds time in which tasks were ready while some, or all, workers of a
    /// runtime were blocked.
    pub(crate) fn add_pressure(&self, some_nanos: u64, full_nanos: u64) {
        self.some_pressure_nanos.fetch_add(some_nanos, Relaxed);
        self.full_pressure_nanos.fetch_add(full_nanos, Relaxed);
    }

    pub(crate) fn pressure(&self) -> PressureSnapshot {
        let duration = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Relaxed));
        PressureSnapshot {
            some: duration(&self.some_pressure_nanos),
            full: duration(&self.full_pressure_nanos),
        }
    }

    /// Counts a report that was kept from log and terminal by the report
    /// budget.
    pub(crate) fn count_suppressed_report(&self) {
        self.suppressed_reports.fetch_add(1, Relaxed);
    }

    pub(crate) fn suppressed_reports(&self) -> u64 {
        self.suppressed_reports.load(Relaxed)
    }

    /// Sets the signal that copies stacks, and how many signals this process
    /// has given up before.
    pub(crate) fn set_signal(&self, signal: Option<i32>, given_up: u32) {
        self.signal.store(signal.unwrap_or(0), Relaxed);
        self.signals_given_up.store(given_up, Relaxed);
    }

    pub(crate) fn signal(&self) -> Option<i32> {
        Some(self.signal.load(Relaxed)).filter(|signal| *signal > 0)
    }

    pub(crate) fn signals_given_up(&self) -> u32 {
        self.signals_given_up.load(Relaxed)
    }

    pub(crate) fn set_unsettled_polls(&self, n: u64) {
        self.unsettled_polls.store(n, Relaxed);
    }

    pub(crate) fn unsettled_polls(&self) -> u64 {
        self.unsettled_polls.load(Relaxed)
    }

    pub(crate) fn starved_polls(&self) -> u64 {
        self.starved_polls.load(Relaxed)
    }

    pub(crate) fn starved_nanos(&self) -> u64 {
        self.starved_nanos.load(Relaxed)
    }

    pub(crate) fn captures(&self) -> Vec<(&'static str, u64)> {
        labelled(CaptureOutcome::LABELS, &self.captures)
    }

    pub(crate) fn drops(&self) -> Vec<(&'static str, u64)> {
        labelled(DropReason::LABELS, &self.dropped)
    }
}

fn labelled(labels: &[&'static str], counters: &[AtomicU64]) -> Vec<(&'static str, u64)> {
    labels.iter().zip(counters).map(|(label, counter)| (*label, counter.load(Relaxed))).collect()
}
