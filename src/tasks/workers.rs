//! The number of workers of a multi-thread runtime, found in the memory of its
//! scheduler's handle.

use std::collections::HashSet;

use crate::tasks::memory::{Memory, words};
use crate::tasks::owner::HANDLE_BYTES;

/// The number of workers that are looked for.
const MAX_WORKERS: u64 = 4096;
/// For each worker, the handle's array has a pointer to the queue of the
/// worker and one to what unparks it.
const WORKER_WORDS: usize = 2;
/// What is read of a queue: two numbers of references, the two ends, and the
/// address of the ring.
const QUEUE_WORDS: usize = 12;
/// The tasks in a ring.
const RING_TASKS: u32 = 256;
const RING_BYTES: usize = RING_TASKS as usize * 8;
/// How many different places are taken for the array of workers.
const MAX_PAIRS: usize = 16;
/// More references are not plausible.
const MAX_REFERENCES: u64 = 1 << 16;

/// Returns the number of workers of the multi-thread scheduler whose handle is
/// at the address. `None` if no array in it, or several, lead to the queue of
/// each worker.
pub(super) fn count(memory: &impl Memory, handle: u64) -> Option<usize> {
    let handle = words(memory, handle, HANDLE_BYTES);
    let is_pair = |at: &usize| {
        let (Some(address), Some(count)) = (handle.get(*at), handle.get(at + 1)) else { return false };
        // The handle has the number in another place, too.
        let others = handle.iter().enumerate().filter(|(other, _)| *other != at + 1);
        (1..=MAX_WORKERS).contains(count) && can_be_address(*address) && { others }
            .any(|(_, word)| word == count)
    };
    let pairs =
        (0..handle.len()).filter(is_pair).filter_map(|at| Some((*handle.get(at)?, *handle.get(at + 1)?)));
    let mut seen = HashSet::new();
    let pairs = pairs.filter(|pair| seen.insert(*pair)).take(MAX_PAIRS);
    let arrays: Vec<_> = pairs.filter(|(array, count)| is_array_of_workers(memory, *array, *count)).collect();
    let (address, _) = arrays.first()?;
    // Behind the array's address there may be another number by chance.
    let is_one = arrays.iter().all(|(other, _)| other == address);
    let count = arrays.iter().map(|(_, count)| *count).max().filter(|_| is_one)?;
    usize::try_from(count).ok()
}

fn can_be_address(word: u64) -> bool {
    word != 0 && word.is_multiple_of(8)
}

fn is_array_of_workers(memory: &impl Memory, array: u64, count: u64) -> bool {
    let Ok(count) = usize::try_from(count) else { return false };
    let workers = words(memory, array, count * WORKER_WORDS * 8);
    let distinct: HashSet<u64> = workers.iter().copied().filter(|word| can_be_address(*word)).collect();
    distinct.len() == count * WORKER_WORDS
        && workers.as_chunks::<WORKER_WORDS>().0.iter().all(|[one, other]| {
            is_queue(memory, *one) && is_shared(memory, *other)
                || is_queue(memory, *other) && is_shared(memory, *one)
        })
}

/// Returns whether memory begins with two numbers of references.
fn is_shared(memory: &impl Memory, address: u64) -> bool {
    let counts = words(memory, address, 16);
    counts.len() == 2 && counts.iter().all(|count| (1..=MAX_REFERENCES).contains(count))
}

/// Returns whether the queue of a worker is at an address. The compiler chooses
/// the order of its parts.
fn is_queue(memory: &impl Memory, address: u64) -> bool {
    let queue = words(memory, address, QUEUE_WORDS * 8);
    let Some(parts) = queue.get(2..).filter(|_| is_shared(memory, address)) else { return false };
    // The lower half is the first task, the upper half that which a thief has
    // reached.
    let is_head = |head: u64, tail: u64| {
        let (stolen, first, last) = ((head >> 32) as u32, head as u32, tail as u32);
        let length = last.wrapping_sub(stolen);
        length <= RING_TASKS && first.wrapping_sub(stolen) <= length
    };
    let has_ends = (0..parts.len())
        .any(|head| (0..parts.len()).any(|tail| head != tail && is_head(parts[head], parts[tail])));
    let is_ring =
        |word: &&u64| can_be_address(**word) && words(memory, **word, RING_BYTES).len() == RING_BYTES / 8;
    has_ends && parts.iter().any(|word| is_ring(&word))
}
