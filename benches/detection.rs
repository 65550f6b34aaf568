//! Measures how late a stall is detected, how long a capture pauses its thread,
//! how soon the finding exists, and how much CPU the watchdog uses.
//!
//! `cargo bench --bench detection [-- --stalls N]` prints the tables of
//! README.md in this folder, which also names the machine. `--stalls 0` prints
//! the last table only.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, thread};

use loopscope::{Scope, Terminal};
use tokio::runtime::{Builder, Runtime};

const THRESHOLD: Duration = Duration::from_millis(10);
/// Twice the threshold, so that each stall must be detected.
const STALL: Duration = Duration::from_millis(20);
/// The time in which the watchdog's use of the CPU is measured.
const MEASURED: Duration = Duration::from_secs(5);

/// What a program does while its watchdog is measured.
type Work = fn(&Runtime);

fn main() {
    let stalls = stalls();
    if stalls > 0 {
        print_delays_and_pauses(stalls);
    }
    println!("| the watchdog | share of a core | wakes per second |\n|---|---:|---:|");
    let rows: [(&str, Work); 6] = [
        ("all workers are parked", |_| thread::sleep(MEASURED)),
        ("a timer every 250 ms", |runtime| tick(runtime, Duration::from_millis(250))),
        ("a timer every 50 ms", |runtime| tick(runtime, Duration::from_millis(50))),
        ("a timer every 10 ms", |runtime| tick(runtime, Duration::from_millis(10))),
        ("a timer every millisecond wakes 20 tasks", part_load),
        ("2 workers poll all the time, 100 µs per poll", busy),
    ];
    for (name, work) in rows {
        let (percent, wakes) = watchdog_use(work);
        println!("| {name} | {percent:.3} % | {wakes:.1} |");
    }
}

fn print_delays_and_pauses(stalls: u64) {
    println!("threshold {THRESHOLD:?}, {stalls} stalls of {STALL:?} each, 1 worker\n");
    println!(
        "| stalls by | detected | delay after the threshold, p50 | p99 | max | finding after detection, p50 | p99 |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    measure_delays("`std::thread::sleep`", stalls, || thread::sleep(STALL));
    measure_delays("computing", stalls, || spin(STALL));
    println!("\n| the stalled thread is paused by | p10 | p50 | p90 | p99 |\n|---|---:|---:|---:|---:|");
    measure_pauses(stalls);
    println!();
}

fn stalls() -> u64 {
    let mut arguments = env::args().skip_while(|argument| argument != "--stalls").skip(1);
    arguments.next().map_or(1_000, |n| n.parse().expect("--stalls takes a number"))
}

fn scope() -> Scope {
    // Captures every stall, not only ten per second.
    let builder = Scope::builder().terminal(Terminal::Never).blocking_threshold(THRESHOLD);
    builder.captures_per_second(1_000_000).start().expect("a scope")
}

fn runtime(scope: &Scope, workers: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    scope.watch(builder.worker_threads(workers).enable_all()).build().expect("a runtime")
}

/// Spins for `time` of wall-clock time.
fn spin(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::black_box(());
    }
}

fn capture_count(scope: &Scope) -> u64 {
    let captures = scope.snapshot().observer.captures;
    captures.iter().filter(|(result, _)| matches!(*result, "signal" | "passive")).map(|(_, n)| n).sum()
}

/// Observes from another thread, as a reader would: the capture by its counter,
/// the finding by the list of stalls. Each reading adds about 50 µs.
fn measure_delays(name: &str, stalls: u64, block: fn()) {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let origin = Instant::now();
    let began = Arc::new(AtomicU64::new(0));
    let (mut detected, mut found) = (Vec::new(), Vec::new());
    for _ in 0..stalls {
        began.store(0, Relaxed);
        let (mut before, since) = (capture_count(&scope), SystemTime::now());
        let at = Arc::clone(&began);
        let task = runtime.spawn(async move {
            at.store(origin.elapsed().as_nanos() as u64, Relaxed);
            block();
        });
        let (mut capture, mut finding) = (None, None);
        while finding.is_none() && !(task.is_finished() && began_long_ago(&began, origin)) {
            thread::sleep(Duration::from_micros(20));
            if began.load(Relaxed) == 0 {
                // A late capture belongs to the stall before this one.
                before = capture_count(&scope);
            } else if capture.is_none() && capture_count(&scope) > before {
                capture = Some(origin.elapsed());
            }
            if capture.is_some() && !scope.stalls(Some(since)).stalls.is_empty() {
                finding = Some(origin.elapsed());
            }
        }
        if let (Some(capture), Some(finding)) = (capture, finding) {
            let threshold_at = Duration::from_nanos(began.load(Relaxed)) + THRESHOLD;
            detected.push(capture.saturating_sub(threshold_at));
            found.push(finding - capture);
        }
        runtime.block_on(task).expect("no stall panics");
    }
    let count = detected.len();
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| millis(quantile(&mut detected, q)));
    let [found50, found99] = [0.5, 0.99].map(|q| millis(quantile(&mut found, q)));
    println!("| {name} | {count} of {stalls} | {p50} | {p99} | {max} | {found50} | {found99} |");
}

