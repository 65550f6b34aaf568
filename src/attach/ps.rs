//! Puts together what is known of a process.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use crate::attach::document::{
    PS_SCHEMA, PsCoverage, PsDocument, PsLeaf, PsRole, PsTask, PsTaskState, PsThread,
};
use crate::attach::error::AttachError;
use crate::attach::first_look::FirstLook;
use crate::attach::futurelock;
use crate::attach::roots::roots;
use crate::attach::stopped::Stop;
use crate::attach::{access, runtimes, second_look, verdicts};
use crate::futures::{Chain, FutureReader};
use crate::little_endian::u64_at;
use crate::os;
use crate::process::Process;
use crate::tasks::state::{self, COMPLETE, JOIN_INTEREST, NOTIFIED, RUNNING};
use crate::tasks::{FoundTask, TaskList, TaskReader};
use crate::threads::ThreadReader;
use crate::threads::registers::Registers;

/// A verdict on a task needs the same state at two moments this far apart.
const MIN_VERDICT_AGE: Duration = Duration::from_millis(50);

/// How much one reading does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// After this time, no further awaits are read.
    pub(super) awaits_time: Duration,
    /// So many tasks are described.
    pub(super) max_tasks: usize,
    /// The debug information that is read to find what tasks await.
    pub(super) max_debug_info_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { awaits_time: Duration::MAX, max_tasks: usize::MAX, max_debug_info_bytes: u64::MAX }
    }
}

/// Reads what the process with the id `pid` does now. It runs on meanwhile.
///
/// # Errors
///
/// If there is no such process, it must not be read, or it has no Tokio.
pub fn ps(pid: i32) -> Result<PsDocument, AttachError> {
    ps_with(pid, Registers::default())
}

/// As [`ps`], with a choice of how threads that compute are read.
///
/// # Errors
///
/// As those of [`ps`].
pub fn ps_with(pid: i32, registers: Registers) -> Result<PsDocument, AttachError> {
    access::check(pid)?;
    read(Process::Other(pid), registers, Bounds::default(), |_| {})
}

