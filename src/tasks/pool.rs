//! The queue of a blocking pool, found in the memory of the pool, to which a
//! scheduler points.

use std::collections::HashSet;
use std::ops::Range;

use crate::tasks::cell::{self, ALIGNMENT, Cell};
use crate::tasks::memory::{Memory, words};
use crate::tasks::owner::HANDLE_BYTES;
use crate::tasks::pieces;
use crate::tasks::vtables::Vtables;

/// The queue is within this distance of the begin of the pool.
const POOL_BYTES: usize = 512;
/// A job in the queue: the task, and whether it must run.
const SLOT_BYTES: u64 = 16;
const MAX_SLOTS: u64 = 1 << 24;
/// The number of slots that are read of one queue, and of all queues.
const MAX_SLOTS_OF_QUEUE: u64 = 1 << 16;
const MAX_SLOTS_OF_ALL: u64 = 1 << 18;
/// The number of places that are tried as a queue, for all schedulers.
const MAX_QUEUES: usize = 16 * 1024;
/// Addresses of data are below this.
const ADDRESS_LIMIT: u64 = 1 << 56;

/// How much of the queues of all blocking pools may still be read.
pub(super) struct QueueBudget {
    queues: usize,
    slots: u64,
    /// Whether something was left out because of a limit.
    pub(super) has_left_out: bool,
}

impl Default for QueueBudget {
    fn default() -> Self {
        Self { queues: MAX_QUEUES, slots: MAX_SLOTS_OF_ALL, has_left_out: false }
    }
}

/// The words of a `VecDeque`.
struct Deque {
    address: u64,
    capacity: u64,
    head: u64,
    length: u64,
}

/// Returns the jobs that wait in the blocking pool of the scheduler whose
/// handle is at the address.
pub(super) fn queued_jobs(
    memory: &impl Memory,
    vtables: &Vtables,
    handle: u64,
    budget: &mut QueueBudget,
) -> Vec<Cell> {
    let handle = words(memory, handle, HANDLE_BYTES);
    let is_pointer = |word: &u64| word.is_multiple_of(8) && (ALIGNMENT..ADDRESS_LIMIT).contains(word);
    let mut seen = HashSet::new();
    let pools: Vec<_> = handle.into_iter().filter(is_pointer).filter(|word| seen.insert(*word)).collect();
    let places: Vec<_> = pools.iter().map(|pool| (*pool, POOL_BYTES)).collect();
    let mut deques = Vec::new();
    pieces::read(memory, &places, |_, bytes| {
        let words: Vec<_> =
            bytes.unwrap_or_default().as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        for deque in words.windows(4).flat_map(deques_of) {
            if deques.len() < budget.queues {
                deques.push(deque);
            } else {
                budget.has_left_out = true;
            }
        }
    });
    budget.queues -= deques.len();
    deques.iter().flat_map(|deque| deque.jobs(memory, vtables, budget)).collect()
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
    fn jobs(&self, memory: &impl Memory, vtables: &Vtables, budget: &mut QueueBudget) -> Vec<Cell> {
        let slot = |at: u64| self.address.saturating_add((self.head + at) % self.capacity * SLOT_BYTES);
        let tasks = |range: Range<u64>| {
            let places: Vec<_> = range.map(|at| (slot(at), 8)).collect();
            let mut headers = Vec::new();
            pieces::read(memory, &places, |_, bytes| {
                let header = bytes.and_then(|bytes| Some(u64::from_le_bytes(*bytes.first_chunk()?)));
                headers.extend(header.filter(|header| header.is_multiple_of(ALIGNMENT)));
            });
            let cells = cell::read(memory, vtables, &headers).into_iter().flatten();
            cells.filter(|cell| cell.vtable.is_blocking()).collect::<Vec<_>>()
        };
        if tasks(0..1).is_empty() {
            return Vec::new();
        }
        let slots = self.length.min(MAX_SLOTS_OF_QUEUE).min(budget.slots);
        budget.slots -= slots;
        budget.has_left_out |= slots < self.length;
        tasks(0..slots)
    }
}
