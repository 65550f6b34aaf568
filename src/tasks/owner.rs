//! The lists that a scheduler keeps of its tasks, found in the memory of the
//! scheduler.

use std::collections::HashSet;

use crate::tasks::cell::ALIGNMENT;
use crate::tasks::memory::{Memory, words};

/// The lists are within this distance of the begin of a scheduler's handle.
pub(super) const HANDLE_BYTES: usize = 4096;
/// A list in an array of lists: the word with its lock, and the first and the
/// last task.
const LIST_BYTES: usize = 24;
const MIN_LISTS: u64 = 4;
const MAX_LISTS: u64 = 1 << 16;
/// A struct with a pointer to the array has its length minus one within this
/// number of words.
const MASK_DISTANCE: usize = 6;
/// The number of arrays that are read for one scheduler.
const MAX_ARRAYS: usize = 16;

/// The first and the last tasks of the lists of one scheduler.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Whether the scheduler's memory has the owner's id.
    pub(super) has_owner: bool,
    /// First or last in a list.
    pub(super) ends: HashSet<u64>,
    /// Alone in a list.
    pub(super) singles: HashSet<u64>,
}

impl Lists {
    /// Reads the lists of the scheduler whose handle is at the address. Arrays
    /// take at most `bytes_left`, which becomes less.
    pub(super) fn read(memory: &impl Memory, handle: u64, owner: u64, bytes_left: &mut usize) -> Self {
        let mut lists = Self::default();
        let words = words(memory, handle, HANDLE_BYTES);
        lists.has_owner = words.contains(&owner);
        // Up to Tokio 1.36, and in a `LocalSet`, the list is in the handle.
        for pair in words.windows(2) {
            if let [first, last] = *pair {
                lists.add(first, last);
            }
        }
        // Since then, the handle has an array of lists.
        let mut arrays = 0;
        for (at, pair) in words.windows(2).enumerate() {
            let [address, count] = *pair else { continue };
            let around = at.saturating_sub(MASK_DISTANCE)..(at + 2 + MASK_DISTANCE).min(words.len());
            let is_array = count.is_power_of_two()
                && (MIN_LISTS..=MAX_LISTS).contains(&count)
                && address.is_multiple_of(8)
                && address != 0
                && words.get(around).is_some_and(|around| around.contains(&(count - 1)));
            let length = count.saturating_mul(LIST_BYTES as u64) as usize;
            if is_array && arrays < MAX_ARRAYS && length <= *bytes_left {
                arrays += 1;
                *bytes_left -= length;
                lists.add_array(memory, address, length);
            }
        }
        lists
    }

    fn add_array(&mut self, memory: &impl Memory, address: u64, length: usize) {
        let words = words(memory, address, length);
        for list in words.chunks_exact(LIST_BYTES / 8) {
            if let [_, first, last] = *list {
                self.add(first, last);
            }
        }
    }

    fn add(&mut self, first: u64, last: u64) {
        let can_be_task = |address: u64| address != 0 && address.is_multiple_of(ALIGNMENT);
        if can_be_task(first) && can_be_task(last) {
            self.ends.extend([first, last]);
            if first == last {
                self.singles.insert(first);
            }
        }
    }
}
