//! Which runtimes a process has, by the schedulers of its tasks.

use std::collections::BTreeMap;

use crate::attach::document::{PsRuntime, PsRuntimeKind, PsTask};
use crate::futures::FutureReader;
use crate::tasks::{FoundTask, TaskReader};

/// The number of runtimes whose memory is read.
const MAX_READ: usize = 256;

/// Returns the runtimes that have tasks, in the order of their handles.
/// `found` are the tasks as `described` was made of them.
pub(super) fn runtimes(
    found: &[FoundTask],
    described: &[PsTask],
    reader: &TaskReader,
    futures: &mut FutureReader,
) -> Vec<PsRuntime> {
    let mut runtimes = BTreeMap::<u64, (u64, usize)>::new();
    for (found, described) in found.iter().zip(described) {
        let Some(handle) = described.runtime else { continue };
        runtimes.entry(handle).or_insert((found.vtable.schedule, 0)).1 += 1;
    }
    let runtime = |(at, (handle, (schedule, tasks))): (usize, (u64, (u64, usize)))| {
        let kind = futures.scheduler(schedule).map_or(PsRuntimeKind::Unknown, |name| kind(&name));
        // Memory beside another handle may look like that of workers.
        let has_workers = kind == PsRuntimeKind::MultiThread && at < MAX_READ;
        let workers = has_workers.then(|| reader.worker_count(handle)).flatten();
        PsRuntime { handle, kind, workers, tasks }
    };
    runtimes.into_iter().enumerate().map(runtime).collect()
}

/// Returns the kind of a scheduler by the name of its type.
fn kind(name: &str) -> PsRuntimeKind {
    let kinds = [
        ("tokio::runtime::scheduler::multi_thread::", PsRuntimeKind::MultiThread),
        ("tokio::runtime::scheduler::current_thread::", PsRuntimeKind::CurrentThread),
        ("tokio::task::local::", PsRuntimeKind::LocalSet),
    ];
    let known = kinds.into_iter().find(|(module, _)| name.contains(module));
    known.map_or(PsRuntimeKind::Unknown, |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_a_scheduler_says_its_kind() {
        for (name, expected) in [
            (
                "alloc::sync::Arc<tokio::runtime::scheduler::multi_thread::handle::Handle>",
                PsRuntimeKind::MultiThread,
            ),
            (
                "alloc::sync::Arc<tokio::runtime::scheduler::current_thread::Handle, A>",
                PsRuntimeKind::CurrentThread,
            ),
            ("alloc::sync::Arc<tokio::task::local::Shared>", PsRuntimeKind::LocalSet),
            ("tokio::runtime::blocking::schedule::BlockingSchedule", PsRuntimeKind::Unknown),
            ("", PsRuntimeKind::Unknown),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }
}
