//! The memory of one task while its future is read.

use std::cell::RefCell;
use std::ops::Range;

use crate::process::{self, Process};
use crate::tasks::pieces;

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

    /// Copies the memory of several tasks with few system calls, each with its
    /// begin and its length. `None` for one that cannot be read, or that is
    /// longer than `max_bytes`.
    pub(super) fn copies(process: Process, tasks: &[(u64, u64)], max_bytes: u64) -> Vec<Option<Self>> {
        let is_short = |length: u64| (1..=max_bytes).contains(&length);
        let piece =
            |(begin, length): &(u64, u64)| (*begin, if is_short(*length) { *length as usize } else { 0 });
        let pieces: Vec<_> = tasks.iter().map(piece).collect();
        let mut copies = Vec::with_capacity(tasks.len());
        pieces::read_of_process(process, &pieces, |at, bytes| {
            let bytes = bytes.filter(|bytes| !bytes.is_empty());
            let begin = tasks.get(at).map(|(begin, _)| *begin);
            copies.push(bytes.zip(begin).map(|(bytes, begin)| Self {
                process,
                begin,
                copy: bytes.to_vec(),
                marks: RefCell::default(),
            }));
        });
        copies
    }

    /// Returns memory of this process with other contents at `begin`.
    #[cfg(test)]
    pub(super) fn made_up(begin: u64, copy: Vec<u8>) -> Self {
        Self { process: Process::Own, begin, copy, marks: RefCell::default() }
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
        let now = Self::copy(self.process, self.begin, self.copy.len() as u64);
        now.is_some_and(|now| self.is_unchanged_in(&now))
    }

    /// Returns whether all values on which the result rests are the same in a
    /// later copy.
    pub(super) fn is_unchanged_in(&self, now: &Self) -> bool {
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
    fn several_tasks_are_copied_at_once_except_one_that_cannot_be_read() {
        let values = [[1_u64, 2], [3, 4], [5, 6]];
        let begin = |at: usize| values[at].as_ptr().addr() as u64;
        let tasks = [(begin(0), 16), (begin(1), 100_000), (begin(2), 8), (16, 8), (begin(1), 8)];
        let copies = Memory::copies(Process::Own, &tasks, 4096);
        let numbers = copies.iter().zip(&tasks).map(|(copy, (begin, _))| copy.as_ref()?.peek(*begin, 8));
        assert_eq!(numbers.collect::<Vec<_>>(), [Some(1), None, Some(5), None, Some(3)]);
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
