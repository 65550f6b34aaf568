//! The same reading of the process that this code runs in.

use std::collections::HashSet;
use std::time::Duration;

use crate::attach::access;
use crate::attach::document::PsDocument;
use crate::attach::error::AttachError;
use crate::attach::ps::{self, Bounds, Readers};
use crate::futures::FutureReader;
use crate::lock::Lock;
use crate::os;
use crate::per_process::PerProcess;
use crate::process::Process;
use crate::tasks::{FoundTask, TaskList};
use crate::threads::ThreadReader;
use crate::threads::registers::Registers;

/// The process has its own work to do.
const NICE: i32 = 5;

const BOUNDS: Bounds = Bounds {
    awaits_time: Duration::from_secs(10),
    // They take 70 MB while a result is kept.
    max_tasks: 50_000,
    is_on_own_thread: false,
};
/// The debug information that is read to find what tasks await.
const MAX_DEBUG_INFO_BYTES: u64 = 128 << 20;

/// Two readings at a time would find the copies of each other.
static READING: PerProcess<Lock<()>> = PerProcess::new();

/// Reads what this process does now: its threads, and its tasks with what each
/// of them awaits, as [`ps`](crate::attach::ps) does for another process.
///
/// The telemetry thread serves the same at `/tasks?tree`. The calling thread
/// reads the memory of the process, which takes some tenths of a second or
/// more: call it on a thread of its own, not in a task. Calls at the same time
/// wait for each other. What tasks await is read for 10 seconds, of 50,000
/// tasks, by debug information of 128 MiB at most. What was left out is in
/// [`PsCoverage::notes`] and [`PsTask::chain_missing`].
///
/// # Errors
///
/// If a sandbox does not let the process read its own memory. If the process is
/// not dumpable, as one whose program has capabilities of its file, and not
/// that of root: its files in `/proc` belong to root then, unless it calls
/// `prctl(PR_SET_DUMPABLE, 1)`.
///
/// # Examples
///
/// ```
/// use loopscope::attach;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
/// let task = runtime.spawn(async { tokio::time::sleep(std::time::Duration::from_secs(60)).await });
/// for task in attach::ps_own()?.tasks {
///     let awaits: Vec<_> = task.chain.iter().map(|step| &step.function).collect();
///     println!("{:?} {} {awaits:?}: {:?}", task.id, task.kind, task.leaf);
/// }
/// # task.abort();
/// # Ok(())
/// # }
/// ```
///
/// [`PsCoverage::notes`]: crate::attach::PsCoverage::notes
/// [`PsTask::chain_missing`]: crate::attach::PsTask::chain_missing
pub fn ps_own() -> Result<PsDocument, AttachError> {
    read(&[], BOUNDS)
}

/// As [`ps_own`], on a thread that does nothing else: its priority becomes low.
/// `asking` has the ids of a task that asks for the reading, and of the job of
/// the blocking pool that waits for it. Their runtime is left out.
pub(crate) fn ps_own_for(asking: &[u64]) -> Result<PsDocument, AttachError> {
    os::lower_priority(NICE);
    read(asking, Bounds { is_on_own_thread: true, ..BOUNDS })
}

fn read(asking: &[u64], bounds: Bounds) -> Result<PsDocument, AttachError> {
    access::check(os::getpid())?;
    let _one_at_a_time = READING.get().lock();
    let threads = ThreadReader::new(Process::Own).with_registers(Registers::Passive);
    let futures = FutureReader::new(Process::Own).with_max_debug_info(MAX_DEBUG_INFO_BYTES);
    let mut readers = Readers::new(threads, futures);
    ps::read(Process::Own, &mut readers, bounds, |list| leave_out(list, asking))
}

/// Removes the tasks with these ids, and all tasks of their runtimes.
fn leave_out(list: &mut TaskList, asking: &[u64]) {
    let is_asking = |task: &FoundTask| task.id.is_some_and(|id| asking.contains(&id));
    let schedulers: HashSet<_> =
        list.tasks.iter().filter(|task| is_asking(task)).filter_map(|task| task.scheduler).collect();
    // Another copy of Tokio in the process may have tasks with the same ids.
    let is_of_asking = |task: &FoundTask| match task.scheduler {
        Some(scheduler) => schedulers.len() == 1 && schedulers.contains(&scheduler),
        None => is_asking(task),
    };
    let all = list.tasks.len();
    list.tasks.retain(|task| !is_of_asking(task));
    let left_out = all - list.tasks.len();
    if left_out > 0 {
        list.notes.push(format!("{left_out} tasks and jobs of loopscope itself are left out"));
    }
}
