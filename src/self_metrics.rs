//! What the watchdog counts of its own doings.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI32, AtomicU64};
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
    /// How a capture ended.
    Captured {
        /// The thread copied its own stack.
        Signal = "signal",
        /// The stack was read from outside.
        Passive = "passive",
        /// No stack: cause and duration only.
        Nothing = "none",
        /// The poll was over before the stack was copied: thrown away.
        Late = "late",
    }
}

counters! {
    /// Why an observation was lost.
    Dropped {
        /// A worker had more long polls at once than its ring holds.
        RingFull = "ring_full",
        /// A poll passed the threshold but ended before the watchdog's next look.
        EndedBeforeCapture = "ended_before_capture",
        /// The budget of captures was spent.
        CaptureBudget = "capture_budget",
        /// The reporting thread could not keep up.
        QueueFull = "queue_full",
        /// There are more findings than are kept.
        TooManyFindings = "too_many_findings",
    }
}

/// Counters that any thread may raise.
#[derive(Debug, Default)]
pub(crate) struct SelfMetrics {
    captured: [AtomicU64; Captured::LABELS.len()],
    dropped: [AtomicU64; Dropped::LABELS.len()],
    starved_polls: AtomicU64,
    starved_nanos: AtomicU64,
    some_pressure_nanos: AtomicU64,
    full_pressure_nanos: AtomicU64,
    suppressed_reports: AtomicU64,
    /// The watchdog's thread id, zero before it runs.
    pub(crate) tid: AtomicI32,
}

impl SelfMetrics {
    pub(crate) fn captured(&self, how: Captured) {
        self.captured[how as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn dropped(&self, why: Dropped, n: u64) {
        self.dropped[why as usize].fetch_add(n, Relaxed);
    }

    /// A poll's thread waited that long for a CPU; `only` if that was what made
    /// the poll long.
    pub(crate) fn starved(&self, nanos: u64, only: bool) {
        self.starved_nanos.fetch_add(nanos, Relaxed);
        self.starved_polls.fetch_add(u64::from(only), Relaxed);
    }

    /// Tasks were ready for that long while some, or all, workers were blocked.
    pub(crate) fn pressed(&self, some_nanos: u64, full_nanos: u64) {
        self.some_pressure_nanos.fetch_add(some_nanos, Relaxed);
        self.full_pressure_nanos.fetch_add(full_nanos, Relaxed);
    }

    pub(crate) fn pressure(&self) -> PressureSnapshot {
        let time = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Relaxed));
        PressureSnapshot { some: time(&self.some_pressure_nanos), full: time(&self.full_pressure_nanos) }
    }

    /// Counts a report that its budget kept from log and terminal.
    pub(crate) fn report_suppressed(&self) {
        self.suppressed_reports.fetch_add(1, Relaxed);
    }

    pub(crate) fn suppressed_reports(&self) -> u64 {
        self.suppressed_reports.load(Relaxed)
    }

    pub(crate) fn starved_polls(&self) -> u64 {
        self.starved_polls.load(Relaxed)
    }

    pub(crate) fn starved_nanos(&self) -> u64 {
        self.starved_nanos.load(Relaxed)
    }

    pub(crate) fn captures(&self) -> Vec<(&'static str, u64)> {
        labelled(Captured::LABELS, &self.captured)
    }

    pub(crate) fn drops(&self) -> Vec<(&'static str, u64)> {
        labelled(Dropped::LABELS, &self.dropped)
    }
}

fn labelled(labels: &[&'static str], counters: &[AtomicU64]) -> Vec<(&'static str, u64)> {
    labels.iter().zip(counters).map(|(label, counter)| (*label, counter.load(Relaxed))).collect()
}
