//! What is known of a process after the first look.

use std::time::Instant;

use crate::attach::document::{PsRuntime, PsTask, PsThread};
use crate::tasks::{FoundTask, TaskReader};
use crate::threads::ThreadReader;

/// What is known after the first look, and what reads the process again.
pub(super) struct FirstLook<'a> {
    /// When the last task was read.
    pub(super) at: Instant,
    pub(super) found: &'a [FoundTask],
    pub(super) tasks: &'a [PsTask],
    pub(super) threads: &'a [PsThread],
    pub(super) runtimes: &'a [PsRuntime],
    pub(super) task_reader: &'a TaskReader,
    pub(super) thread_reader: &'a ThreadReader,
    /// The thread of the process that reads it, if it does nothing else.
    pub(super) reading_thread: Option<i32>,
}
