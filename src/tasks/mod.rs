//! The tasks of a Tokio process, found in its memory.
//!
//! Since Tokio 1.32, a task begins with a header whose third word points to a
//! table of functions. The end of that table says where the task's id,
//! scheduler and list pointers are. No debug information is needed.

mod cell;
mod location;
mod members;
mod memory;
mod owner;
pub(crate) mod pieces;
mod pool;
mod search;
pub(crate) mod state;
#[cfg(test)]
mod tests;
mod version;
mod vtables;
mod wait_list;
mod workers;

use std::collections::HashMap;
use std::sync::Arc;

use crate::process::Process;
use crate::tasks::cell::{ALIGNMENT, Cell, VTABLE_OFFSET};
use crate::tasks::location::Locations;
use crate::tasks::members::Members;
use crate::tasks::memory::{Areas, Memory, Pages};
use crate::tasks::search::Budget;
pub(crate) use crate::tasks::version::Version;
use crate::tasks::vtables::{TaskVtable, Vtables};
pub(crate) use crate::tasks::wait_list::WaitList;

/// So much memory is searched at most.
const MAX_SEARCHED_BYTES: u64 = 16 << 30;
/// The number of places that look like a task.
const MAX_PLACES: usize = 1 << 20;

/// The first version whose tasks are found, and whose functions on a stack say
/// what a thread is for.
const FIRST_VERSION: Version = [1, 32, 0];

/// Returns the version of Tokio if the process has only versions that are too
/// old to be understood.
pub(crate) fn too_old(version: Option<Version>) -> Option<Version> {
    version.filter(|version| *version < FIRST_VERSION)
}

/// Returns the newest version of Tokio that the process has, if its program or
/// libraries name it.
pub(crate) fn version_in(process: Process) -> Option<Version> {
    version::newest(&process, &process.areas(), &mut Budget::new(MAX_SEARCHED_BYTES))
}

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskPlace {
    /// The function that polls it.
    pub(crate) poll: u64,
    /// The address of its header.
    pub(crate) header: u64,
}

/// A task that was found.
#[derive(Debug, Clone)]
pub(crate) struct FoundTask {
    /// The address of its header.
    pub(crate) header: u64,
    pub(crate) vtable: Arc<TaskVtable>,
    /// The word with its state and the number of references.
    pub(crate) state: u64,
    /// The id of the list of tasks that it belongs to; `None` for a job of the
    /// blocking pool.
    pub(crate) owner: Option<u64>,
    pub(crate) id: Option<u64>,
    /// The address of its scheduler's handle.
    pub(crate) scheduler: Option<u64>,
    /// `file:line:column` of the spawn.
    pub(crate) spawned_at: Option<String>,
}

impl FoundTask {
    pub(crate) fn place(&self) -> TaskPlace {
        TaskPlace { poll: self.vtable.poll, header: self.header }
    }
}

/// The tasks of a process.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskList {
    pub(crate) tasks: Vec<FoundTask>,
    /// Whether the program or a library has tables of Tokio's tasks.
    pub(crate) has_tables: bool,
    /// The bytes that were searched, and those that a limit left out.
    pub(crate) scanned_bytes: u64,
    pub(crate) skipped_bytes: u64,
    /// The number of places that look like a task.
    pub(crate) candidates: usize,
    /// Those that changed or vanished while they were read.
    pub(crate) torn: usize,
    /// What is not covered: sentences.
    pub(crate) notes: Vec<String>,
}

/// Finds the tasks of a process.
#[derive(Debug)]
pub(crate) struct TaskReader {
    process: Process,
}

impl TaskReader {
    pub(crate) fn new(process: Process) -> Self {
        Self { process }
    }

    /// Returns the tasks as they are now.
    pub(crate) fn read(&mut self) -> TaskList {
        read(&self.process, MAX_SEARCHED_BYTES)
    }

    /// Returns the number of workers of the multi-thread scheduler whose handle
    /// is at the address; `None` if it was not found.
    pub(crate) fn worker_count(&self, handle: u64) -> Option<usize> {
        workers::count(&self.process, handle)
    }

    /// Returns the waiters of a semaphore of Tokio, if there are several.
    pub(crate) fn wait_list(&self, semaphore: u64) -> Option<WaitList> {
        wait_list::read(&self.process, semaphore)
    }
}

