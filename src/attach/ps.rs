//! Puts together what is known of a process.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use crate::attach::document::{PS_SCHEMA, PsCoverage, PsDocument, PsLeaf, PsRole, PsTask, PsTaskState};
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
    /// Whether the calling thread does nothing else than to read.
    pub(super) is_on_own_thread: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { awaits_time: Duration::MAX, max_tasks: usize::MAX, is_on_own_thread: true }
    }
}

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
    PsReader::new(pid).with_registers(registers).read()
}

/// Reads one process several times. What it has found out about the program
/// and its debug information is kept as long as the process has the same
/// programs and libraries.
#[derive(Debug)]
pub struct PsReader {
    pid: i32,
    registers: Registers,
    kept: Option<Readers>,
}

impl PsReader {
    /// Creates a reader of the process with the id `pid`.
    #[must_use]
    pub fn new(pid: i32) -> Self {
        Self { pid, registers: Registers::default(), kept: None }
    }

    /// Sets how threads that compute are read.
    #[must_use]
    pub fn with_registers(self, registers: Registers) -> Self {
        Self { registers, ..self }
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
        let new = || {
            let threads = ThreadReader::new(process).with_registers(self.registers);
            Readers::new(threads, FutureReader::new(process))
        };
        // Another program, or a library that was loaded since, may have other
        // code at the same addresses.
        let kept = self.kept.take().filter(|kept| kept.futures.has_current_images());
        let readers = self.kept.insert(kept.unwrap_or_else(new));
        read(process, readers, Bounds::default(), |_| {})
    }

    /// Returns whether the process has the programs and libraries that it had
    /// when it was read.
    fn is_still_the_same(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.futures.has_current_images())
    }
}

/// What reads a process, and what it has found out about its programs and
/// libraries.
#[derive(Debug)]
pub(super) struct Readers {
    threads: ThreadReader,
    futures: FutureReader,
    /// Whether they name the version of Tokio. `None` before the first reading.
    is_tokio_named: Option<bool>,
}

impl Readers {
    pub(super) fn new(threads: ThreadReader, futures: FutureReader) -> Self {
        Self { threads, futures, is_tokio_named: None }
    }
}

