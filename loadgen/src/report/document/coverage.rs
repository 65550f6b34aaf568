//! What the load reached, so that "nothing found" has a denominator.

use serde::{Deserialize, Serialize};

/// What was exercised and watched. How often each command was sent stands in
/// the load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Coverage {
    /// Commands that the generator knows and that were never sent; empty where
    /// another program was the load.
    pub(crate) never_sent: Vec<String>,
    /// Polls of all tasks that the server's loopscope watched meanwhile.
    pub(crate) polls: u64,
    /// By kind of task, the most polls first.
    pub(crate) tasks: Vec<TaskPolls>,
}

/// How often tasks of one kind were polled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskPolls {
    /// The kind's name, or where it is spawned.
    pub(crate) task: String,
    /// How often.
    pub(crate) polls: u64,
}