fn began_long_ago(began: &AtomicU64, origin: Instant) -> bool {
    let began = Duration::from_nanos(began.load(Relaxed));
    origin.elapsed().saturating_sub(began) > STALL * 5
}

/// Measures how long a capture pauses a spinning thread, beside a signal whose
/// handler does nothing. Other pauses of the thread do not count: timer ticks,
/// other threads and the host of a virtual machine interrupt it too, on some
/// machines in every millisecond.
fn measure_pauses(stalls: u64) {
    print_pauses("an empty signal handler (kernel time only)", stalls, empty_handler_pauses(stalls));
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let mut pauses = Vec::new();
    for _ in 0..stalls {
        let task = runtime.spawn(async { SIGNAL_STACK.with(|stack| stack.spin_until_signal(STALL * 3)) });
        pauses.extend(runtime.block_on(task).expect("no poll panics"));
    }
    print_pauses("a capture by signal", stalls, pauses);
}

fn print_pauses(cause: &str, stalls: u64, mut pauses: Vec<Duration>) {
    let [p10, p50, p90, p99] = [0.1, 0.5, 0.9, 0.99].map(|q| micros(quantile(&mut pauses, q)));
    println!("| {cause} ({} of {stalls} seen) | {p10} | {p50} | {p90} | {p99} |", pauses.len());
}

thread_local! {
    static SIGNAL_STACK: SignalStack = SignalStack::install();
}

/// Where the last call of [`note_info`] found its `siginfo_t`.
static INFO_ADDRESS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note_info(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    INFO_ADDRESS.store(info.addr(), Relaxed);
}

/// The calling thread's alternate signal stack. It shows whether a handler has
/// run: at each signal, the kernel writes the signal's number to the same place
/// of it.
struct SignalStack {
    number: *mut u64,
}

#[allow(unsafe_code)]
impl SignalStack {
    const WORDS: usize = 8 * 1024;
    /// No signal has this number.
    const UNTOUCHED: u64 = 0;

    fn install() -> Self {
        let stack = Box::leak(vec![Self::UNTOUCHED; Self::WORDS].into_boxed_slice()).as_mut_ptr();
        let description = libc::stack_t { ss_sp: stack.cast(), ss_flags: 0, ss_size: Self::WORDS * 8 };
        // SAFETY: all-zero is a valid sigaction. The handler stores a number, so
        // it may run at any time. The stack is never freed.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note_info as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            assert_eq!(libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut()), 0);
            assert_eq!(libc::sigaltstack(&raw const description, std::ptr::null_mut()), 0);
            libc::raise(libc::SIGUSR2);
        }
        let index = (INFO_ADDRESS.load(Relaxed) - stack.addr()) / 8;
        assert!(index < Self::WORDS, "the handler ran on its own stack");
        // SAFETY: the index is within the allocation.
        let this = Self { number: unsafe { stack.add(index) } };
        assert!(this.take_signal());
        this
    }

    /// Returns whether a signal has arrived since the last call.
    fn take_signal(&self) -> bool {
        // SAFETY: the word belongs to a stack that is never freed. Only the
        // kernel writes to it, between two instructions of this thread.
        unsafe {
            let is_touched = self.number.read_volatile() != Self::UNTOUCHED;
            if is_touched {
                self.number.write_volatile(Self::UNTOUCHED);
            }
            is_touched
        }
    }

    /// Spins until a signal arrives, but not for longer than `limit`. Returns
    /// the time between the readings of the clock before and after the signal.
    /// They include up to two turns of the loop.
    fn spin_until_signal(&self, limit: Duration) -> Option<Duration> {
        self.take_signal();
        let begin = Instant::now();
        let mut last = begin;
        loop {
            let now = Instant::now();
            if self.take_signal() {
                // The signal may also have arrived after `now` was read.
                return Some(last.elapsed());
            }
            if now - begin >= limit {
                return None;
            }
            last = now;
        }
    }
}

