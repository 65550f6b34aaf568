//! The queue of a blocking pool, found in the memory of the pool, to which a
//! scheduler points.

use std::collections::HashSet;
use std::ops::Range;

use crate::tasks::cell::{self, ALIGNMENT, Cell};
use crate::tasks::memory::{Memory, words};
use crate::tasks::owner::HANDLE_BYTES;
use crate::tasks::vtables::Vtables;

/// The queue is within this distance of the begin of the pool.
const POOL_BYTES: usize = 512;
/// A job in the queue: the task, and whether it must run.
const SLOT_BYTES: u64 = 16;
const MAX_SLOTS: u64 = 1 << 24;
/// The number of jobs that are read of one queue.
const MAX_JOBS: u64 = 1 << 16;
/// The number of places that are tried as the queue of one scheduler.
const MAX_QUEUES: usize = 8192;
/// Addresses of data are below this.
const ADDRESS_LIMIT: u64 = 1 << 56;

/// The words of a `VecDeque`.
struct Deque {
    address: u64,
    capacity: u64,
    head: u64,
    length: u64,
}

/// Returns the jobs that wait in the blocking pool of the scheduler whose
/// handle is at the address.
pub(super) fn queued_jobs(memory: &impl Memory, vtables: &Vtables, handle: u64) -> Vec<Cell> {
    let handle = words(memory, handle, HANDLE_BYTES);
    let is_pointer = |word: &u64| word.is_multiple_of(8) && (ALIGNMENT..ADDRESS_LIMIT).contains(word);
    let mut seen = HashSet::new();
    let pools: Vec<_> = handle.into_iter().filter(is_pointer).filter(|word| seen.insert(*word)).collect();
    let pieces: Vec<_> = pools.iter().map(|pool| (*pool, POOL_BYTES)).collect();
    let mut deques = Vec::new();
    cell::read_pieces(memory, &pieces, |_, bytes| {
        let words: Vec<_> =
            bytes.unwrap_or_default().as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        deques.extend(words.windows(4).flat_map(deques_of));
    });
    deques.truncate(MAX_QUEUES);
    let mut jobs = Vec::new();
    let mut read_jobs = 0;
    for deque in deques {
        if read_jobs < MAX_JOBS as usize {
            let more = deque.jobs(memory, vtables);
            read_jobs += more.len();
            jobs.extend(more);
        }
    }
    jobs
}

/// Returns what four words can mean: the compiler chooses their order.
fn deques_of(words: &[u64]) -> Vec<Deque> {
    let [a, b, c, d] = *words else { return Vec::new() };
    let orders = [(a, b, c, d), (b, a, c, d), (c, d, a, b), (d, c, a, b)];
    let both = orders.into_iter().flat_map(|(capacity, address, one, other)| {
        [(one, other), (other, one)].map(|(head, length)| Deque { address, capacity, head, length })
    });
    both.filter(Deque::is_plausible).collect()
}

impl Deque {
    fn is_plausible(&self) -> bool {
        (1..=MAX_SLOTS).contains(&self.capacity)
            && self.head < self.capacity
            && (1..=self.capacity).contains(&self.length)
            && self.address.is_multiple_of(8)
            && (ALIGNMENT..ADDRESS_LIMIT).contains(&self.address)
    }

    /// Returns the jobs in the queue. Empty if the first is not a job.
    fn jobs(&self, memory: &impl Memory, vtables: &Vtables) -> Vec<Cell> {
        let slot = |at: u64| self.address.saturating_add((self.head + at) % self.capacity * SLOT_BYTES);
        let tasks = |range: Range<u64>| {
            let pieces: Vec<_> = range.map(|at| (slot(at), 8)).collect();
            let mut headers = Vec::new();
            cell::read_pieces(memory, &pieces, |_, bytes| {
                let header = bytes.and_then(|bytes| Some(u64::from_le_bytes(*bytes.first_chunk()?)));
                headers.extend(header.filter(|header| header.is_multiple_of(ALIGNMENT)));
            });
            let cells = cell::read(memory, vtables, &headers).into_iter().flatten();
            cells.filter(|cell| cell.vtable.is_blocking()).collect::<Vec<_>>()
        };
        if tasks(0..1).is_empty() {
            return Vec::new();
        }
        tasks(0..self.length.min(MAX_JOBS))
    }
}
