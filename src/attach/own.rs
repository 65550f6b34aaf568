//! The same reading of the process that this code runs in.

use std::collections::HashSet;
use std::sync::mpsc;
use std::time::Duration;

use crate::attach::access;
use crate::attach::document::PsDocument;
use crate::attach::error::AttachError;
use crate::attach::ps::{self, Bounds};
use crate::lock::Lock;
use crate::os;
use crate::owned_thread::OwnedThread;
use crate::per_process::PerProcess;
use crate::process::Process;
use crate::tasks::{FoundTask, TaskList};
use crate::threads::registers::Registers;

/// The name of the thread in debuggers and `top`.
const THREAD_NAME: &str = "loopscope-tasks";

/// The process has its own work to do.
const NICE: i32 = 5;

const BOUNDS: Bounds = Bounds {
    awaits_time: Duration::from_secs(10),
    // About 1.5 KB for each, and as much again as JSON.
    max_tasks: 50_000,
    max_debug_info_bytes: 256 << 20,
};

/// Two readings at a time would find the copies of each other.
static READING: PerProcess<Lock<()>> = PerProcess::new();

/// Reads what this process does now: its threads, and its tasks with what each
/// of them awaits, as [`ps`](crate::attach::ps) does for another process.
///
/// The telemetry thread serves the same at `/tasks?tree`. The calling thread
/// waits until a thread of low priority has read the memory of the process,
/// which takes some tenths of a second or more: call it on a thread of its own,
/// not in a task. Calls at the same time wait for each other. What tasks await
/// is read for 10 seconds, of 50,000 tasks, by debug information of 256 MiB at
/// most. What was left out is in [`PsCoverage::notes`] and
/// [`PsTask::chain_missing`].
///
/// # Errors
///
/// If the kernel or a sandbox does not let the process read its own memory, or
/// no thread can be started.
///
/// # Examples
///
/// ```
/// use loopscope::attach;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
/// let task = runtime.spawn(tokio::time::sleep(std::time::Duration::from_secs(60)));
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
    ps_own_for(&[])
}

/// As [`ps_own`], without the runtime that asks for it: `asking` has the ids of
/// a task of it, and of the job of its blocking pool that calls this.
pub(crate) fn ps_own_for(asking: &[u64]) -> Result<PsDocument, AttachError> {
    let pid = os::getpid();
    access::check(pid)?;
    let _one_at_a_time = READING.get().lock();
    let (sender, result) = mpsc::sync_channel(1);
    let asking = asking.to_vec();
    let read = move || {
        os::lower_priority(NICE);
        // Nobody waits for the result any more: no error.
        let _ =
            sender.send(ps::read(Process::Own, Registers::Passive, BOUNDS, |list| leave_out(list, &asking)));
    };
    let _thread = OwnedThread::spawn(THREAD_NAME, read)
        .map_err(|error| AttachError::NoThread { error: error.to_string() })?;
    // It ends without a result only after a panic.
    result.recv().unwrap_or(Err(AttachError::Refused { pid }))
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
