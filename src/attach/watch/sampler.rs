//! The thread that looks at the threads of the other process.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use crate::attach::watch::thread::ObservedThread;
use crate::attach::watch::tools::Tools;
use crate::capture::unwind::Unwinder;
use crate::diagnose::symbols::Symbols;
use crate::evidence::Capture;
use crate::lock::Lock;
use crate::outbox::SendingEnd;
use crate::owned_thread::OwnedThread;
use crate::process::Process;
use crate::record::recorder::Recorder;
use crate::self_metrics::SelfMetrics;
use crate::token_bucket::TokenBucket;
use crate::watchdog::procfs;

/// How often the list of threads is read, and a thread without an event loop is
/// looked at.
const LISTING_PERIOD: Duration = Duration::from_millis(250);
/// Further threads are not looked at.
const MAX_THREADS: usize = 4096;
/// Stacks that are read to learn what a thread is, at once and per second.
const EARLY_READS: u32 = 64;
const EARLY_READS_PER_SECOND: f64 = 20.0;
/// Looks come this many times in a threshold, within the limits below.
const LOOKS_PER_THRESHOLD: u32 = 4;
const MIN_PERIOD: Duration = Duration::from_millis(1);
const MAX_PERIOD: Duration = Duration::from_millis(50);

/// Returns the time between two looks for this threshold.
pub(super) fn period(threshold: Duration) -> Duration {
    (threshold / LOOKS_PER_THRESHOLD).clamp(MIN_PERIOD, MAX_PERIOD)
}

/// Returns the device and the inode of the file of the program.
fn program_file(process: Process) -> Option<(u64, u64)> {
    let file = fs::metadata(process.proc_path("exe")).ok()?;
    Some((file.dev(), file.ino()))
}

/// What the sampler tells its owner, and the owner the sampler.
#[derive(Debug, Default)]
pub(super) struct SamplerState {
    is_stopped: AtomicBool,
    has_begun: AtomicBool,
    has_target_ended: AtomicBool,
    loops_seen: AtomicUsize,
    longest_pause_nanos: AtomicU64,
}

impl SamplerState {
    /// Returns whether the other process has ended, or runs another program.
    pub(super) fn has_target_ended(&self) -> bool {
        self.has_target_ended.load(Acquire)
    }

    /// Returns the longest time between two looks.
    pub(super) fn longest_pause(&self) -> Duration {
        Duration::from_nanos(self.longest_pause_nanos.load(Relaxed))
    }

    /// Returns whether threads are looked at.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.load(Acquire)
    }

    /// Returns how many threads with an event loop were seen.
    pub(super) fn loops_seen(&self) -> usize {
        self.loops_seen.load(Relaxed)
    }
}

/// A handle to the thread. Dropping it ends the thread and the queue.
#[derive(Debug)]
pub(super) struct Sampler {
    state: Arc<SamplerState>,
    thread: OwnedThread,
}

impl Sampler {
    pub(super) fn start(
        process: Process,
        recorder: Arc<Recorder>,
        self_metrics: Arc<SelfMetrics>,
        outbox: SendingEnd,
        symbols: Arc<Lock<Symbols>>,
        max_debug_info_memory: u64,
        state: Arc<SamplerState>,
    ) -> io::Result<Self> {
        let shared = Arc::clone(&state);
        let thread = OwnedThread::spawn("loopscope-watch", move || {
            let mut sampler = SamplerLoop {
                process,
                program: program_file(process),
                max_debug_info_memory,
                started: process.start_time(),
                period: period(Duration::from_nanos(recorder.threshold_nanos)),
                recorder,
                self_metrics,
                outbox,
                unwinder: Unwinder::new(process),
                symbols,
                threads: HashMap::new(),
                early_reads: TokenBucket::new(EARLY_READS, EARLY_READS_PER_SECOND, Instant::now()),
                next_worker: 0,
                loops_seen: 0,
            };
            sampler.run(&shared);
        })?;
        Ok(Self { state, thread })
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.state.is_stopped.store(true, Release);
        self.thread.unpark();
    }
}

