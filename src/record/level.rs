//! How much the hooks record at present. Any thread may change it at any time.
//!
//! A poll keeps the level at which it began: the hook that ends it looks at the
//! poll, not here. So a change in the middle of a poll needs no agreement
//! between threads.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::record::clock::{Clock, Ticks};
use crate::recording::Recording;

/// A bit: polls read no clock.
const DETECT: u8 = 1;
/// A bit: polls that begin are not recorded.
const PAUSED: u8 = 2;
/// A bit that is never cleared: some polls were recorded in full.
const HAS_BEEN_FULL: u8 = 4;

/// What the hooks do with a poll that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
// Without `tokio_unstable`, no hook begins a poll.
#[cfg_attr(not(tokio_unstable), allow(dead_code))]
pub(crate) enum Level {
    Full,
    Detect,
    Paused,
}

/// The present level of a recorder.
#[derive(Debug)]
pub(crate) struct RecordingLevel {
    bits: AtomicU8,
    /// When the latest full recording began.
    full_since: AtomicU64,
}

impl RecordingLevel {
    pub(crate) fn new(recording: Recording, is_paused: bool) -> Self {
        let bits = detect_bit(recording) | if is_paused { PAUSED } else { 0 };
        Self { bits: AtomicU8::new(with_history(bits)), full_since: AtomicU64::new(0) }
    }

    /// Returns whether polls are recorded in full.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        is_full(self.bits.load(Relaxed))
    }

    #[inline]
    pub(crate) fn is_paused(&self) -> bool {
        self.bits.load(Relaxed) & PAUSED != 0
    }

    #[inline]
    #[cfg_attr(not(tokio_unstable), allow(dead_code))]
    pub(crate) fn get(&self) -> Level {
        match self.bits.load(Relaxed) & (DETECT | PAUSED) {
            0 => Level::Full,
            DETECT => Level::Detect,
            _ => Level::Paused,
        }
    }

    /// Returns how much is recorded unless the recorder is paused.
    pub(crate) fn recording(&self) -> Recording {
        if self.bits.load(Acquire) & DETECT == 0 { Recording::Full } else { Recording::Detect }
    }

    /// Returns whether polls have been recorded in full at any time.
    pub(crate) fn has_been_full(&self) -> bool {
        self.bits.load(Acquire) & HAS_BEEN_FULL != 0
    }

    /// Returns since when all polls are recorded in full, or `None` if they are
    /// not.
    pub(crate) fn full_since(&self) -> Option<Ticks> {
        // Read second: it is written before the level becomes full.
        is_full(self.bits.load(Acquire)).then(|| self.full_since.load(Acquire))
    }

    pub(crate) fn set_recording(&self, recording: Recording, clock: &Clock) {
        self.change(clock, |bits| bits & !DETECT | detect_bit(recording));
    }

    pub(crate) fn set_paused(&self, is_paused: bool, clock: &Clock) {
        self.change(clock, |bits| if is_paused { bits | PAUSED } else { bits & !PAUSED });
    }

    fn change(&self, clock: &Clock, change: impl Fn(u8) -> u8) {
        let mut bits = self.bits.load(Acquire);
        loop {
            let changed = with_history(change(bits));
            if is_full(changed) && !is_full(bits) {
                self.full_since.fetch_max(clock.ticks(), Release);
            }
            match self.bits.compare_exchange_weak(bits, changed, AcqRel, Acquire) {
                Ok(_) => return,
                Err(present) => bits = present,
            }
        }
    }
}

fn detect_bit(recording: Recording) -> u8 {
    match recording {
        Recording::Full => 0,
        Recording::Detect => DETECT,
    }
}

/// Returns whether polls are recorded in full.
#[inline]
fn is_full(bits: u8) -> bool {
    bits & (DETECT | PAUSED) == 0
}

fn with_history(bits: u8) -> u8 {
    if is_full(bits) { bits | HAS_BEEN_FULL } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_keeps_what_is_recorded_afterwards() {
        let clock = Clock::new();
        let level = RecordingLevel::new(Recording::Detect, false);
        assert_eq!((level.get(), level.has_been_full(), level.full_since()), (Level::Detect, false, None));
        level.set_paused(true, &clock);
        assert_eq!((level.get(), level.recording()), (Level::Paused, Recording::Detect));
        level.set_recording(Recording::Full, &clock);
        assert_eq!((level.get(), level.has_been_full()), (Level::Paused, false), "it is still paused");
        let before = clock.ticks();
        level.set_paused(false, &clock);
        assert!(level.is_full() && level.has_been_full() && level.full_since() >= Some(before));
        level.set_recording(Recording::Detect, &clock);
        assert_eq!((level.get(), level.has_been_full(), level.full_since()), (Level::Detect, true, None));
    }

    #[test]
    fn changes_by_several_threads_are_not_lost() {
        let clock = Clock::new();
        let level = RecordingLevel::new(Recording::Full, false);
        std::thread::scope(|scope| {
            for recording in [Recording::Full, Recording::Detect] {
                let (level, clock) = (&level, &clock);
                scope.spawn(move || {
                    for n in 0..1_000 {
                        level.set_recording(recording, clock);
                        level.set_paused(n % 2 == 0, clock);
                    }
                });
            }
        });
        assert!(!level.is_paused(), "both threads have ended with a resume");
        level.set_recording(Recording::Full, &clock);
        assert!(level.is_full());
    }
}
