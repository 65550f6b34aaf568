//! Puts together what is known of a process.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime};

use crate::attach::access;
use crate::attach::document::{
    PS_SCHEMA, PsCoverage, PsDocument, PsLeaf, PsRole, PsRuntime, PsRuntimeKind, PsTask, PsTaskState,
};
use crate::attach::error::AttachError;
use crate::attach::verdicts;
use crate::futures::{Chain, FutureReader, TaskPlace};
use crate::little_endian::u64_at;
use crate::os;
use crate::process::Process;
use crate::tasks::state::{self, COMPLETE, JOIN_INTEREST, NOTIFIED, RUNNING};
use crate::tasks::{FoundTask, TaskReader};
use crate::threads::ThreadReader;
use crate::threads::registers::Registers;

/// A verdict on a task needs the same state at two moments this far apart.
const MIN_VERDICT_AGE: Duration = Duration::from_millis(50);

/// How often a process is read that executes other programs or loads libraries
/// meanwhile.
const MAX_ATTEMPTS: usize = 3;
const CHANGED: &str = "the process ended, executed another program or loaded a library while it was read: what is \
                       shown may be incomplete, and may be of two programs";

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
    PsReader { registers, ..PsReader::new(pid) }.read()
}

/// Reads one process several times. What it has found out about the program
/// and its debug information is kept as long as the process has the same
/// programs and libraries.
#[derive(Debug)]
pub struct PsReader {
    pid: i32,
    registers: Registers,
    kept: Option<(ThreadReader, FutureReader)>,
}

impl PsReader {
    /// Creates a reader of the process with the id `pid`.
    #[must_use]
    pub fn new(pid: i32) -> Self {
        Self { pid, registers: Registers::default(), kept: None }
    }

    /// Reads what the process does now.
    ///
    /// # Errors
    ///
    /// As those of [`ps`].
    pub fn read(&mut self) -> Result<PsDocument, AttachError> {
        let mut document = self.read_once()?;
        for _ in 1..MAX_ATTEMPTS {
            if self.is_still_the_same() {
                return Ok(document);
            }
            match self.read_once() {
                Ok(again) => document = again,
                // It has ended, or is another program without Tokio now.
                Err(_) => break,
            }
        }
        if !self.is_still_the_same() {
            document.coverage.notes.push(CHANGED.to_owned());
        }
        Ok(document)
    }

    fn read_once(&mut self) -> Result<PsDocument, AttachError> {
        access::check(self.pid)?;
        let process = Process::Other(self.pid);
        let new = || (ThreadReader::new(process).with_registers(self.registers), FutureReader::new(process));
        // Another program, or a library that was loaded since, may have other
        // code at the same addresses.
        let kept = self.kept.take().filter(|(_, futures)| futures.has_current_images());
        let (threads, futures) = self.kept.insert(kept.unwrap_or_else(new));
        read(self.pid, threads, futures)
    }

    /// Returns whether the process has the programs and libraries that it had
    /// when it was read.
    fn is_still_the_same(&self) -> bool {
        self.kept.as_ref().is_some_and(|(_, futures)| futures.has_current_images())
    }
}

fn read(pid: i32, threads: &mut ThreadReader, futures: &mut FutureReader) -> Result<PsDocument, AttachError> {
    let process = Process::Other(pid);
    let (begin, cpu_before, at) = (Instant::now(), cpu_nanos(), SystemTime::now());
    let program = process.program_path().ok_or(AttachError::NotFound { pid })?;
    threads.look();
    let list = TaskReader::new(process).read();
    futures.begin_moment();
    let suspended: Vec<_> = list.tasks.iter().filter(|task| is_suspended(task)).map(place).collect();
    let mut chains = futures.chains(&suspended).into_iter();
    let tasks = list.tasks.iter().map(|task| {
        let chain = if is_suspended(task) { chains.next() } else { None };
        described(task, futures.name(task.vtable.poll), chain.unwrap_or_default())
    });
    let tasks: Vec<_> = tasks.collect();
    let described_at = Instant::now();
    let polled = |task: &&FoundTask| task.owner.is_some() && task.state & RUNNING != 0;
    let running: Vec<_> = list.tasks.iter().filter(polled).map(|task| task.header).collect();
    let read_threads = threads.read(&running);
    if !list.has_tables && read_threads.iter().all(|thread| thread.role == PsRole::Other) {
        // It may have ended meanwhile.
        access::check(pid)?;
        return Err(AttachError::NotTokio { pid, program: program.to_string_lossy().into_owned() });
    }
    // A task between a wake and its poll, or between two polls, looks the same
    // as one that is stuck. It does not for long.
    std::thread::sleep(MIN_VERDICT_AGE.saturating_sub(described_at.elapsed()));
    let found: HashMap<_, _> = list.tasks.iter().map(|task| (task.header, task)).collect();
    let is_unchanged = |task: &PsTask| {
        let Some(found) = found.get(&task.address) else { return false };
        let state = || process.read(task.address, 8).and_then(|bytes| u64_at(&bytes, 0));
        let is_same_state = || state() == Some(found.state);
        let mut is_same_leaf = || futures.chain(place(found)).leaf == task.leaf;
        // The time until a timer fires changes by itself.
        let has_lasting_leaf = matches!(task.leaf, Some(PsLeaf::Semaphore { .. } | PsLeaf::Join { .. }));
        is_same_state() && (!has_lasting_leaf || is_same_leaf() && is_same_state())
    };
    let verdicts = verdicts::verdicts(&tasks, &read_threads, is_unchanged);
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
        verdicts,
        coverage,
    })
}

/// Returns the CPU time of the calling thread, which does all of the reading.
fn cpu_nanos() -> u64 {
    os::thread_cpu_nanos(os::current_thread_id()).unwrap_or(0)
}

fn place(task: &FoundTask) -> TaskPlace {
    TaskPlace { poll: task.vtable.poll, header: task.header }
}

/// Returns whether the task has a future and is not being polled.
fn is_suspended(task: &FoundTask) -> bool {
    task.owner.is_some() && task.state & (COMPLETE | RUNNING) == 0
}

fn described(task: &FoundTask, name: Option<String>, chain: Chain) -> PsTask {
    let does = match task.state {
        word if word & COMPLETE != 0 => PsTaskState::Complete,
        word if word & RUNNING != 0 => PsTaskState::Running,
        word if word & NOTIFIED != 0 => PsTaskState::Notified,
        _ => PsTaskState::Idle,
    };
    let references = state::references(task.state);
    let has_join_handle = task.state & JOIN_INTEREST != 0;
    let is_blocking = task.owner.is_none();
    PsTask {
        address: task.header,
        id: task.id,
        kind: name.unwrap_or_else(|| format!("{:#x}", task.vtable.poll)),
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
    }
}

fn runtimes(tasks: &[PsTask]) -> Vec<PsRuntime> {
    let mut counts = BTreeMap::<u64, usize>::new();
    for handle in tasks.iter().filter_map(|task| task.runtime) {
        *counts.entry(handle).or_default() += 1;
    }
    let runtime = |(handle, tasks)| PsRuntime { handle, kind: PsRuntimeKind::Unknown, workers: None, tasks };
    counts.into_iter().map(runtime).collect()
}