struct SamplerLoop {
    process: Process,
    /// The file of the program.
    program: Option<(u64, u64)>,
    max_debug_info_memory: u64,
    /// When the process started: tells it from another one with the same id.
    started: Option<u64>,
    period: Duration,
    recorder: Arc<Recorder>,
    self_metrics: Arc<SelfMetrics>,
    outbox: SendingEnd,
    unwinder: Unwinder,
    /// The thread that reports uses them as well.
    symbols: Arc<Lock<Symbols>>,
    threads: HashMap<i32, ObservedThread>,
    early_reads: TokenBucket,
    next_worker: usize,
    loops_seen: usize,
}

impl SamplerLoop {
    fn run(&mut self, state: &SamplerState) {
        self.read_program();
        let mut next_listing = Instant::now();
        let mut last_look = Instant::now();
        while !state.is_stopped.load(Acquire) {
            let begin = Instant::now();
            let is_listing = begin >= next_listing;
            if is_listing {
                next_listing = begin + LISTING_PERIOD;
                if !self.list_threads() {
                    state.has_target_ended.store(true, Release);
                    break;
                }
            }
            let pause = u64::try_from(last_look.elapsed().as_nanos()).unwrap_or(u64::MAX);
            state.longest_pause_nanos.fetch_max(pause, Relaxed);
            last_look = Instant::now();
            self.look(is_listing);
            state.has_begun.store(true, Release);
            state.loops_seen.store(self.loops_seen, Relaxed);
            thread::park_timeout(self.period.saturating_sub(begin.elapsed()).max(MIN_PERIOD / 2));
        }
        let mut threads = std::mem::take(&mut self.threads);
        let tools = self.tools();
        threads.values_mut().for_each(|thread| thread.end(&tools));
    }

    /// Forgets the program that the process ran before, and its threads: it has
    /// executed another one.
    fn begin_again(&mut self, program: Option<(u64, u64)>) {
        let mut threads = std::mem::take(&mut self.threads);
        let tools = self.tools();
        threads.values_mut().for_each(|thread| thread.end(&tools));
        self.program = program;
        self.unwinder = Unwinder::new(self.process);
        *self.symbols.lock() = Symbols::new(self.process, self.max_debug_info_memory);
        self.read_program();
    }

    /// Reads the tables of the program, which takes a while, before the first
    /// stack needs them.
    fn read_program(&mut self) {
        self.unwinder.list_modules();
        if let Some(address) = self.unwinder.first_code() {
            let capture = Capture { stack: vec![address], ..Capture::without_stack(0, false, None) };
            let _ = self.symbols.lock().stack(&capture);
        }
    }

    /// Reads the list of threads. Returns `false` if the process has ended.
    fn list_threads(&mut self) -> bool {
        let ids = procfs::thread_ids(self.process);
        let program = program_file(self.process);
        if program.is_some() && program != self.program {
            self.begin_again(program);
        }
        if ids.is_empty() || self.process.start_time() != self.started || self.process.is_zombie() {
            return false;
        }
        for tid in ids {
            if self.threads.len() < MAX_THREADS {
                let process = self.process;
                self.threads.entry(tid).or_insert_with(|| ObservedThread::new(process, tid));
            }
        }
        true
    }

    /// Looks at the threads that run an event loop, or at all.
    fn look(&mut self, all: bool) {
        let mut threads = std::mem::take(&mut self.threads);
        let mut tools = self.tools();
        threads.retain(|_, thread| !(all || thread.is_of_runtime()) || thread.look(&mut tools));
        self.threads = threads;
    }

    fn tools(&mut self) -> Tools<'_> {
        Tools {
            process: self.process,
            recorder: &self.recorder,
            self_metrics: &self.self_metrics,
            outbox: &self.outbox,
            unwinder: &mut self.unwinder,
            symbols: &self.symbols,
            early_reads: &mut self.early_reads,
            next_worker: &mut self.next_worker,
            loops_seen: &mut self.loops_seen,
        }
    }
}