fn read(memory: &impl Memory, max_searched_bytes: u64) -> TaskList {
    let mut list = TaskList::default();
    let areas = memory.areas();
    if areas.images.is_empty() {
        list.notes.push("the list of the process's mappings cannot be read".to_owned());
        return list;
    }
    let mut budget = Budget::new(max_searched_bytes);
    let vtables = Vtables::find(memory, &areas, &mut budget);
    if vtables.is_empty() {
        list.notes.push("no table of Tokio's tasks is in the program or its libraries".to_owned());
        return list;
    }
    list.has_tables = true;
    let headers = headers(memory, &areas, &vtables, &mut budget, &mut list.notes);
    list.scanned_bytes = budget.searched_bytes;
    list.skipped_bytes =
        budget.skipped_bytes.saturating_add(budget.swapped_bytes).saturating_add(budget.unknown_bytes);
    // Of a process that has ended, nothing can be read.
    if budget.unknown_bytes > 0 && !memory.areas().images.is_empty() {
        list.notes.push(
            "the heap was not searched: `/proc/PID/pagemap` cannot be read, and without it pages that the \
             process never used would be touched"
                .to_owned(),
        );
    }
    if budget.swapped_bytes > 0 {
        list.notes.push(format!(
            "{} KiB of the memory are swapped out and were not searched",
            budget.swapped_bytes / 1024
        ));
    }
    let cells = cell::read(memory, &vtables, &headers).into_iter().flatten();
    let cells: HashMap<_, _> = cells.map(|cell| (cell.header, cell)).collect();
    let mut members = Members::new(memory, &vtables, cells);
    let (mut tasks, torn) = members.confirm();
    tasks.extend(members.ended());
    let (jobs, uncertain_jobs) = members.jobs();
    tasks.extend(jobs);
    if uncertain_jobs > 0 {
        list.notes.push(format!(
            "{uncertain_jobs} places look like a job of the blocking pool that waits, but no queue leads to them"
        ));
    }
    if members.has_left_out {
        list.notes.push("more tasks are in the lists than are followed".to_owned());
    }
    if vtables.copies() > 1 {
        list.notes.push(format!("{} programs or libraries have a copy of Tokio", vtables.copies()));
    }
    list.candidates = tasks.len() + torn + uncertain_jobs;
    // Neighbours are read together.
    tasks.sort_unstable_by_key(|task| task.header);
    let (tasks, vanished) = read_again(memory, &vtables, tasks);
    list.torn = torn + vanished;
    let mut locations = Locations::new(memory, &vtables);
    list.tasks = tasks.into_iter().map(|cell| found(cell, &mut locations)).collect();
    list.tasks.sort_unstable_by_key(|task| (task.id, task.header));
    list
}

/// Returns the places that have a pointer to a table where a task has it.
fn headers(
    memory: &impl Memory,
    areas: &Areas,
    vtables: &Vtables,
    budget: &mut Budget,
    notes: &mut Vec<String>,
) -> Vec<u64> {
    let tables = vtables.range();
    let copies = budget.copies(memory);
    let mut headers = Vec::new();
    for range in &areas.heap {
        budget.search(memory, range, Pages::Present, 0, |address, bytes| {
            let first = (address.next_multiple_of(ALIGNMENT) - address) as usize;
            let aligned = bytes.get(first..).unwrap_or_default();
            for (at, task) in aligned.as_chunks::<{ ALIGNMENT as usize }>().0.iter().enumerate() {
                let Some((_, [word, ..])) =
                    task.as_chunks::<8>().0.split_at_checked(VTABLE_OFFSET as usize / 8)
                else {
                    continue;
                };
                let word = u64::from_le_bytes(*word);
                let header = address + first as u64 + ALIGNMENT * at as u64;
                let is_task = tables.contains(&word) && vtables.is_table(word) && !copies.contains(&header);
                if is_task && headers.len() < MAX_PLACES {
                    headers.push(header);
                }
            }
        });
    }
    if headers.len() >= MAX_PLACES {
        notes.push(format!("only the first {MAX_PLACES} places that look like a task were checked"));
    }
    headers
}

/// Reads the tasks a second time. Returns those that are still there, and the
/// number of the others.
fn read_again(memory: &impl Memory, vtables: &Vtables, tasks: Vec<Cell>) -> (Vec<Cell>, usize) {
    let headers: Vec<_> = tasks.iter().map(|cell| cell.header).collect();
    let again = cell::read(memory, vtables, &headers);
    let is_same = |(before, now): (Cell, Option<Cell>)| {
        now.filter(|now| {
            now.is_same_task(&before) && now.is_plausible() && (before.is_complete() || !now.is_complete())
        })
    };
    let count = tasks.len();
    let tasks: Vec<_> = tasks.into_iter().zip(again).filter_map(is_same).collect();
    let vanished = count - tasks.len();
    (tasks, vanished)
}

fn found<M: Memory>(cell: Cell, locations: &mut Locations<'_, M>) -> FoundTask {
    let is_blocking = cell.vtable.is_blocking();
    FoundTask {
        header: cell.header,
        state: cell.state,
        owner: Some(cell.owner).filter(|_| !is_blocking),
        id: Some(cell.id),
        scheduler: Some(cell.scheduler).filter(|_| !is_blocking),
        spawned_at: locations.text(&cell),
        vtable: cell.vtable,
    }
}
