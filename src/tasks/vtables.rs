//! The tables of functions of tasks, found in the data of programs.

use std::ops::Range;
use std::sync::Arc;

use crate::tasks::memory::{Areas, ImageArea, Memory, Pages};
use crate::tasks::search::Budget;

/// `poll`, `schedule`, `dealloc`, `try_read_output`, `drop_join_handle_slow`,
/// `drop_abort_handle` and `shutdown`.
const FUNCTIONS: usize = 7;
/// The functions, three offsets, and the place of a fourth.
const TABLE_WORDS: usize = FUNCTIONS + 4;
/// The state, the next task of a queue, the table, and the owner.
pub(super) const MIN_HEADER_BYTES: u64 = 32;
/// Future types that are aligned to more than this are not supported.
const MAX_SCHEDULER_OFFSET: u64 = 4096;
/// The longest scheduler that a task holds. It is a pointer, or for a job of
/// the blocking pool at most two wide pointers.
const MAX_SCHEDULER_BYTES: u64 = 64;
/// The scheduler of a task that is not a job of the blocking pool.
const POINTER_BYTES: u64 = 8;
const MAX_TASK_BYTES: u64 = 1 << 30;
const MAX_VTABLES: usize = 1 << 20;

/// The table of functions of one kind of task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskVtable {
    /// Where it is in memory.
    pub(crate) address: u64,
    /// The function that polls the future: one for each type of future.
    pub(crate) poll: u64,
    /// The function that schedules the task: one for each kind of scheduler.
    pub(crate) schedule: u64,
    pub(crate) trailer_offset: u64,
    pub(crate) scheduler_offset: u64,
    pub(crate) id_offset: u64,
    /// Only in a Tokio with `tokio_unstable`.
    pub(crate) spawn_location_offset: Option<u64>,
}

/// The tables of all programs and libraries of a process.
#[derive(Debug, Default)]
pub(super) struct Vtables {
    /// Sorted by address.
    tables: Vec<Known>,
    images: Vec<ImageArea>,
}

#[derive(Debug)]
struct Known {
    table: Arc<TaskVtable>,
    image: usize,
}

impl Vtables {
    /// Finds the tables of all programs and libraries.
    pub(super) fn find(memory: &impl Memory, areas: &Areas, budget: &mut Budget) -> Self {
        let mut vtables = Self { tables: Vec::new(), images: areas.images.clone() };
        for (image, area) in areas.images.iter().enumerate() {
            let mut tables = tables_of(memory, area, budget);
            confirm_locations(&mut tables);
            let known = |table| Known { table: Arc::new(table), image };
            vtables.tables.extend(tables.into_iter().map(known));
        }
        vtables.tables.truncate(MAX_VTABLES);
        vtables.tables.sort_unstable_by_key(|known| known.table.address);
        vtables.tables.dedup_by_key(|known| known.table.address);
        vtables
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Returns the addresses from the first table to the last.
    pub(super) fn range(&self) -> Range<u64> {
        match (self.tables.first(), self.tables.last()) {
            (Some(first), Some(last)) => first.table.address..last.table.address + 1,
            _ => 0..0,
        }
    }

    pub(super) fn is_table(&self, address: u64) -> bool {
        self.position(address).is_some()
    }

    pub(super) fn at(&self, address: u64) -> Option<&Arc<TaskVtable>> {
        self.tables.get(self.position(address)?).map(|known| &known.table)
    }

    /// Returns which program or library has the table. Each may have a copy of
    /// Tokio of its own.
    pub(super) fn image_of(&self, address: u64) -> Option<usize> {
        self.tables.get(self.position(address)?).map(|known| known.image)
    }

    pub(super) fn image(&self, index: usize) -> Option<&ImageArea> {
        self.images.get(index)
    }

    /// Returns the number of programs and libraries that have a table.
    pub(super) fn copies(&self) -> usize {
        let mut images: Vec<_> = self.tables.iter().map(|known| known.image).collect();
        images.sort_unstable();
        images.dedup();
        images.len()
    }

    fn position(&self, address: u64) -> Option<usize> {
        self.tables.binary_search_by_key(&address, |known| known.table.address).ok()
    }
}

impl TaskVtable {
    /// Returns whether the tasks are jobs of the blocking pool. Their scheduler
    /// is not a pointer.
    pub(super) fn is_blocking(&self) -> bool {
        self.id_offset - self.scheduler_offset != POINTER_BYTES
    }
}

fn tables_of(memory: &impl Memory, image: &ImageArea, budget: &mut Budget) -> Vec<TaskVtable> {
    let mut tables = Vec::new();
    let Some(code) = span(&image.code) else { return tables };
    let is_code = |word: u64| code.contains(&word) && image.code.iter().any(|range| range.contains(&word));
    let mut words = Vec::new();
    for range in &image.data {
        budget.search(memory, range, Pages::Used, 8 * (TABLE_WORDS as u64 - 1), |address, bytes| {
            words.clear();
            words.extend(bytes.as_chunks().0.iter().copied().map(u64::from_le_bytes));
            for (at, words) in words.windows(TABLE_WORDS).enumerate() {
                // Most places fail here.
                let is_length = words.get(FUNCTIONS).is_some_and(|trailer| *trailer < MAX_TASK_BYTES);
                if !is_length || tables.len() >= MAX_VTABLES {
                    continue;
                }
                tables.extend(table(address + 8 * at as u64, words, is_code));
            }
        });
    }
    tables
}

fn span(ranges: &[Range<u64>]) -> Option<Range<u64>> {
    let start = ranges.iter().map(|range| range.start).min()?;
    Some(start..ranges.iter().map(|range| range.end).max()?)
}

fn table(address: u64, words: &[u64], is_code: impl Fn(u64) -> bool) -> Option<TaskVtable> {
    let [poll, schedule, _, _, _, _, _, trailer_offset, scheduler_offset, id_offset, fourth] = *words else {
        return None;
    };
    let are_aligned = (trailer_offset | scheduler_offset | id_offset).is_multiple_of(8);
    let are_ordered = (MIN_HEADER_BYTES..=MAX_SCHEDULER_OFFSET).contains(&scheduler_offset)
        && (scheduler_offset..=scheduler_offset + MAX_SCHEDULER_BYTES).contains(&id_offset)
        && (id_offset + 8..MAX_TASK_BYTES).contains(&trailer_offset);
    if !are_aligned || !are_ordered || !words.iter().take(FUNCTIONS).all(|word| is_code(*word)) {
        return None;
    }
    let spawn_location_offset = Some(fourth).filter(|offset| *offset == id_offset + 8);
    Some(TaskVtable {
        address,
        poll,
        schedule,
        trailer_offset,
        scheduler_offset,
        id_offset,
        spawn_location_offset,
    })
}

/// The word behind a table may have the value of an offset by chance. One Tokio
/// has the offset in all tables or in none.
fn confirm_locations(tables: &mut [TaskVtable]) {
    let with_offset = tables.iter().filter(|table| table.spawn_location_offset.is_some()).count();
    // A few places may only look like a table.
    if with_offset * 10 < tables.len() * 9 {
        tables.iter_mut().for_each(|table| table.spawn_location_offset = None);
    }
}
