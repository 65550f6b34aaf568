//! The configurations, each set up as its documentation says.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;

use dial9_core::buffer::MemoryBuffer;
use dial9_core::recorder::recorder;
use dial9_tokio_telemetry::telemetry::{Dial9HandleTokioExt, TokioAttachOptions};
use loopscope::{Named, Scope, Terminal};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_metrics::TaskMonitor;

use crate::pollcatch;

pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A runtime, a way to spawn on it, and what must live as long.
pub struct Setup {
    pub runtime: Runtime,
    spawn: Box<dyn Fn(Task) -> JoinHandle<()>>,
    /// Slow peers get fewer steps.
    pub scale: f64,
    _kept: Box<dyn Any>,
}

impl Setup {
    /// Spawns all tasks and waits for them.
    pub fn run(&self, tasks: impl Iterator<Item = Task>) {
        self.runtime.block_on(async {
            let handles: Vec<_> = tasks.map(|task| (self.spawn)(task)).collect();
            for handle in handles {
                handle.await.expect("no task panics");
            }
        });
    }

    fn new(mut builder: Builder) -> Self {
        let runtime = builder.build().expect("a runtime");
        Self { runtime, spawn: Box::new(tokio::spawn), scale: 1.0, _kept: Box::new(()) }
    }

    fn spawning(mut self, spawn: impl Fn(Task) -> JoinHandle<()> + 'static) -> Self {
        self.spawn = Box::new(spawn);
        self
    }

    fn keeping(mut self, kept: impl Any) -> Self {
        self._kept = Box::new(kept);
        self
    }
}

#[cfg(not(feature = "tracing"))]
pub const NAMES: &[&str] = &[
    "bare",
    "empty-hooks",
    "loopscope-poll-time",
    "loopscope",
    "loopscope-named",
    "loopscope-instrumented",
    "loopscope-off",
    "loopscope-no-scope",
    "tokio-poll-histogram",
    "tokio-metrics",
    "pollcatch-like",
    "dial9-attach",
    "dial9-spawn",
    "async-backtrace",
    "await-tree",
];
#[cfg(feature = "tracing")]
pub const NAMES: &[&str] = &["bare-tracing", "tokio-blocked", "console"];

fn scope(schedule_delay: bool) -> Scope {
    let builder = Scope::builder().terminal(Terminal::Never).schedule_delay(schedule_delay);
    builder.start().expect("a scope")
}

pub fn setup(name: &str, two_workers: bool) -> Option<Setup> {
    let mut builder = if two_workers { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    if two_workers {
        builder.worker_threads(2);
    }
    builder.enable_all();
    #[cfg(feature = "tracing")]
    return traced(name, builder);
    #[cfg(not(feature = "tracing"))]
    Some(match name {
        "bare" => Setup::new(builder),
        "empty-hooks" => {
            builder.on_before_task_poll(|_| ()).on_after_task_poll(|_| ());
            Setup::new(builder)
        }
        "loopscope-poll-time" | "loopscope" | "loopscope-named" | "loopscope-off" => {
            let scope = scope(name != "loopscope-poll-time");
            scope.watch(&mut builder);
            let setup = Setup::new(builder).keeping(scope);
            match name {
                "loopscope-named" => setup.spawning(|task| tokio::spawn(task.named("work"))),
                _ => setup,
            }
        }
        "loopscope-instrumented" => {
            Setup::new(builder).keeping(scope(true)).spawning(|task| tokio::spawn(task.named("work")))
        }
        "loopscope-no-scope" => Setup::new(builder).spawning(|task| tokio::spawn(task.named("work"))),
        "tokio-poll-histogram" => {
            use tokio::runtime::{HistogramConfiguration, LogHistogram};
            builder.enable_metrics_poll_time_histogram().metrics_poll_time_histogram_configuration(
                HistogramConfiguration::log(LogHistogram::default()),
            );
            Setup::new(builder)
        }
        "tokio-metrics" => {
            let monitor = TaskMonitor::new();
            Setup::new(builder).spawning(move |task| tokio::spawn(monitor.instrument(task)))
        }
        "pollcatch-like" => {
            builder
                .on_before_task_poll(|_| pollcatch::before_poll())
                .on_after_task_poll(|_| pollcatch::after_poll());
            Setup::new(builder)
        }
        "dial9-attach" | "dial9-spawn" => {
            let recorder = recorder(MemoryBuffer::new(16 << 20).expect("a buffer")).build();
            let runtime = recorder
                .handle()
                .attach_tokio_runtime(builder, TokioAttachOptions::default())
                .expect("a runtime");
            let setup =
                Setup { runtime, spawn: Box::new(tokio::spawn), scale: 0.5, _kept: Box::new(recorder) };
            match name {
                "dial9-spawn" => setup.spawning(dial9_tokio_telemetry::telemetry::spawn),
                _ => setup,
            }
        }
        "async-backtrace" => Setup::new(builder).spawning(|task| tokio::spawn(async_backtrace::frame!(task))),
        "await-tree" => {
            use await_tree::{InstrumentAwait, Registry};
            use std::sync::atomic::AtomicUsize;
            use std::sync::atomic::Ordering::Relaxed;
            let registry = Registry::new(Default::default());
            let next = AtomicUsize::new(0);
            Setup { scale: 0.5, ..Setup::new(builder) }.spawning(move |task| {
                let root = registry.register(next.fetch_add(1, Relaxed), "work");
                tokio::spawn(root.instrument(task.instrument_await("inner")))
            })
        }
        _ => return None,
    })
}

#[cfg(feature = "tracing")]
fn traced(name: &str, builder: Builder) -> Option<Setup> {
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    match name {
        "bare-tracing" => {}
        "tokio-blocked" => {
            let layer = tokio_blocked::TokioBlockedLayer::new();
            let quiet =
                tracing_subscriber::fmt::layer().with_filter(tracing_subscriber::filter::LevelFilter::OFF);
            tracing_subscriber::registry().with(quiet).with(layer).init();
        }
        "console" => {
            let layer = console_subscriber::ConsoleLayer::builder().server_addr(([127, 0, 0, 1], 0)).spawn();
            tracing_subscriber::registry().with(layer).init();
        }
        _ => return None,
    }
    let scale = if name == "bare-tracing" { 1.0 } else { 0.2 };
    Some(Setup { scale, ..Setup::new(builder) })
}
