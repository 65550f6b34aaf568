//! The memory of one task while its future is read.

use std::cell::RefCell;
use std::ops::Range;

use crate::little_endian::u64_at;
use crate::process::Process;

/// A task's memory is copied at once up to this length.
const MAX_COPY_BYTES: u64 = 256 * 1024;
/// No value of a future is read that has more bytes.
const MAX_VALUE_BYTES: usize = 64;
/// The number of values that are compared at the end.
const MAX_MARKS: usize = 32 * 1024;

/// Memory of a process, of which one part was copied at once.
#[derive(Debug)]
pub(super) struct Memory {
    process: Process,
    begin: u64,
    copy: Vec<u8>,
    /// The values on which the result rests, with their addresses.
    marks: RefCell<Vec<(u64, Vec<u8>)>>,
}

impl Memory {
    /// Copies `length` bytes of the memory at `begin`. What lies elsewhere is
    /// read when it is needed.
    pub(super) fn copy(process: Process, begin: u64, length: u64) -> Option<Self> {
        let length = usize::try_from(length.min(MAX_COPY_BYTES)).ok()?;
        let copy = process.read(begin, length)?;
        Some(Self { process, begin, copy, marks: RefCell::default() })
    }

    pub(super) fn process(&self) -> Process {
        self.process
    }

    /// Returns a value.
    pub(super) fn read(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        if length > MAX_VALUE_BYTES {
            return None;
        }
        match self.place(address, length) {
            Some(place) => self.copy.get(place).map(<[u8]>::to_vec),
            None => self.process.read(address, length),
        }
    }

    fn place(&self, address: u64, length: usize) -> Option<Range<usize>> {
        let begin = usize::try_from(address.checked_sub(self.begin)?).ok()?;
        let end = begin.checked_add(length)?;
        (end <= self.copy.len()).then_some(begin..end)
    }

    /// Returns a value and notes that the result rests on it.
    pub(super) fn read_mark(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let bytes = self.read(address, length)?;
        let mut marks = self.marks.borrow_mut();
        if marks.len() >= MAX_MARKS {
            return None;
        }
        marks.push((address, bytes.clone()));
        Some(bytes)
    }

    /// Returns an unsigned number of 1, 2, 4 or 8 bytes on which the result
    /// rests.
    pub(super) fn number(&self, address: u64, size: u64) -> Option<u64> {
        let size = usize::try_from(size).ok().filter(|size| matches!(size, 1 | 2 | 4 | 8))?;
        let mut bytes = self.read_mark(address, size)?;
        bytes.resize(8, 0);
        u64_at(&bytes, 0)
    }

    /// Returns a pointer on which the result rests.
    pub(super) fn pointer(&self, address: u64) -> Option<u64> {
        self.number(address, 8).filter(|pointer| *pointer > 0)
    }

    /// Returns whether all values on which the result rests are still the same.
    pub(super) fn is_unchanged(&self) -> bool {
        let Some(now) = Self::copy(self.process, self.begin, self.copy.len() as u64) else { return false };
        self.marks
            .borrow()
            .iter()
            .all(|(address, bytes)| now.read(*address, bytes.len()).as_ref() == Some(bytes))
    }
}
