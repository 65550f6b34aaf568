//! The threads of a Tokio process: what each is for, and what it does.

mod look;
mod memory_map;
mod parked;
mod polled_task;
mod printable;
mod reading;
pub(crate) mod registers;
pub(crate) mod role;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use crate::attach::document::{PsRole, PsThread, PsThreadState};
use crate::capture::unwind::Unwinder;
use crate::diagnose::diagnosis::{self, Diagnosis};
use crate::diagnose::symbols::Symbols;
use crate::finding::{Frame, FrameKind, Site};
use crate::process::Process;
use crate::threads::look::Look;
pub(crate) use crate::threads::memory_map::MemoryMap;
pub(crate) use crate::threads::parked::ParkedThread;
use crate::threads::printable::{printable, printable_frame};
use crate::threads::reading::Reading;
use crate::threads::registers::Registers;
use crate::threads::role::{Activity, Placement, StackView};
use crate::watchdog::procfs;
use crate::watchdog::sample::ThreadActivity;

/// The maximum number of threads that are read. Tokio's blocking pool has 512
/// at most, unless its builder sets another number.
const MAX_THREADS: usize = 4096;
/// The memory that compressed debug information may take.
const MAX_DEBUG_INFO_BYTES: u64 = 1 << 30;
/// That of the own process, which has its own work to do: as by default of the
/// watchdog.
const MAX_DEBUG_INFO_BYTES_OF_OWN: u64 = 64 << 20;
/// The maximum number of reasons why lines are missing.
const MAX_NOTES: usize = 4;
/// The time for samples of threads that compute, of all threads together. Many
/// such threads that wait for few CPUs would take minutes.
const MAX_SAMPLING_TIME: Duration = Duration::from_secs(2);
/// So much of all stacks together is kept whole, and of the others their inner
/// ends.
const MAX_KEPT_BYTES: usize = 64 << 20;
/// The time between two looks at a thread. If they show one and the same wait,
/// the thread is not just passing through a call.
const MIN_TIME_BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Reads the threads of a process.
pub(crate) struct ThreadReader {
    process: Process,
    registers: Registers,
    unwinder: Unwinder,
    symbols: Symbols,
    /// What each thread did at the first look, and when that was.
    first_looks: HashMap<i32, (Instant, Look)>,
    /// The number of threads that were not read, because there are too many.
    left_out: usize,
    /// The number of threads whose activity the kernel does not tell.
    refused: usize,
    /// The number of threads that compute and were not sampled: it would have
    /// taken too long.
    unsampled: usize,
    /// Whether stacks were read, and no function on them has a name of Rust.
    is_stripped: bool,
    /// Whether functions have names, and those that are inlined do not.
    has_no_inlined: bool,
    /// Why frames have no line, as sentences.
    lines_missing: BTreeSet<String>,
}

impl fmt::Debug for ThreadReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadReader").field("process", &self.process).finish_non_exhaustive()
    }
}

fn max_debug_info_bytes(process: Process) -> u64 {
    match process {
        Process::Own => MAX_DEBUG_INFO_BYTES_OF_OWN,
        Process::Other(_) => MAX_DEBUG_INFO_BYTES,
    }
}

impl ThreadReader {
    pub(crate) fn new(process: Process) -> Self {
        Self {
            process,
            registers: Registers::default(),
            unwinder: Unwinder::new(process),
            symbols: Symbols::new(process, max_debug_info_bytes(process)),
            first_looks: HashMap::new(),
            left_out: 0,
            refused: 0,
            unsampled: 0,
            is_stripped: false,
            has_no_inlined: false,
            lines_missing: BTreeSet::new(),
        }
    }

    /// Sets how the registers of threads that compute are read.
    pub(crate) fn with_registers(self, registers: Registers) -> Self {
        Self { registers, ..self }
    }

    /// Looks at each thread, so that a later reading knows which of them have
    /// waited since.
    pub(crate) fn look(&mut self) {
        let ids = self.thread_ids();
        let look = |tid| (tid, (Instant::now(), Look::at(self.process, tid)));
        self.first_looks = ids.into_iter().map(look).collect();
    }