/// Measures the pauses caused by a signal whose handler does almost nothing.
#[allow(unsafe_code)]
fn empty_handler_pauses(signals: u64) -> Vec<Duration> {
    let (start_sender, start_receiver) = std::sync::mpsc::channel();
    let (tid_sender, tid_receiver) = std::sync::mpsc::channel();
    let (pause_sender, pause_receiver) = std::sync::mpsc::channel();
    let spinner = thread::spawn(move || {
        let stack = SignalStack::install();
        // SAFETY: the call has no arguments.
        tid_sender.send(unsafe { libc::gettid() }).expect("the receiver exists");
        while start_receiver.recv().is_ok() {
            pause_sender.send(stack.spin_until_signal(STALL)).expect("the receiver exists");
        }
    });
    let tid = tid_receiver.recv().expect("the thread runs");
    let mut pauses = Vec::new();
    for _ in 0..signals {
        start_sender.send(()).expect("the thread runs");
        thread::sleep(Duration::from_millis(1));
        // SAFETY: the thread `tid` runs until it is joined below.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, libc::SIGUSR2) };
        pauses.extend(pause_receiver.recv().expect("the thread runs"));
    }
    drop(start_sender);
    spinner.join().expect("the thread does not panic");
    pauses
}

/// Returns the CPU time and the wakes of the watchdog for each second, the
/// former in percent.
fn watchdog_use(work: Work) -> (f64, f64) {
    let scope = scope();
    let runtime = runtime(&scope, 2);
    // Waits until the watchdog has parked.
    thread::sleep(Duration::from_secs(2));
    let (sleeps, cpu, begin) = (watchdog_sleeps(), scope.snapshot().observer.watchdog_cpu, Instant::now());
    work(&runtime);
    let seconds = begin.elapsed().as_secs_f64();
    let cpu = scope.snapshot().observer.watchdog_cpu - cpu;
    (cpu.as_secs_f64() / seconds * 100.0, (watchdog_sleeps() - sleeps) as f64 / seconds)
}

/// Returns how many times the watchdog has slept.
fn watchdog_sleeps() -> u64 {
    let mut threads = fs::read_dir("/proc/self/task").expect("a /proc").flatten().map(|thread| thread.path());
    let is_watchdog =
        |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|name| name == "loopscope-watch\n");
    let watchdog = threads.find(is_watchdog).expect("the watchdog runs");
    let status = fs::read_to_string(watchdog.join("status")).expect("the watchdog runs");
    let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    sleeps.and_then(|n| n.trim().parse().ok()).expect("a number")
}

fn tick(runtime: &Runtime, period: Duration) {
    let begin = Instant::now();
    let ticks = runtime.spawn(async move {
        let mut interval = tokio::time::interval(period);
        while begin.elapsed() < MEASURED {
            interval.tick().await;
        }
    });
    runtime.block_on(ticks).expect("no task panics");
}

fn part_load(runtime: &Runtime) {
    let begin = Instant::now();
    let (messages, _) = tokio::sync::broadcast::channel(16);
    for _ in 0..20 {
        let mut messages = messages.subscribe();
        runtime.spawn(async move { while messages.recv().await.is_ok() {} });
    }
    let ticks = runtime.spawn(async move {
        let mut interval = tokio::time::interval(Duration::from_millis(1));
        while begin.elapsed() < MEASURED {
            interval.tick().await;
            let _ = messages.send(());
        }
    });
    runtime.block_on(ticks).expect("no task panics");
}

fn busy(runtime: &Runtime) {
    let begin = Instant::now();
    runtime.block_on(async move {
        let work = || async move {
            while begin.elapsed() < MEASURED {
                spin(Duration::from_micros(100));
                tokio::task::yield_now().await;
            }
        };
        let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(work())).collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
    });
}

/// Returns `None` if there are no values.
fn quantile(values: &mut [Duration], quantile: f64) -> Option<Duration> {
    values.sort_unstable();
    values.get((values.len().saturating_sub(1) as f64 * quantile).round() as usize).copied()
}

fn millis(time: Option<Duration>) -> String {
    time.map_or(NOT_MEASURED.to_owned(), |time| format!("{:.2} ms", time.as_secs_f64() * 1e3))
}

fn micros(time: Option<Duration>) -> String {
    time.map_or(NOT_MEASURED.to_owned(), |time| format!("{:.1} µs", time.as_secs_f64() * 1e6))
}

const NOT_MEASURED: &str = "not measured";
