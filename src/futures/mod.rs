//! What a future is, and what it awaits, by the debug information of its type.

use crate::attach::document::{PsAwait, PsLeaf};
use crate::process::Process;

/// What a task's future waits for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Chain {
    /// Outermost first.
    pub(crate) awaits: Vec<PsAwait>,
    pub(crate) leaf: Option<PsLeaf>,
    /// Why the chain is empty or ends early, as a sentence.
    pub(crate) missing: Option<String>,
}

/// Reads futures in the memory of a process.
#[derive(Debug)]
pub(crate) struct FutureReader {
    process: Process,
}

impl FutureReader {
    pub(crate) fn new(process: Process) -> Self {
        Self { process }
    }

    /// Returns the name of the type of future that the function at `poll`
    /// polls, such as `app::session`; `None` without symbols.
    pub(crate) fn name(&mut self, poll: u64) -> Option<String> {
        let _ = (self.process, poll);
        None
    }

    /// Returns what the future of the task whose header is at the address
    /// `header` awaits. `poll` is the function that polls it.
    pub(crate) fn chain(&mut self, poll: u64, header: u64) -> Chain {
        let _ = (self.process, poll, header);
        Chain::default()
    }
}