    /// Returns the threads as they are now, sorted by id. `running` has the
    /// headers of the tasks that are being polled, without jobs of the blocking
    /// pool.
    pub(crate) fn read(&mut self, running: &[u64]) -> Vec<PsThread> {
        if let Some(first) = self.first_looks.values().map(|(at, _)| *at).max() {
            thread::sleep(MIN_TIME_BETWEEN_LOOKS.saturating_sub(first.elapsed()));
        }
        let map = MemoryMap::of(self.process);
        let mut read = Vec::new();
        let (mut sampling_time, mut kept_bytes) = (Duration::ZERO, 0);
        self.unsampled = 0;
        for tid in self.thread_ids() {
            let name = procfs::thread_name(self.process, tid);
            let is_time_over = sampling_time >= MAX_SAMPLING_TIME;
            let registers = if is_time_over { Registers::Passive } else { self.registers };
            let begin = Instant::now();
            let mut reading = reading::read(tid, &map, registers, &mut self.unwinder);
            // The task of a thread is searched in its stack later, and many
            // threads are kept at once.
            reading.shorten(kept_bytes < MAX_KEPT_BYTES);
            kept_bytes += reading.stack_bytes();
            if reading.look.activity == ThreadActivity::Running {
                sampling_time += begin.elapsed();
                self.unsampled += usize::from(is_time_over);
            }
            // A thread that has ended has no name any more.
            let Some(name) = name.filter(|_| procfs::thread_name(self.process, tid).is_some()) else {
                continue;
            };
            let seconds = self.seconds(tid, &reading.look);
            read.push((tid, name, reading, seconds));
        }
        let is_refused = |reading: &Reading| reading.look.activity == ThreadActivity::Unknown;
        self.refused = read.iter().filter(|(_, _, reading, _)| is_refused(reading)).count();
        // This takes longer than the reading.
        let read = read.into_iter().map(|(tid, name, reading, seconds)| {
            let diagnosis = diagnosis::of_capture(&reading.capture, &mut self.symbols);
            (tid, name, reading, seconds, diagnosis)
        });
        let read: Vec<_> = read.collect();
        let missing = read.iter().filter_map(|(.., diagnosis)| diagnosis.lines_missing.as_deref());
        self.lines_missing = missing.map(printable).take(MAX_NOTES).collect();
        // A program without symbols has only code of which nothing is known.
        let mut frames = read.iter().flat_map(|(.., diagnosis)| &diagnosis.stack).peekable();
        let has_frames = frames.peek().is_some();
        let mut named = frames.filter(|frame| frame.kind != FrameKind::Native).peekable();
        self.is_stripped = has_frames && named.peek().is_none();
        // The lines of the standard library are those of its own build.
        let has_inlined = named.any(|frame| frame.kind != FrameKind::Std && frame.file.is_some());
        self.has_no_inlined = has_frames && !has_inlined && !self.is_stripped;
        let describe = |(tid, name, reading, seconds, diagnosis)| {
            self.described(tid, name, &reading, seconds, diagnosis, has_inlined, running)
        };
        read.into_iter().map(describe).collect()
    }

    /// Returns whether each of the threads has been in one and the same wait
    /// since the first look until now.
    pub(crate) fn have_not_run(&self, tids: &[i32]) -> bool {
        let is_same = |tid: &i32| {
            let first = self.first_looks.get(tid);
            first.is_some_and(|(_, first)| Look::at(self.process, *tid).is_same_wait(first))
        };
        tids.iter().all(is_same)
    }

    /// Returns the ids of the threads that the process has now.
    pub(crate) fn current_ids(&self) -> Vec<i32> {
        let mut ids = procfs::thread_ids(self.process);
        ids.sort_unstable();
        ids
    }

    /// Returns the memory that stacks may be in, as it is now.
    pub(crate) fn memory_map(&self) -> MemoryMap {
        MemoryMap::of(self.process)
    }

    /// Reads a thread that waits; `None` if it does not wait any more, or if
    /// its stack is not known for certain.
    pub(crate) fn parked(&mut self, tid: i32, map: &MemoryMap) -> Option<ParkedThread> {
        ParkedThread::read(tid, map, &mut self.unwinder)
    }

