//! Measures where the cost of a poll depends on the size of the program: by the
//! number of tasks, workers, kinds, and named futures inside one another.
//!
//! `cargo bench --bench capacity [-- --rounds N]` prints the tables of README.md
//! in this folder. Each row compares the same work on a bare runtime and on a
//! watched one, in rounds that take turns, and shows the median of the
//! differences.

mod common;

use std::future::Future;
use std::iter;
use std::pin::Pin;
use std::time::Instant;

use common::{read_nanos, rounds};
use loopscope::{Named, Scope, Terminal};
use tokio::runtime::{Builder, Runtime};

/// The polls of one round.
const POLLS: usize = 1_000_000;
const DEFAULT_ROUNDS: usize = 9;
const DEFAULT_TASKS: usize = 64;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The shape of a program. All shapes run the same number of polls.
#[derive(Clone, Copy)]
struct Shape {
    tasks: usize,
    /// 0 for a current-thread runtime.
    workers: usize,
    /// The number of different names. 0 for tasks without a name, which are one
    /// kind: that of the line that spawns them.
    kinds: usize,
    /// How many named futures a task's future is in. At least 1 if the tasks
    /// have names.
    nesting: usize,
}

const PLAIN: Shape = Shape { tasks: DEFAULT_TASKS, workers: 0, kinds: 0, nesting: 0 };
const NAMED: Shape = Shape { kinds: 1, nesting: 1, ..PLAIN };

fn main() {
    let rounds = rounds(DEFAULT_ROUNDS);
    let read = read_nanos();
    println!(
        "{POLLS} polls a round, {rounds} rounds in turn, ns per poll; a reading of the counter takes {read:.1} ns"
    );
    let shape = |value: usize, change: fn(Shape, usize) -> Shape, shape| (value, change(shape, value));
    let tasks: fn(Shape, usize) -> Shape = |shape, tasks| Shape { tasks, ..shape };
    let workers: fn(Shape, usize) -> Shape = |shape, workers| Shape { workers, ..shape };
    let kinds: fn(Shape, usize) -> Shape =
        |shape, kinds| Shape { kinds, tasks: kinds.max(DEFAULT_TASKS), ..shape };
    let nesting: fn(Shape, usize) -> Shape = |shape, nesting| Shape { nesting, ..shape };
    table("tasks", rounds, [10, 1_000, 100_000].map(|n| shape(n, tasks, PLAIN)));
    table("named tasks", rounds, [10, 1_000, 100_000].map(|n| shape(n, tasks, NAMED)));
    table("workers", rounds, [1, 2, 4, 16].map(|n| shape(n, workers, PLAIN)));
    table("kinds", rounds, [1, 16, 256, 4_096].map(|n| shape(n, kinds, NAMED)));
    table("named futures around each task", rounds, [1, 2, 4, 16].map(|n| shape(n, nesting, NAMED)));
}

fn table<const N: usize>(of: &str, rounds: usize, shapes: [(usize, Shape); N]) {
    println!("\n| {of} | bare | loopscope: poll time, watchdog | added | with schedule delay | added |");
    println!("|---:|---:|---:|---:|---:|---:|");
    for (value, shape) in shapes {
        let [bare, poll_time, delay] = measure(shape, rounds);
        let added = |with: &[f64]| {
            let differences = iter::zip(with, &bare).map(|(with, bare)| with - bare).collect();
            median(differences)
        };
        let (added_poll_time, added_delay) = (added(&poll_time), added(&delay));
        let [bare, poll_time, delay] = [bare, poll_time, delay].map(median);
        println!(
            "| {value} | {bare:.0} | {poll_time:.0} | {added_poll_time:+.0} | {delay:.0} | {added_delay:+.0} |"
        );
    }
}

/// Returns the nanoseconds per poll of each round: on a bare runtime, with poll
/// time, and with the schedule delay too.
fn measure(shape: Shape, rounds: usize) -> [Vec<f64>; 3] {
    let scopes = [false, true].map(|delay| {
        let builder = Scope::builder().terminal(Terminal::Never).schedule_delay(delay);
        builder.start().expect("a scope")
    });
    let bare = builder(shape).build().expect("a runtime");
    let [poll_time, delay] =
        scopes.each_ref().map(|scope| scope.watch(&mut builder(shape)).build().expect("a runtime"));
    let names: Vec<_> = (0..shape.kinds).map(name).collect();
    let mut figures = [const { Vec::new() }; 3];
    for round in 0..=rounds {
        for (runtime, figures) in iter::zip([&bare, &poll_time, &delay], &mut figures) {
            // Bare tasks are in as many boxes as the named ones.
            let names = (!std::ptr::eq(runtime, &bare)).then_some(&names[..]);
            let nanos = run(runtime, shape, names);
            // The first round allocates.
            if round > 0 {
                figures.push(nanos);
            }
        }
    }
    figures
}

fn builder(shape: Shape) -> Builder {
    if shape.workers == 0 {
        return Builder::new_current_thread();
    }
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(shape.workers);
    builder
}

fn name(number: usize) -> &'static str {
    format!("kind {number}").leak()
}

/// Runs all polls and returns the nanoseconds of each.
fn run(runtime: &Runtime, shape: Shape, names: Option<&[&'static str]>) -> f64 {
    let yields = POLLS / shape.tasks;
    let task = |number: usize| {
        let mut task: Task = Box::pin(work(yields));
        for _ in 0..shape.nesting {
            task = match names {
                Some(names) => Box::pin(task.named(names[number % names.len()])),
                None => Box::pin(Boxed(task)),
            };
        }
        task
    };
    let tasks: Vec<_> = (0..shape.tasks).map(task).collect();
    let begin = Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
    });
    begin.elapsed().as_nanos() as f64 / (shape.tasks * (yields + 1)) as f64
}

async fn work(yields: usize) {
    for _ in 0..yields {
        tokio::task::yield_now().await;
    }
}

/// A future that only polls the one in it.
struct Boxed(Task);

impl Future for Boxed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        self.0.as_mut().poll(context)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
