//! Shows whether a thread has written to a word of its memory meanwhile.
//!
//! The processor compares each address that the thread writes to. At the first
//! match the kernel counts it and switches the comparison off. The thread is
//! not stopped, and gets no signal.

use std::fs::File;
use std::io::{self, Read};

use crate::threads::registers::perf_event::{
    self, Attributes, DISABLED, EXCLUDE_HYPERVISOR, EXCLUDE_KERNEL, PINNED,
};

const TYPE_BREAKPOINT: u32 = 5;
const ON_WRITE: u32 = 2;
const WORD_BYTES: u64 = 8;

/// Notes the first write of a thread to a word.
#[derive(Debug)]
pub(super) struct WriteGuard {
    event: File,
}

impl WriteGuard {
    /// Begins to note writes of a thread to the word at `address`.
    pub(super) fn new(tid: i32, address: u64) -> io::Result<Self> {
        let event = perf_event::open(
            tid,
            Attributes {
                event_type: TYPE_BREAKPOINT,
                sample_period: 1,
                // One that is not pinned may be off at times.
                flags: DISABLED | PINNED | EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR,
                breakpoint_type: ON_WRITE,
                config_1: address,
                config_2: WORD_BYTES,
                ..Attributes::default()
            },
        )?;
        perf_event::enable_once(&event)?;
        Ok(Self { event })
    }

    /// Returns whether the thread has certainly not written to the word.
    pub(super) fn is_unwritten(&self) -> bool {
        let mut count = [0; 8];
        // An event that could not be pinned has nothing to read.
        matches!((&self.event).read(&mut count), Ok(8)) && u64::from_ne_bytes(count) == 0
    }
}