    /// Returns what the last reading left out, as sentences.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.left_out > 0 {
            notes.push(format!("{} threads were not read: at most {MAX_THREADS} are", self.left_out));
        }
        if self.refused > 0 {
            notes.push(format!("the kernel does not say what {} threads do", self.refused));
        }
        if self.unsampled > 0 {
            notes.push(format!(
                "the lines of {} threads that compute are not known: the time for it was over",
                self.unsampled
            ));
        }
        if self.is_stripped {
            notes.push(
                "no function on the stacks has a name of Rust, as in a program that was built with `strip`, so \
                 threads are known by their names only, and none is known to be blocked"
                    .to_owned(),
            );
        }
        notes.extend(self.lines_missing.iter().cloned());
        if self.has_no_inlined {
            notes.push(
                "without lines, inlined functions are not known, so a worker that is shown as blocked may be in \
                 `block_in_place`, and the role of some threads is not known"
                    .to_owned(),
            );
        }
        notes
    }

    fn thread_ids(&mut self) -> Vec<i32> {
        let mut ids = procfs::thread_ids(self.process);
        ids.sort_unstable();
        self.left_out = ids.len().saturating_sub(MAX_THREADS);
        ids.truncate(MAX_THREADS);
        ids
    }

    /// Returns for how long the thread has certainly been in its wait.
    fn seconds(&self, tid: i32, now: &Look) -> Option<f64> {
        let (at, first) = self.first_looks.get(&tid)?;
        now.is_same_wait(first).then(|| at.elapsed().as_secs_f64())
    }

    #[expect(clippy::too_many_arguments, reason = "each is another part of one thread")]
    fn described(
        &self,
        tid: i32,
        name: String,
        reading: &Reading,
        seconds: Option<f64>,
        diagnosis: Diagnosis,
        has_inlined: bool,
        running: &[u64],
    ) -> PsThread {
        let frames = &diagnosis.stack;
        let is_whole = reading.stack.as_ref().is_some_and(|stack| stack.unwound.is_confirmed);
        let is_complete = has_inlined && is_whole;
        let call = reading.capture.call.as_ref();
        let activity = Activity::new(reading.look.activity, reading.capture.call.as_ref());
        let placement = role::placement(&name, StackView { frames, is_complete }, activity);
        let Placement { role, state, .. } = placement;
        let is_in_poll = matches!(state, PsThreadState::Blocked | PsThreadState::Polling);
        let is_busy = is_in_poll || matches!(state, PsThreadState::Waiting | PsThreadState::Running);
        let task = reading.stack.as_ref().filter(|_| is_in_poll);
        let task = task.and_then(|stack| polled_task::polled_task(stack, running, &self.unwinder));
        let is_stuck = state == PsThreadState::Blocked || role == PsRole::Blocking && is_busy;
        let has_stack = !frames.is_empty();
        PsThread {
            tid,
            name,
            role,
            state,
            call: call.map(|call| call.name.clone()),
            object: call.and_then(|call| call.fd.as_deref()).map(printable),
            cause: is_stuck.then_some(diagnosis.cause),
            primitive: diagnosis.primitive.as_deref().filter(|_| is_stuck).map(printable),
            advice: (state == PsThreadState::Blocked && has_stack).then(|| printable(&diagnosis.advice)),
            task,
            seconds,
            site: site(&diagnosis, placement, is_busy).map(printable_frame),
            evidence: diagnosis.evidence,
            stack: diagnosis.stack.into_iter().map(printable_frame).collect(),
        }
    }
}

/// Returns the line that the thread is at. Of a thread that waits for work that
/// is the line that has started it, if it is one of the application.
fn site(diagnosis: &Diagnosis, placement: Placement, is_busy: bool) -> Option<Frame> {
    let frames = &diagnosis.stack;
    let is_idle_thread = !is_busy && placement.role != PsRole::BlockOn;
    if is_idle_thread && placement.state != PsThreadState::Unknown {
        return None;
    }
    // Frames before the site belong to a panic that prints its backtrace.
    let is_site = |frame: &&Frame| {
        let matches = |site: &Site| site.function == frame.function && site.line == frame.line;
        frame.kind == FrameKind::Application && diagnosis.site.as_ref().is_some_and(matches)
    };
    // In the workspace of loopscope, its code is that of the application.
    let is_of_loopscope = |frame: &&Frame| frame.function.trim_start_matches('<').starts_with("loopscope::");
    let of_site = frames.iter().skip_while(|frame| !is_site(frame));
    let of_application =
        of_site.filter(|frame| frame.kind == FrameKind::Application).find(|frame| !is_of_loopscope(frame));
    // Without such a line, a dependency is the culprit if the runtime has
    // called it.
    let called = frames.get(..placement.called).unwrap_or_default();
    let is_dependency = |frame: &&Frame| frame.kind == FrameKind::Dependency;
    let of_dependency = || called.iter().find(is_dependency).filter(|_| is_busy);
    of_application.or_else(of_dependency).cloned()
}
