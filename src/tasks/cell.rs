//! The contents of a task's memory that tell whether it is one.

use std::sync::Arc;

use crate::little_endian::u64_at;
use crate::tasks::memory::Memory;
use crate::tasks::pieces;
use crate::tasks::state;
use crate::tasks::vtables::{MIN_HEADER_BYTES, TaskVtable, Vtables};

/// Tokio aligns a task to this on the machines that captures support.
pub(super) const ALIGNMENT: u64 = 128;
/// The word of the header that points to the table of functions.
pub(super) const VTABLE_OFFSET: u64 = 16;
/// The list pointers, the waker of the `JoinHandle`, and the hooks, in an order
/// that the compiler chooses.
pub(super) const TRAILER_WORDS: usize = 6;
/// The list pointers and the waker. Older versions have no hooks.
const MIN_TRAILER_BYTES: u64 = 32;
/// The id, and the place of the spawn.
const DETAIL_WORDS_AFTER_SCHEDULER: u64 = 16;

/// What was read of a task at one moment.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) header: u64,
    pub(super) vtable: Arc<TaskVtable>,
    pub(super) state: u64,
    pub(super) queue_next: u64,
    pub(super) owner: u64,
    pub(super) scheduler: u64,
    pub(super) id: u64,
    /// The address of the `Location` of the spawn, or zero.
    pub(super) spawn_location: u64,
    pub(super) trailer: [u64; TRAILER_WORDS],
}

impl Cell {
    pub(super) fn is_plausible(&self) -> bool {
        state::is_plausible(self.state)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.state & state::COMPLETE != 0
    }

    /// Returns whether the other reading is of the same task.
    pub(super) fn is_same_task(&self, other: &Self) -> bool {
        let identity = |cell: &Self| (cell.header, cell.vtable.address, cell.owner, cell.scheduler, cell.id);
        identity(self) == identity(other)
    }
}

/// Reads the tasks whose headers are at the addresses. `None` for what cannot
/// be read or has no table of functions.
pub(super) fn read(memory: &impl Memory, vtables: &Vtables, headers: &[u64]) -> Vec<Option<Cell>> {
    let mut cells: Vec<Option<Cell>> = vec![None; headers.len()];
    let places: Vec<_> = headers.iter().map(|header| (*header, MIN_HEADER_BYTES as usize)).collect();
    pieces::read(memory, &places, |at, bytes| {
        if let (Some(cell), Some(header)) = (cells.get_mut(at), headers.get(at)) {
            *cell = header_cell(vtables, *header, bytes);
        }
    });
    let known: Vec<usize> =
        (0..cells.len()).filter(|at| cells.get(*at).is_some_and(Option::is_some)).collect();
    let parts = known.iter().filter_map(|at| cells.get(*at)?.as_ref()).flat_map(|cell| {
        let vtable = &cell.vtable;
        let details = vtable.id_offset - vtable.scheduler_offset + DETAIL_WORDS_AFTER_SCHEDULER;
        // The trailer may be shorter than the most that it can be. The
        // allocation ends at a multiple of the alignment.
        let trailer_end = (vtable.trailer_offset + MIN_TRAILER_BYTES).next_multiple_of(ALIGNMENT);
        let trailer = (trailer_end - vtable.trailer_offset).min(8 * TRAILER_WORDS as u64);
        [(vtable.scheduler_offset, details), (vtable.trailer_offset, trailer)]
            .map(|(offset, length)| (cell.header.saturating_add(offset), length as usize))
    });
    let parts: Vec<_> = parts.collect();
    let mut is_whole = vec![true; cells.len()];
    pieces::read(memory, &parts, |at, bytes| {
        let Some(of) = known.get(at / 2) else { return };
        let Some(Some(cell)) = cells.get_mut(*of) else { return };
        let is_read = if at % 2 == 0 { cell.add_details(bytes) } else { cell.add_trailer(bytes) };
        if let Some(is_whole) = is_whole.get_mut(*of).filter(|_| is_read.is_none()) {
            *is_whole = false;
        }
    });
    cells.into_iter().zip(is_whole).map(|(cell, is_whole)| cell.filter(|_| is_whole)).collect()
}

fn header_cell(vtables: &Vtables, header: u64, bytes: Option<&[u8]>) -> Option<Cell> {
    let bytes = bytes?;
    if header == 0 || !header.is_multiple_of(ALIGNMENT) {
        return None;
    }
    Some(Cell {
        header,
        vtable: Arc::clone(vtables.at(u64_at(bytes, 16)?)?),
        state: u64_at(bytes, 0)?,
        queue_next: u64_at(bytes, 8)?,
        owner: u64_at(bytes, 24)?,
        scheduler: 0,
        id: 0,
        spawn_location: 0,
        trailer: [0; TRAILER_WORDS],
    })
}

impl Cell {
    fn add_details(&mut self, bytes: Option<&[u8]>) -> Option<()> {
        let bytes = bytes?;
        let id_at = (self.vtable.id_offset - self.vtable.scheduler_offset) as usize;
        if !self.vtable.is_blocking() {
            self.scheduler = u64_at(bytes, 0)?;
        }
        self.id = u64_at(bytes, id_at)?;
        if self.vtable.spawn_location_offset.is_some() {
            self.spawn_location = u64_at(bytes, id_at + 8)?;
        }
        Some(())
    }

    fn add_trailer(&mut self, bytes: Option<&[u8]>) -> Option<()> {
        let words = bytes?.as_chunks().0;
        for (word, bytes) in self.trailer.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        Some(())
    }
}
