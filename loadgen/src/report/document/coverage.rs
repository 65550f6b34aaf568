//! What the load exercised. "No findings" has a meaning only together with it.

use serde::{Deserialize, Serialize};

/// What was exercised and polled. The load figures contain how often each
/// command was sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Coverage {
    /// Commands of the generator that were never sent; empty if another program
    /// generated the load.
    pub(crate) never_sent: Vec<String>,
    /// Polls of all tasks that the server's loopscope monitored.
    pub(crate) polls: u64,
    /// By kind of task, the most polls first.
    pub(crate) tasks: Vec<TaskPolls>,
}

/// How often tasks of one kind were polled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskPolls {
    /// The kind's name, or where it is spawned.
    pub(crate) task: String,
    /// The number of polls.
    pub(crate) polls: u64,
}
