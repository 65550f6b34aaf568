//! Measures the time that instrumentation adds to a poll: bare tokio, empty
//! hooks, loopscope and tokio-metrics, side by side in one run.
//!
//! `cargo bench --bench overhead [-- --rounds N]` prints the tables of
//! README.md in this folder, which also names the machine. The rounds of all
//! configurations are interleaved, so that a change of the machine's speed
//! affects all of them. Medians are compared.
//!
//! A reading of the time stamp counter takes 10 to 18 ns, depending on the
//! machine. So the tables also show what is added as readings and a rest: only
//! the rest can be compared between machines.

mod common;

use std::future::Future;
use std::time::{Duration, Instant};

use common::{read_nanos, rounds};
use loopscope::{Named, Recording, Scope, Terminal};
use tokio::runtime::{Builder, Runtime};
use tokio_metrics::TaskMonitor;

const TASKS: u64 = 64;
const YIELDS: u64 = 20_000;
const DEFAULT_ROUNDS: usize = 15;

/// A runtime with one kind of instrumentation. All configurations run the same
/// polls.
struct Configuration {
    name: &'static str,
    runtime: Runtime,
    spawn: fn(&Runtime),
    /// How many times a poll reads the counter for loopscope.
    reads: u32,
    /// Nanoseconds per poll of each round.
    rounds: Vec<f64>,
    /// The scope that watches the runtime, if there is one.
    _scope: Option<Scope>,
}

fn main() {
    let rounds = rounds(DEFAULT_ROUNDS);
    for (flavour, build) in
        [("current-thread", current_thread as fn() -> Builder), ("2 workers", two_workers)]
    {
        let mut configurations = configurations(build);
        for configuration in &mut configurations {
            configuration.run_round();
            configuration.rounds.clear();
        }
        let mut reads = Vec::new();
        for _ in 0..rounds {
            reads.push(read_nanos());
            for configuration in &mut configurations {
                configuration.run_round();
            }
        }
        print(flavour, rounds, quantile(&mut reads, 0.5), &mut configurations);
    }
}

fn current_thread() -> Builder {
    Builder::new_current_thread()
}

fn two_workers() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2);
    builder
}

fn configurations(build: fn() -> Builder) -> Vec<Configuration> {
    let bare = |name, spawn| Configuration {
        name,
        runtime: build().build().expect("a runtime"),
        spawn,
        reads: 0,
        rounds: Vec::new(),
        _scope: None,
    };
    let watched_at = |name, reads, spawn, schedule_delay, recording| {
        let scope = Scope::builder()
            .terminal(Terminal::Never)
            .schedule_delay(schedule_delay)
            .recording(recording)
            .start()
            .expect("a scope");
        let runtime = scope.watch(&mut build()).build().expect("a runtime");
        Configuration { name, runtime, spawn, reads, rounds: Vec::new(), _scope: Some(scope) }
    };
    let watched =
        |name, reads, spawn, schedule_delay| watched_at(name, reads, spawn, schedule_delay, Recording::Full);
    let detecting = |name, spawn| watched_at(name, 0, spawn, false, Recording::Detect);
    let paused = detecting("loopscope: paused", spawn_plain);
    paused._scope.as_ref().expect("it has a scope").pause();
    vec![
        bare("bare tokio", spawn_plain),
        empty_hooks(build),
        tokio_delay(build),
        paused,
        detecting("loopscope: detect only", spawn_plain),
        detecting("loopscope: detect only, named tasks", spawn_named),
        watched("loopscope: poll time, watchdog", 2, spawn_plain, false),
        watched("loopscope: poll time, schedule delay, watchdog", 2, spawn_plain, true),
        watched("loopscope: the same, named tasks", 2, spawn_named, true),
        watched("loopscope: named tasks that time their own wakes", 3, spawn_named, false),
        Configuration { reads: 3, ..bare("loopscope: named tasks, no hooks", spawn_named) },
        bare("tokio-metrics: TaskMonitor", spawn_monitored),
    ]
}

