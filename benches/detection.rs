//! How late a stall is seen, how long its thread is held, how soon the finding
//! is there, and what the watchdog itself uses.
//!
//! `cargo bench --bench detection [-- --stalls N]` prints the tables that
//! README.md in this folder keeps, with the machine they are from.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};
use std::{env, thread};

use loopscope::{Scope, Terminal};
use tokio::runtime::{Builder, Runtime};

const THRESHOLD: Duration = Duration::from_millis(10);
/// Twice the threshold: each must be seen.
const STALL: Duration = Duration::from_millis(20);

fn main() {
    let stalls = stalls();
    println!("threshold {THRESHOLD:?}, {stalls} stalls of {STALL:?} each, 1 worker\n");
    println!(
        "| stalls by | seen | detected after the threshold, p50 | p99 | max | finding after detection, p50 | p99 |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    delays("`std::thread::sleep`", stalls, || thread::sleep(STALL));
    delays("computing", stalls, || {
        spin(STALL);
    });
    println!("\n| the stalled thread stands still for | p50 | 90 % | 99 % |\n|---|---:|---:|---:|");
    holds(stalls);
    println!("\n| the watchdog uses | of a core |\n|---|---:|");
    println!("| while all workers are parked | {:.3} % |", used(idle));
    println!("| while 2 workers poll all the time, 100 µs a poll | {:.3} % |", used(busy));
}

fn stalls() -> u64 {
    let mut arguments = env::args().skip_while(|argument| argument != "--stalls").skip(1);
    arguments.next().map_or(1_000, |n| n.parse().expect("--stalls takes a number"))
}

fn scope() -> Scope {
    // All of them are to be captured, not only ten a second.
    let builder = Scope::builder().terminal(Terminal::Never).blocking_threshold(THRESHOLD);
    builder.captures_per_second(1_000_000).start().expect("a scope")
}

fn runtime(scope: &Scope, workers: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    scope.watch(builder.worker_threads(workers).enable_all()).build().expect("a runtime")
}

/// When a spinning thread did not spin.
#[derive(Debug, Clone, Copy, Default)]
struct Pauses {
    count: u32,
    longest: Duration,
}

/// Two readings of the clock are further apart only if something came between.
const PAUSE: Duration = Duration::from_nanos(800);

fn spin(time: Duration) -> Pauses {
    let begin = Instant::now();
    let (mut last, mut pauses) = (begin, Pauses::default());
    loop {
        let now = Instant::now();
        let gap = now - last;
        if gap > PAUSE {
            pauses = Pauses { count: pauses.count + 1, longest: pauses.longest.max(gap) };
        }
        last = now;
        if now - begin >= time {
            return pauses;
        }
    }
}

fn captured(scope: &Scope) -> u64 {
    let captures = scope.snapshot().observer.captures;
    captures.iter().filter(|(how, _)| matches!(*how, "signal" | "passive")).map(|(_, n)| n).sum()
}

/// Watches from a thread of its own, as a reader would: the capture by its
/// counter, the finding by the list of stalls. Each look takes some 50 µs more.
fn delays(name: &str, stalls: u64, block: fn()) {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let origin = Instant::now();
    let began = Arc::new(AtomicU64::new(0));
    let (mut detected, mut found) = (Vec::new(), Vec::new());
    for _ in 0..stalls {
        began.store(0, Relaxed);
        let (before, since) = (captured(&scope), SystemTime::now());
        let at = Arc::clone(&began);
        let task = runtime.spawn(async move {
            at.store(origin.elapsed().as_nanos() as u64, Relaxed);
            block();
        });
        let (mut capture, mut finding) = (None, None);
        while finding.is_none() && !(task.is_finished() && began_long_ago(&began, origin)) {
            thread::sleep(Duration::from_micros(20));
            if capture.is_none() && captured(&scope) > before {
                capture = Some(origin.elapsed());
            }
            if capture.is_some() && !scope.stalls(Some(since)).stalls.is_empty() {
                finding = Some(origin.elapsed());
            }
        }
        if let (Some(capture), Some(finding)) = (capture, finding) {
            let over = Duration::from_nanos(began.load(Relaxed)) + THRESHOLD;
            detected.push(capture.saturating_sub(over));
            found.push(finding - capture);
        }
        runtime.block_on(task).expect("no stall panics");
    }
    let seen = detected.len();
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| millis(quantile(&mut detected, q)));
    let [found50, found99] = [0.5, 0.99].map(|q| millis(quantile(&mut found, q)));
    println!("| {name} | {seen} of {stalls} | {p50} | {p99} | {max} | {found50} | {found99} |");
}

fn began_long_ago(began: &AtomicU64, origin: Instant) -> bool {
    let began = Duration::from_nanos(began.load(Relaxed));
    origin.elapsed().saturating_sub(began) > STALL * 5
}

/// How long a spinning thread stands still: over windows of 3 ms with one pause,
/// in which neither tick nor other thread nor host interrupted it.
fn holds(stalls: u64) {
    print_held("an empty signal handler, all of it the kernel's", stalls, &empty_handlers(stalls));
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let mut held = Vec::new();
    for _ in 0..stalls {
        let before = captured(&scope);
        let task = runtime.spawn(async {
            // Up to shortly before the first capture is due.
            spin(Duration::from_micros(9_900));
            spin(WINDOW)
        });
        let pauses = runtime.block_on(task).expect("no poll panics");
        if captured(&scope) == before + 1 && pauses.count == 1 {
            held.push(pauses.longest);
        }
    }
    print_held("a capture by signal", stalls, &held);
}

const WINDOW: Duration = Duration::from_micros(2_800);

fn print_held(what: &str, stalls: u64, held: &[Duration]) {
    let mut held = held.to_vec();
    let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|q| micros(quantile(&mut held, q)));
    println!("| {what} ({} of {stalls} windows) | {p50} | {p90} | {p99} |", held.len());
}

/// The same for a signal whose handler does nothing.
#[allow(unsafe_code)]
fn empty_handlers(stalls: u64) -> Vec<Duration> {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: the handler does nothing, so it may come at any time; signals go
    // to a thread of this process that is joined after the last of them.
    unsafe { libc::signal(libc::SIGUSR2, nothing as *const () as usize) };
    let (tell, told) = std::sync::mpsc::channel();
    let (answer, answers) = std::sync::mpsc::channel();
    let spinner = thread::spawn(move || {
        // SAFETY: no arguments.
        answer.send((unsafe { libc::gettid() }, Pauses::default())).expect("somebody asks");
        while told.recv().is_ok() {
            answer.send((0, spin(WINDOW))).expect("somebody asks");
        }
    });
    let (tid, _) = answers.recv().expect("the thread runs");
    let mut held = Vec::new();
    for _ in 0..stalls {
        tell.send(()).expect("the thread runs");
        thread::sleep(Duration::from_millis(1));
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, libc::SIGUSR2) };
        let (_, pauses) = answers.recv().expect("the thread runs");
        held.extend((pauses.count == 1).then_some(pauses.longest));
    }
    drop(tell);
    spinner.join().expect("the thread does not panic");
    held
}

fn used(work: fn(&Runtime)) -> f64 {
    let scope = scope();
    let runtime = runtime(&scope, 2);
    // Its last look before it rests.
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