/// Reads a process that can be read. `filter` may remove tasks.
pub(super) fn read(
    process: Process,
    readers: &mut Readers,
    bounds: Bounds,
    filter: impl FnOnce(&mut TaskList),
) -> Result<PsDocument, AttachError> {
    let Readers { threads, futures, is_tokio_named } = readers;
    let pid = process.other_pid().unwrap_or_else(os::getpid);
    let (begin, cpu_before, at) = (Instant::now(), cpu_nanos(), SystemTime::now());
    let stop_before = Stop::of(process);
    let program = process.program_path().ok_or(AttachError::NotFound { pid })?;
    threads.look();
    let mut task_reader = TaskReader::new(process);
    let mut list = task_reader.read();
    filter(&mut list);
    if list.tasks.len() > bounds.max_tasks {
        let (all, shown) = (list.tasks.len(), bounds.max_tasks);
        list.notes.push(format!("{} of {all} tasks are left out: at most {shown} are shown", all - shown));
        list.tasks.truncate(bounds.max_tasks);
    }
    futures.begin_moment();
    let suspended: Vec<_> =
        list.tasks.iter().filter(|task| is_suspended(task)).map(FoundTask::place).collect();
    let mut chains = futures.chains(&suspended, begin.checked_add(bounds.awaits_time)).into_iter();
    let described = list.tasks.iter().map(|task| {
        let chain = if is_suspended(task) { chains.next() } else { None };
        described(task, futures.name(task.vtable.poll), chain.unwrap_or_default())
    });
    let (tasks, unpolled): (Vec<_>, Vec<_>) = described.unzip();
    let described_at = Instant::now();
    let is_tokio_named = match *is_tokio_named {
        Some(is_named) => is_named,
        None => match access::check_tokio(process) {
            // It has another copy of Tokio, which names no version.
            Err(_) if !list.tasks.is_empty() => true,
            result => *is_tokio_named.insert(result?),
        },
    };
    let polled = |task: &&FoundTask| task.owner.is_some() && task.state & RUNNING != 0;
    let running: Vec<_> = list.tasks.iter().filter(polled).map(|task| task.header).collect();
    let read_threads = threads.read(&running);
    if !list.has_tables && read_threads.iter().all(|thread| thread.role == PsRole::Other) {
        // It may have ended meanwhile.
        access::check(pid)?;
        return Err(AttachError::NotTokio { pid, program: program.to_string_lossy().into_owned() });
    }
    let roots = roots(&read_threads, threads, futures);
    // A task between a wake and its poll, or between two polls, looks the same
    // as one that is stuck. It does not for long.
    std::thread::sleep(MIN_VERDICT_AGE.saturating_sub(described_at.elapsed()));
    let found: HashMap<_, _> = list.tasks.iter().map(|task| (task.header, task)).collect();
    let is_unchanged = |futures: &mut FutureReader, task: &PsTask| {
        let Some(found) = found.get(&task.address) else { return false };
        let state = || process.read(task.address, 8).and_then(|bytes| u64_at(&bytes, 0));
        let is_same_state = || state() == Some(found.state);
        let mut is_same_leaf = || futures.chain(found.place()).leaf == task.leaf;
        // The time until a timer fires changes by itself.
        let has_lasting_leaf = matches!(task.leaf, Some(PsLeaf::Semaphore { .. } | PsLeaf::Join { .. }));
        is_same_state() && (!has_lasting_leaf || is_same_leaf() && is_same_state())
    };
    let runtimes = runtimes::runtimes(&list.tasks, &tasks, &task_reader, futures);
    // Of another version, the functions on a stack may mean something else.
    let is_known_version = list.has_tables || is_tokio_named;
    let stop_now = Stop::of(process);
    let mut verdicts = Vec::new();
    if stop_now.is_some() {
        // Whatever its threads wait for: it is not their code that lasts.
        verdicts.extend(stop_now.filter(|stop| stop_before == Some(*stop)).map(|stop| stop.verdict(pid)));
    } else if is_known_version {
        verdicts = verdicts::verdicts(&tasks, &read_threads, |task| is_unchanged(futures, task));
        for (task, variable) in tasks.iter().zip(&unpolled) {
            let (Some(variable), Some(found)) = (variable, found.get(&task.address)) else { continue };
            let again = futures.chain(found.place());
            if again.unpolled.as_ref() == Some(variable) && again.leaf == task.leaf {
                verdicts.push(futurelock::of_task(task, variable));
            }
        }
        // A thread that has waited since its future was read has not polled it.
        let still = roots.iter().filter(|root| root.parked.is_still());
        verdicts
            .extend(still.filter_map(|root| Some(futurelock::of_root(&root.root, root.unpolled.as_ref()?))));
        let reading_thread = process.other_pid().is_none().then(os::current_thread_id);
        let first = FirstLook {
            at: described_at,
            found: &list.tasks,
            tasks: &tasks,
            threads: &read_threads,
            runtimes: &runtimes,
            task_reader: &task_reader,
            thread_reader: threads,
            reading_thread: reading_thread.filter(|_| bounds.is_on_own_thread),
        };
        let known_locks = futurelock::locks(&verdicts, &tasks, roots.iter().map(|root| &root.root));
        let lasting = second_look::verdicts(&first, &known_locks, futures, is_unchanged);
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

/// Returns whether the task has a future and is not being polled.
fn is_suspended(task: &FoundTask) -> bool {
    task.owner.is_some() && task.state & (COMPLETE | RUNNING) == 0
}

/// Returns a task, and the variable with a future that it should poll.
fn described(task: &FoundTask, name: Option<String>, chain: Chain) -> (PsTask, Option<String>) {
    let does = match task.state {
        word if word & COMPLETE != 0 => PsTaskState::Complete,
        word if word & RUNNING != 0 => PsTaskState::Running,
        word if word & NOTIFIED != 0 => PsTaskState::Notified,
        _ => PsTaskState::Idle,
    };
    let references = state::references(task.state);
    let has_join_handle = task.state & JOIN_INTEREST != 0;
    let is_blocking = task.owner.is_none();
    let document = PsTask {
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
    };
    (document, chain.unpolled)
}
