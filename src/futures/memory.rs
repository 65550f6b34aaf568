//! The memory of one task while its future is read.

use std::cell::RefCell;
use std::ops::Range;

use crate::process::{self, Process};

/// A task's memory is copied at once up to this length.
const MAX_COPY_BYTES: u64 = 256 * 1024;
/// The number of values that are compared at the end.
const MAX_MARKS: usize = 32 * 1024;

/// Memory of a process, of which one part was copied at once.
#[derive(Debug)]
pub(super) struct Memory {
    process: Process,
    begin: u64,
    copy: Vec<u8>,
    /// The values on which the result rests.
    marks: RefCell<Vec<Mark>>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        process::wipe(&mut self.copy);
    }
}

#[derive(Debug)]
struct Mark {
    address: u64,
    size: usize,
    value: u64,
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

    fn place(&self, address: u64, size: usize) -> Option<Range<usize>> {
        let begin = usize::try_from(address.checked_sub(self.begin)?).ok()?;
        let end = begin.checked_add(size)?;
        (end <= self.copy.len()).then_some(begin..end)
    }

    /// Returns an unsigned number of at most 8 bytes.
    pub(super) fn peek(&self, address: u64, size: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        let number = bytes.get_mut(..size)?;
        match self.place(address, size) {
            Some(place) => number.copy_from_slice(self.copy.get(place)?),
            None => number.copy_from_slice(&self.process.read(address, size)?),
        }
        Some(u64::from_le_bytes(bytes))
    }

    /// Returns an unsigned number of 1, 2, 4 or 8 bytes on which the result
    /// rests.
    pub(super) fn number(&self, address: u64, size: u64) -> Option<u64> {
        let size = usize::try_from(size).ok().filter(|size| matches!(size, 1 | 2 | 4 | 8))?;
        let value = self.peek(address, size)?;
        let mut marks = self.marks.borrow_mut();
        if marks.len() >= MAX_MARKS {
            return None;
        }
        marks.push(Mark { address, size, value });
        Some(value)
    }

    /// Returns a pointer on which the result rests.
    pub(super) fn pointer(&self, address: u64) -> Option<u64> {
        self.number(address, 8).filter(|pointer| *pointer > 0)
    }

    /// Returns whether all values on which the result rests are still the same.
    pub(super) fn is_unchanged(&self) -> bool {
        let Some(now) = Self::copy(self.process, self.begin, self.copy.len() as u64) else { return false };
        let is_same = |mark: &Mark| now.peek(mark.address, mark.size) == Some(mark.value);
        self.marks.borrow().iter().all(is_same)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_change_of_a_value_that_was_used_is_noticed() {
        let values = [7, 8, 9].map(AtomicU64::new);
        let outside = Box::new(AtomicU64::new(5));
        let address = |value: &AtomicU64| value.as_ptr().addr() as u64;
        let memory = Memory::copy(Process::Own, address(&values[0]), 16).unwrap();
        assert_eq!(memory.number(address(&values[0]), 8), Some(7));
        assert_eq!(memory.number(address(&outside), 4), Some(5));
        values[1].store(1, Ordering::Relaxed);
        assert!(memory.is_unchanged());
        outside.store(6, Ordering::Relaxed);
        assert!(!memory.is_unchanged());
        outside.store(5, Ordering::Relaxed);
        values[0].store(1, Ordering::Relaxed);
        assert!(!memory.is_unchanged());
    }

    #[test]
    fn a_copy_does_not_remain_in_memory_that_was_freed() {
        const MARK: [u8; 16] = *b"a task of a test";
        let task = MARK.repeat(64);
        let memory = Memory::copy(Process::Own, task.as_ptr().addr() as u64, task.len() as u64).unwrap();
        let copy = memory.copy.as_ptr().addr() as u64;
        let is_left = || Process::Own.read(copy, task.len()).is_some_and(|left| left.ends_with(&MARK));
        assert!(is_left());
        drop(memory);
        assert!(!is_left());
    }

    #[test]
    fn what_cannot_be_read_is_none() {
        let value = 7_u64;
        let memory = Memory::copy(Process::Own, (&raw const value).addr() as u64, 8).unwrap();
        assert_eq!(memory.number(16, 8), None);
        assert_eq!(memory.number((&raw const value).addr() as u64, 3), None);
        assert_eq!(memory.number(u64::MAX, 8), None);
        assert!(Memory::copy(Process::Own, 16, 8).is_none());
    }
}
