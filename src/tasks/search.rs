//! Reads much memory, gently: in pieces, with pauses, up to a limit, and only
//! what is in memory already.

use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use crate::process;
use crate::tasks::memory::{Memory, PageList, Pages};

const CHUNK_BYTES: u64 = 1 << 20;
/// The part of a range whose pages are listed at once.
const WINDOW_BYTES: u64 = 1 << 30;
/// The size of the ranges whose pages are listed. The kernel lists 250,000
/// pages in a millisecond.
const MAX_LISTED_BYTES: u64 = 256 << 30;
/// So much is read without a pause.
const BYTES_WITHOUT_PAUSE: u64 = 512 << 20;
/// After each such part, the reader pauses for the time that the part took.
const BYTES_BETWEEN_PAUSES: u64 = 32 << 20;
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// How much may be read, and what was.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_left: u64,
    listed_bytes_left: u64,
    pub(super) searched_bytes: u64,
    /// What was not searched because of a limit, or because it vanished. Pages
    /// that were never used count too.
    pub(super) skipped_bytes: u64,
    /// What was not searched because it is not in memory.
    pub(super) swapped_bytes: u64,
    /// What was not searched because the kernel does not say what is in memory.
    pub(super) unknown_bytes: u64,
    buffer: Vec<u8>,
    last_pause: Instant,
    bytes_at_last_pause: u64,
}

impl Budget {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            bytes_left: max_bytes,
            listed_bytes_left: MAX_LISTED_BYTES,
            searched_bytes: 0,
            skipped_bytes: 0,
            swapped_bytes: 0,
            unknown_bytes: 0,
            buffer: vec![0; CHUNK_BYTES as usize],
            last_pause: Instant::now(),
            bytes_at_last_pause: 0,
        }
    }

    /// Returns where the copies of what is searched are, if that is in the
    /// memory that is searched.
    pub(super) fn copies(&self, memory: &impl Memory) -> Range<u64> {
        if !memory.is_own() {
            return 0..0;
        }
        let range = self.buffer.as_ptr_range();
        range.start.addr() as u64..range.end.addr() as u64
    }

    /// Calls `each` with the address and the contents of all parts of a range
    /// that have pages of a kind. Two neighbouring parts have `overlap` bytes
    /// in common.
    pub(super) fn search(
        &mut self,
        memory: &impl Memory,
        range: &Range<u64>,
        pages: Pages,
        overlap: u64,
        mut each: impl FnMut(u64, &[u8]),
    ) {
        let mut at = range.start;
        while at < range.end {
            let window = at..at.saturating_add(WINDOW_BYTES).min(range.end);
            let length = window.end - window.start;
            if self.bytes_left == 0 || self.listed_bytes_left < length {
                self.skipped_bytes = self.skipped_bytes.saturating_add(range.end - at);
                return;
            }
            self.listed_bytes_left -= length;
            at = window.end;
            let list = match (memory.pages(&window, pages), pages) {
                (Some(list), _) => list,
                (None, Pages::Used) => PageList { parts: vec![window.clone()], swapped_bytes: 0 },
                // To read a page that was never used maps the zero page: the
                // page tables of the process grow by a 512th of the range, and
                // its next write to the page takes longer.
                (None, Pages::Present) => {
                    self.unknown_bytes += length;
                    continue;
                }
            };
            self.swapped_bytes += list.swapped_bytes;
            for part in list.parts {
                let part = part.start.max(window.start)..part.end.min(window.end);
                self.search_part(memory, &part, overlap, &mut each);
            }
        }
    }

    fn search_part(
        &mut self,
        memory: &impl Memory,
        part: &Range<u64>,
        overlap: u64,
        each: &mut impl FnMut(u64, &[u8]),
    ) {
        let mut at = part.start;
        while at < part.end {
            let length = (part.end - at).min(CHUNK_BYTES).min(self.bytes_left);
            let wanted = usize::try_from(length).unwrap_or(0);
            let Some(buffer) = self.buffer.get_mut(..wanted).filter(|buffer| !buffer.is_empty()) else {
                self.skipped_bytes = self.skipped_bytes.saturating_add(part.end - at);
                return;
            };
            let read = memory.read_into(at, buffer).min(wanted);
            each(at, buffer.get(..read).unwrap_or_default());
            self.searched_bytes += read as u64;
            self.bytes_left -= length;
            if read < wanted {
                self.skipped_bytes += length - read as u64;
            }
            self.pause_if_due();
            at += length;
            if at < part.end && length > overlap {
                at -= overlap;
            }
        }
    }

    fn pause_if_due(&mut self) {
        let is_due = self.searched_bytes >= BYTES_WITHOUT_PAUSE
            && self.searched_bytes - self.bytes_at_last_pause >= BYTES_BETWEEN_PAUSES;
        if is_due {
            // The first part is longer: its pause is bounded.
            thread::sleep(self.last_pause.elapsed().min(MAX_PAUSE));
            self.last_pause = Instant::now();
            self.bytes_at_last_pause = self.searched_bytes;
        }
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        process::wipe(&mut self.buffer);
    }
}
