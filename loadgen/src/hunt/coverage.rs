//! Which tasks were polled between two samples of the same server.

use serde::Deserialize;

use crate::report::TaskPolls;

/// The schema name of `/tasks`.
pub(crate) const TASKS_SCHEMA: &str = "loopscope.tasks/1";

/// The part of `/tasks` that is used here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TasksDocument {
    /// Always [`TASKS_SCHEMA`].
    pub(crate) schema: String,
    kinds: Vec<TaskKind>,
}

#[derive(Debug, Clone, Deserialize)]
struct TaskKind {
    name: String,
    poll: PollCount,
}

#[derive(Debug, Clone, Deserialize)]
struct PollCount {
    count: u64,
}

/// Returns the tasks that were polled between `before` and `after`, the most
/// polls first. A server that was restarted in between counts from zero.
pub(crate) fn polled(before: &TasksDocument, after: &TasksDocument) -> Vec<TaskPolls> {
    let count_before = |name: &str| {
        let kind = before.kinds.iter().find(|kind| kind.name == name);
        kind.map_or(0, |kind| kind.poll.count)
    };
    let tasks = after.kinds.iter().map(|kind| {
        let (now, before) = (kind.poll.count, count_before(&kind.name));
        TaskPolls { task: kind.name.clone(), polls: if now < before { now } else { now - before } }
    });
    let mut tasks: Vec<_> = tasks.filter(|task| task.polls > 0).collect();
    tasks.sort_by(|a, b| b.polls.cmp(&a.polls).then_with(|| a.task.cmp(&b.task)));
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tasks(kinds: &[(&str, u64)]) -> TasksDocument {
        let kind = |(name, count): &(&str, u64)| json!({"name": name, "poll": {"count": count, "more": 1}});
        let kinds: Vec<_> = kinds.iter().map(kind).collect();
        serde_json::from_value(json!({"schema": TASKS_SCHEMA, "kinds": kinds})).expect("a document")
    }

    #[test]
    fn only_polls_between_the_samples_count() {
        let polled = polled(
            &tasks(&[("a", 5), ("b", 7), ("c", 100)]),
            &tasks(&[("a", 5), ("b", 10), ("c", 4), ("d", 9)]),
        );
        let polled: Vec<_> = polled.iter().map(|task| (&*task.task, task.polls)).collect();
        assert_eq!(polled, [("d", 9), ("c", 4), ("b", 3)]);
    }
}