/// Reads a process that can be read. `filter` may remove tasks.
pub(super) fn read(
    process: Process,
    registers: Registers,
    bounds: Bounds,
    filter: impl FnOnce(&mut TaskList),
) -> Result<PsDocument, AttachError> {
    let pid = process.other_pid().unwrap_or_else(os::getpid);
    let (begin, cpu_before, at) = (Instant::now(), cpu_nanos(), SystemTime::now());
    let stop_before = Stop::of(process);
    let program = process.program_path().ok_or(AttachError::NotFound { pid })?;
    let mut threads = ThreadReader::new(process).with_registers(registers);
    threads.look();
    let mut task_reader = TaskReader::new(process);
    let mut list = task_reader.read();
    filter(&mut list);
    if list.tasks.len() > bounds.max_tasks {
        let (all, shown) = (list.tasks.len(), bounds.max_tasks);
        list.notes.push(format!("{} of {all} tasks are left out: at most {shown} are shown", all - shown));
        list.tasks.truncate(bounds.max_tasks);
    }
    let mut futures = FutureReader::new(process).with_max_debug_info(bounds.max_debug_info_bytes);
    let is_late = || begin.elapsed() >= bounds.awaits_time;
    let described = list.tasks.iter().map(|task| described(task, &mut futures, is_late()));
    let (tasks, unpolled): (Vec<_>, Vec<_>) = described.unzip();
    let described_at = Instant::now();
    let is_tokio_named = access::check_tokio(pid)?;
    let polled = |task: &&FoundTask| task.owner.is_some() && task.state & RUNNING != 0;
    let running: Vec<_> = list.tasks.iter().filter(polled).map(|task| task.header).collect();
    let read_threads = threads.read(&running);
    if !list.has_tables && read_threads.iter().all(|thread| thread.role == PsRole::Other) {
        return Err(AttachError::NotTokio { pid, program: program.to_string_lossy().into_owned() });
    }
    let roots = roots(&read_threads, &mut threads, &mut futures);
    // A task between a wake and its poll, or between two polls, looks the same
    // as one that is stuck. It does not for long.
    std::thread::sleep(MIN_VERDICT_AGE.saturating_sub(described_at.elapsed()));
    let found: HashMap<_, _> = list.tasks.iter().map(|task| (task.header, task)).collect();
    let is_unchanged = |futures: &mut FutureReader, task: &PsTask| {
        let Some(found) = found.get(&task.address) else { return false };
        let state = || process.read(task.address, 8).and_then(|bytes| u64_at(&bytes, 0));
        let is_same_state = || state() == Some(found.state);
        let mut is_same_leaf = || futures.chain(found.vtable.poll, task.address).leaf == task.leaf;
        // The time until a timer fires changes by itself.
        let has_lasting_leaf = matches!(task.leaf, Some(PsLeaf::Semaphore { .. } | PsLeaf::Join { .. }));
        is_same_state() && (!has_lasting_leaf || is_same_leaf() && is_same_state())
    };
    let runtimes = runtimes::runtimes(&list.tasks, &tasks, &task_reader, &mut futures);
    // Of another version, the functions on a stack may mean something else.
    let is_known_version = list.has_tables || is_tokio_named;
    let stop_now = Stop::of(process);
    let mut verdicts = Vec::new();
    if stop_now.is_some() {
        // Whatever its threads wait for: it is not their code that lasts.
        verdicts.extend(stop_now.filter(|stop| stop_before == Some(*stop)).map(|stop| stop.verdict(pid)));
    } else if is_known_version {
        verdicts = verdicts::verdicts(&tasks, &read_threads, |task| is_unchanged(&mut futures, task));
        for (task, variable) in tasks.iter().zip(&unpolled) {
            let (Some(variable), Some(found)) = (variable, found.get(&task.address)) else { continue };
            let again = futures.chain(found.vtable.poll, task.address);
            if again.unpolled.as_ref() == Some(variable) && again.leaf == task.leaf {
                verdicts.push(futurelock::of_task(task, variable));
            }
        }
        // A thread that has waited since its future was read has not polled it.
        let still = roots.iter().filter(|root| root.parked.is_still());
        verdicts.extend(still.filter_map(|root| Some(futurelock::of_root(&root.root, root.unpolled.as_ref()?))));
        let first = FirstLook {
            at: described_at,
            found: &list.tasks,
            tasks: &tasks,
            threads: &read_threads,
            runtimes: &runtimes,
            task_reader: &task_reader,
            thread_reader: &threads,
        };
        let lasting = second_look::verdicts(&first, &verdicts, &mut futures, is_unchanged);
        if Stop::of(process).is_none() {
            verdicts.extend(lasting);
        }
    }
    let mut notes = list.notes;
    notes.extend(threads.notes());
    let coverage = PsCoverage {
        seconds: begin.elapsed().as_secs_f64(),
        cpu_seconds: cpu_nanos().saturating_sub(cpu_before) as f64 / 1e9,
        scanned_bytes: list.scanned_bytes,
        skipped_bytes: list.skipped_bytes,
        candidates: list.candidates,
        consistent: tasks.len(),
        torn: list.torn,
        notes,
        ..PsCoverage::default()
    };
    Ok(PsDocument {
        schema: PS_SCHEMA.to_owned(),
        pid,
        program: program.to_string_lossy().into_owned(),
        at,
        runtimes,
        threads: read_threads,
        tasks,
        roots: roots.into_iter().map(|root| root.root).collect(),
        verdicts,
        coverage,
    })
}

/// Returns the CPU time of the calling thread, which does all of the reading.
fn cpu_nanos() -> u64 {
    os::thread_cpu_nanos(os::current_thread_id()).unwrap_or(0)
}

/// Returns a task, and the variable with a future that it should poll. Its
/// awaits are not read if it `is_late`.
fn described(task: &FoundTask, futures: &mut FutureReader, is_late: bool) -> (PsTask, Option<String>) {
    let does = match task.state {
        word if word & COMPLETE != 0 => PsTaskState::Complete,
        word if word & RUNNING != 0 => PsTaskState::Running,
        word if word & NOTIFIED != 0 => PsTaskState::Notified,
        _ => PsTaskState::Idle,
    };
    let references = state::references(task.state);
    let has_join_handle = task.state & JOIN_INTEREST != 0;
    let is_blocking = task.owner.is_none();
    let poll = task.vtable.poll;
    let is_readable = matches!(does, PsTaskState::Idle | PsTaskState::Notified) && !is_blocking;
    let chain = if !is_readable {
        Chain::default()
    } else if is_late {
        Chain::missing("the time for this reading was over")
    } else {
        futures.chain(poll, task.header)
    };
    let document = PsTask {
        address: task.header,
        id: task.id,
        kind: futures.name(poll).unwrap_or_else(|| format!("{poll:#x}")),
        runtime: task.scheduler.filter(|_| !is_blocking),
        is_blocking,
        state: does,
        references,
        // The list of tasks has a reference; a notification or a poll has
        // one; a `JoinHandle` has one.
        wakers: references
            .saturating_sub(1)
            .saturating_sub(u64::from(task.state & (NOTIFIED | RUNNING) != 0))
            .saturating_sub(u64::from(has_join_handle)),
        has_join_handle,
        spawned_at: task.spawned_at.clone(),
        chain: chain.awaits,
        leaf: chain.leaf,
        chain_missing: chain.missing,
    };
    (document, chain.unpolled)
}
