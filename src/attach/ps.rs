//! Puts together what is known of a process.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime};

use crate::attach::access;
use crate::attach::document::{
    PS_SCHEMA, PsCoverage, PsDocument, PsLeaf, PsRole, PsRuntime, PsRuntimeKind, PsTask, PsTaskState,
};
use crate::attach::error::AttachError;
use crate::attach::futurelock;
use crate::attach::roots::roots;
use crate::attach::verdicts;
use crate::futures::FutureReader;
use crate::little_endian::u64_at;
use crate::os;
use crate::process::Process;
use crate::tasks::state::{self, COMPLETE, JOIN_INTEREST, NOTIFIED, RUNNING};
use crate::tasks::{FoundTask, TaskReader};
use crate::threads::ThreadReader;
use crate::threads::registers::Registers;

/// A verdict on a task needs the same state at two moments this far apart.
const MIN_VERDICT_AGE: Duration = Duration::from_millis(50);

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
    let process = Process::Other(pid);
    let (begin, cpu_before, at) = (Instant::now(), cpu_nanos(), SystemTime::now());
    let program = process.program_path().ok_or(AttachError::NotFound { pid })?;
    let mut threads = ThreadReader::new(process).with_registers(registers);
    threads.look();
    let list = TaskReader::new(process).read();
    let mut futures = FutureReader::new(process);
    let described = list.tasks.iter().map(|task| described(task, &mut futures));
    let (tasks, unpolled): (Vec<_>, Vec<_>) = described.unzip();
    let described_at = Instant::now();
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
    let is_unchanged = |task: &PsTask| {
        let Some(found) = found.get(&task.address) else { return false };
        let state = || process.read(task.address, 8).and_then(|bytes| u64_at(&bytes, 0));
        let is_same_state = || state() == Some(found.state);
        let mut is_same_leaf = || futures.chain(found.vtable.poll, task.address).leaf == task.leaf;
        // The time until a timer fires changes by itself.
        let has_lasting_leaf = matches!(task.leaf, Some(PsLeaf::Semaphore { .. } | PsLeaf::Join { .. }));
        is_same_state() && (!has_lasting_leaf || is_same_leaf() && is_same_state())
    };
    let mut verdicts = verdicts::verdicts(&tasks, &read_threads, is_unchanged);
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
        runtimes: runtimes(&tasks),
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

/// Returns a task, and the variable with a future that it should poll.
fn described(task: &FoundTask, futures: &mut FutureReader) -> (PsTask, Option<String>) {
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
    let chain = if is_readable { futures.chain(poll, task.header) } else { Default::default() };
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

fn runtimes(tasks: &[PsTask]) -> Vec<PsRuntime> {
    let mut counts = BTreeMap::<u64, usize>::new();
    for handle in tasks.iter().filter_map(|task| task.runtime) {
        *counts.entry(handle).or_default() += 1;
    }
    let runtime = |(handle, tasks)| PsRuntime { handle, kind: PsRuntimeKind::Unknown, workers: None, tasks };
    counts.into_iter().map(runtime).collect()
}