#[cfg(tokio_unstable)]
fn empty_hooks(build: fn() -> Builder) -> Configuration {
    let mut builder = build();
    builder.on_before_task_poll(|_| ()).on_after_task_poll(|_| ());
    let runtime = builder.build().expect("a runtime");
    Configuration {
        name: "empty hooks",
        runtime,
        spawn: spawn_plain,
        reads: 0,
        rounds: Vec::new(),
        _scope: None,
    }
}

/// What Tokio's own measurement of the schedule delay costs, without a reader.
#[cfg(tokio_unstable)]
fn tokio_delay(build: fn() -> Builder) -> Configuration {
    let mut builder = build();
    builder.track_task_schedule_latency();
    let runtime = builder.build().expect("a runtime");
    Configuration { name: "tokio: schedule delay", runtime, ..empty_hooks(build) }
}

#[cfg(not(tokio_unstable))]
fn tokio_delay(build: fn() -> Builder) -> Configuration {
    empty_hooks(build)
}

#[cfg(not(tokio_unstable))]
fn empty_hooks(_build: fn() -> Builder) -> Configuration {
    panic!("this benchmark needs --cfg tokio_unstable, which enables Tokio's hooks");
}

async fn work() {
    for _ in 0..YIELDS {
        tokio::task::yield_now().await;
    }
}

fn run<F: Future<Output = ()> + Send + 'static>(runtime: &Runtime, mut work: impl FnMut() -> F) {
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(work())).collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
    });
}

fn spawn_plain(runtime: &Runtime) {
    run(runtime, work);
}

fn spawn_named(runtime: &Runtime) {
    run(runtime, || work().named("work"));
}

fn spawn_monitored(runtime: &Runtime) {
    let monitor = TaskMonitor::new();
    run(runtime, || monitor.instrument(work()));
}

impl Configuration {
    /// Runs one round and records its nanoseconds per poll.
    fn run_round(&mut self) {
        let begin = Instant::now();
        (self.spawn)(&self.runtime);
        let elapsed: Duration = begin.elapsed();
        self.rounds.push(elapsed.as_nanos() as f64 / (TASKS * (YIELDS + 1)) as f64);
    }
}

/// Returns how often the workers of a runtime have parked and stolen tasks so
/// far. Both take longer than a poll that only yields.
#[cfg(tokio_unstable)]
fn parks_and_steals(runtime: &Runtime) -> [u64; 2] {
    let metrics = runtime.metrics();
    let workers = 0..metrics.num_workers();
    let parks = workers.clone().map(|worker| metrics.worker_park_count(worker)).sum();
    [parks, workers.map(|worker| metrics.worker_steal_count(worker)).sum()]
}

#[cfg(not(tokio_unstable))]
fn parks_and_steals(_runtime: &Runtime) -> [u64; 2] {
    [0, 0]
}

fn quantile(values: &mut [f64], quantile: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * quantile).round() as usize]
}

fn print(flavour: &str, rounds: usize, read: f64, configurations: &mut [Configuration]) {
    println!(
        "\n{flavour}, {TASKS} tasks that yield {YIELDS} times each, {rounds} interleaved rounds, ns per poll; \
         a reading of the counter takes {read:.1} ns\n"
    );
    println!(
        "| configuration | median | p10 | p90 | added | of which readings | rest | parks per 1,000 polls | stolen tasks |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    let bare = quantile(&mut configurations[0].rounds, 0.5);
    for Configuration { name, reads, rounds, runtime, .. } in configurations {
        // There was one round more, which is not measured.
        let polls = TASKS * (YIELDS + 1) * (rounds.len() as u64 + 1);
        let [parks, steals] = parks_and_steals(runtime).map(|count| count as f64 * 1_000.0 / polls as f64);
        let [median, low, high] = [0.5, 0.1, 0.9].map(|q| quantile(rounds, q));
        let added = median - bare;
        let rest = added - f64::from(*reads) * read;
        println!(
            "| {name} | {median:.0} | {low:.0} | {high:.0} | {added:+.0} | {reads} | {rest:+.0} | {parks:.2} | {steals:.2} |"
        );
    }
}
