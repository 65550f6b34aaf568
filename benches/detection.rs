//! Measures how late a stall is detected, how long a capture pauses its thread,
//! how soon the finding exists, and how much CPU the watchdog uses.
//!
//! `cargo bench --bench detection [-- --stalls N]` prints the tables of
//! README.md in this folder, which also names the machine.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};
use std::{env, thread};

use loopscope::{Scope, Terminal};
use tokio::runtime::{Builder, Runtime};

const THRESHOLD: Duration = Duration::from_millis(10);
/// Twice the threshold, so that each stall must be detected.
const STALL: Duration = Duration::from_millis(20);

fn main() {
    let stalls = stalls();
    println!("threshold {THRESHOLD:?}, {stalls} stalls of {STALL:?} each, 1 worker\n");
    println!(
        "| stalls by | detected | delay after the threshold, p50 | p99 | max | finding after detection, p50 | p99 |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    measure_delays("`std::thread::sleep`", stalls, || thread::sleep(STALL));
    measure_delays("computing", stalls, || {
        spin(STALL);
    });
    println!("\n| the stalled thread is paused by | p50 | p90 | p99 |\n|---|---:|---:|---:|");
    measure_pauses(stalls);
    println!("\n| CPU use of the watchdog | share of a core |\n|---|---:|");
    println!("| while all workers are parked | {:.3} % |", watchdog_cpu_percent(idle));
    println!("| while 2 workers poll all the time, 100 µs per poll | {:.3} % |", watchdog_cpu_percent(busy));
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

/// The pauses of a spinning thread.
#[derive(Debug, Clone, Copy, Default)]
struct Pauses {
    count: u32,
    longest: Duration,
}

/// A larger gap between two clock readings means that the thread was paused.
const MIN_PAUSE: Duration = Duration::from_nanos(800);

/// Spins for `time` of wall-clock time and returns the pauses.
fn spin(time: Duration) -> Pauses {
    let begin = Instant::now();
    let (mut last, mut pauses) = (begin, Pauses::default());
    loop {
        let now = Instant::now();
        let gap = now - last;
        if gap > MIN_PAUSE {
            pauses = Pauses { count: pauses.count + 1, longest: pauses.longest.max(gap) };
        }
        last = now;
        if now - begin >= time {
            return pauses;
        }
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
        let (before, since) = (capture_count(&scope), SystemTime::now());
        let at = Arc::clone(&began);
        let task = runtime.spawn(async move {
            at.store(origin.elapsed().as_nanos() as u64, Relaxed);
            block();
        });
        let (mut capture, mut finding) = (None, None);
        while finding.is_none() && !(task.is_finished() && began_long_ago(&began, origin)) {
            thread::sleep(Duration::from_micros(20));
            if capture.is_none() && capture_count(&scope) > before {
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

/// Measures how long a capture pauses a spinning thread. Only windows with a
/// single pause count: there, no timer tick, other thread or host interrupted
/// the thread.
fn measure_pauses(stalls: u64) {
    print_pauses("an empty signal handler (kernel time only)", stalls, &empty_handler_pauses(stalls));
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let mut pauses_by_capture = Vec::new();
    for _ in 0..stalls {
        let before = capture_count(&scope);
        let task = runtime.spawn(async {
            // Spins until shortly before the first capture is due.
            spin(Duration::from_micros(9_900));
            spin(WINDOW)
        });
        let pauses = runtime.block_on(task).expect("no poll panics");
        if capture_count(&scope) == before + 1 && pauses.count == 1 {
            pauses_by_capture.push(pauses.longest);
        }
    }
    print_pauses("a capture by signal", stalls, &pauses_by_capture);
}

const WINDOW: Duration = Duration::from_micros(2_800);

fn print_pauses(cause: &str, stalls: u64, pauses: &[Duration]) {
    let mut pauses = pauses.to_vec();
    let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|q| micros(quantile(&mut pauses, q)));
    println!("| {cause} ({} of {stalls} windows) | {p50} | {p90} | {p99} |", pauses.len());
}

/// Measures the pauses caused by a signal whose handler does nothing.
#[allow(unsafe_code)]
fn empty_handler_pauses(stalls: u64) -> Vec<Duration> {
    extern "C" fn do_nothing(_: i32) {}
    // SAFETY: the handler does nothing, so it may run at any time. Signals go to
    // a thread of this process that is joined after the last signal.
    unsafe { libc::signal(libc::SIGUSR2, do_nothing as *const () as usize) };
    let (start_sender, start_receiver) = std::sync::mpsc::channel();
    let (result_sender, result_receiver) = std::sync::mpsc::channel();
    let spinner = thread::spawn(move || {
        // SAFETY: the call has no arguments.
        result_sender.send((unsafe { libc::gettid() }, Pauses::default())).expect("the receiver exists");
        while start_receiver.recv().is_ok() {
            result_sender.send((0, spin(WINDOW))).expect("the receiver exists");
        }
    });
    let (tid, _) = result_receiver.recv().expect("the thread runs");
    let mut longest_pauses = Vec::new();
    for _ in 0..stalls {
        start_sender.send(()).expect("the thread runs");
        thread::sleep(Duration::from_millis(1));
        // SAFETY: the thread `tid` runs until it is joined below.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, libc::SIGUSR2) };
        let (_, pauses) = result_receiver.recv().expect("the thread runs");
        longest_pauses.extend((pauses.count == 1).then_some(pauses.longest));
    }
    drop(start_sender);
    spinner.join().expect("the thread does not panic");
    longest_pauses
}

fn watchdog_cpu_percent(work: fn(&Runtime)) -> f64 {
    let scope = scope();
    let runtime = runtime(&scope, 2);
    // Waits until the watchdog has parked.
    thread::sleep(Duration::from_secs(2));
    let (before, begin) = (scope.snapshot().observer.watchdog_cpu, Instant::now());
    work(&runtime);
    let used = scope.snapshot().observer.watchdog_cpu - before;
    used.as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0
}

fn idle(_: &Runtime) {
    thread::sleep(Duration::from_secs(10));
}

fn busy(runtime: &Runtime) {
    let begin = Instant::now();
    runtime.block_on(async move {
        let work = || async move {
            while begin.elapsed() < Duration::from_secs(10) {
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

fn quantile(values: &mut [Duration], quantile: f64) -> Duration {
    values.sort_unstable();
    values.get(((values.len().max(1) - 1) as f64 * quantile).round() as usize).copied().unwrap_or_default()
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn micros(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}
