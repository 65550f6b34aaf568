//! What waits for a lock of Tokio, by the list in its semaphore.

use crate::tasks::memory::{Memory, words};

/// The list is within this distance of the begin of a semaphore. With Tokio's
/// feature `tracing`, a semaphore has a span, and a waiter has three.
const SEMAPHORE_BYTES: usize = 128;
/// What is read of a waiter: the permits that it lacks, its waker, its
/// neighbours in the list, and the spans.
const WAITER_BYTES: usize = 256;
/// The number of waiters that are followed.
const MAX_WAITERS: usize = 256;

/// The waiters of a semaphore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaitList {
    /// The address of the waiter that gets the next permits.
    pub(crate) first: u64,
    /// The number of waiters, at most 256.
    pub(crate) waiters: usize,
}

/// Reads the list of a semaphore. `None` if nothing or only one waits, or if
/// the list changes while it is read. New waiters are added in front; the last
/// one is the next in line.
pub(super) fn read(memory: &impl Memory, semaphore: u64) -> Option<WaitList> {
    let semaphore = words(memory, semaphore, SEMAPHORE_BYTES);
    semaphore.windows(2).find_map(|ends| match *ends {
        [head, tail] if head != tail && can_be_waiter(head) => list(memory, head, tail),
        _ => None,
    })
}

fn can_be_waiter(address: u64) -> bool {
    address != 0 && address.is_multiple_of(8)
}

fn list(memory: &impl Memory, head: u64, tail: u64) -> Option<WaitList> {
    let waiter = |address: u64| Some(words(memory, address, WAITER_BYTES)).filter(|_| can_be_waiter(address));
    let last = waiter(tail)?;
    // The compiler chooses where the two pointers are.
    { 0..last.len() }.find_map(|at| {
        let (mut previous, next) = (*last.get(at)?, *last.get(at + 1)?);
        if next != 0 {
            return None;
        }
        let (mut address, mut waiters) = (tail, 1);
        while address != head && waiters < MAX_WAITERS {
            let before = waiter(previous)?;
            if before.get(at + 1) != Some(&address) {
                return None;
            }
            address = previous;
            previous = *before.get(at)?;
            waiters += 1;
        }
        let is_whole = address != head || previous == 0;
        (is_whole && waiters > 1).then_some(WaitList { first: tail, waiters })
    })
}
