//! The application's runtime hooks work together with loopscope's. A hook that
//! replaces one of loopscope's is reported.

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::{eventually, scope};
use loopscope::{Hooks, Scope, Terminal};
use tokio::runtime::{Builder, Runtime};

#[derive(Clone, Default)]
struct CallCount(Arc<AtomicU64>);

impl CallCount {
    fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn on_thread(&self) -> impl Fn() + Send + Sync + 'static {
        let count = self.clone();
        move || count.add()
    }

    #[cfg(tokio_unstable)]
    fn on_task(&self) -> impl Fn(&tokio::runtime::TaskMeta<'_>) + Send + Sync + 'static {
        let count = self.clone();
        move |_| count.add()
    }
}

const TASKS: u64 = 25;

/// Spawns, polls and completes tasks, and makes threads park and unpark.
fn run_tasks(runtime: &Runtime) {
    for _ in 0..TASKS {
        runtime.block_on(async {
            let task = tokio::spawn(async { tokio::time::sleep(Duration::from_millis(1)).await });
            task.await.unwrap();
        });
    }
}

/// Returns how many tasks were spawned, how many completed, and how many polls
/// were recorded.
fn recorded(scope: &Scope) -> (u64, u64, u64) {
    let kinds = scope.snapshot().kinds;
    let sum = |count: fn(&loopscope::KindSnapshot) -> u64| kinds.iter().map(count).sum();
    (sum(|kind| kind.spawned), sum(|kind| kind.completed), sum(|kind| kind.poll_time.count))
}

fn replaced_hooks(scope: &Scope) -> Vec<&'static str> {
    scope.snapshot().observer.replaced_hooks
}

/// Defines one test for each hook: Tokio calls the application's hook as often
/// as it would without loopscope, and loopscope still records everything.
macro_rules! also_called {
    ($($test:ident: $hook:ident $callback:ident, $at_least:expr;)*) => {$(
        #[test]
        fn $test() {
            let scope = scope();
            let count = CallCount::default();
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(2).enable_all();
            let hooks = Hooks::new().$hook(count.$callback());
            let runtime = scope.watch_with(&mut builder, hooks).build().unwrap();
            run_tasks(&runtime);
            if cfg!(tokio_unstable) {
                eventually("all polls to be recorded", || (recorded(&scope) == (TASKS, TASKS, 2 * TASKS)).then_some(()));
            }
            assert!(scope.snapshot().workers.iter().map(|worker| worker.parks).sum::<u64>() > 0);
            drop(runtime);
            assert!(count.get() >= $at_least, "{} calls", count.get());
            assert_eq!(replaced_hooks(&scope), <[&str; 0]>::default());
        }
    )*};
}

also_called! {
    the_thread_start_hook_is_also_called: on_thread_start on_thread, 2;
    the_thread_stop_hook_is_also_called: on_thread_stop on_thread, 2;
    the_thread_park_hook_is_also_called: on_thread_park on_thread, 2;
    the_thread_unpark_hook_is_also_called: on_thread_unpark on_thread, 2;
}
#[cfg(tokio_unstable)]
also_called! {
    the_task_spawn_hook_is_also_called: on_task_spawn on_task, TASKS;
    the_before_task_poll_hook_is_also_called: on_before_task_poll on_task, 2 * TASKS;
    the_after_task_poll_hook_is_also_called: on_after_task_poll on_task, 2 * TASKS;
    the_task_terminate_hook_is_also_called: on_task_terminate on_task, TASKS;
}

/// Defines one test for each hook: a hook that is set after `watch` replaces
/// loopscope's. loopscope detects the replacement and reports it once.
macro_rules! replaced {
    ($($test:ident: $hook:ident $callback:ident;)*) => {
        mod replacing_a_hook_is_reported {
            use super::*;
            $(
                #[test]
                fn $test() {
                    let scope = scope();
                    let count = CallCount::default();
                    let mut builder = Builder::new_multi_thread();
                    scope.watch(builder.worker_threads(2).enable_all()).$hook(count.$callback());
                    let runtime = builder.build().unwrap();
                    let reported = eventually("the report of the replaced hook", || {
                        run_tasks(&runtime);
                        Some(replaced_hooks(&scope)).filter(|hooks| !hooks.is_empty())
                    });
                    assert_eq!(reported, [stringify!($hook)]);
                    assert!(count.get() > 0);
                    // Without the hook loopscope records nothing that could be
                    // wrong, so there are no findings.
                    run_tasks(&runtime);
                    common::flush(&scope);
                    assert_eq!(scope.findings().findings, []);
                    assert_eq!(scope.snapshot().workers_blocked(), 0);
                }
            )*
        }
    };
}

#[cfg(not(tokio_unstable))]
replaced! {
    thread_start: on_thread_start on_thread;
    thread_park: on_thread_park on_thread;
    thread_unpark: on_thread_unpark on_thread;
}
#[cfg(tokio_unstable)]
replaced! {
    thread_start: on_thread_start on_thread;
    thread_park: on_thread_park on_thread;
    thread_unpark: on_thread_unpark on_thread;
    task_spawn: on_task_spawn on_task;
    before_task_poll: on_before_task_poll on_task;
    after_task_poll: on_after_task_poll on_task;
    task_terminate: on_task_terminate on_task;
}

/// Tokio still calls the application's hooks after the scope is dropped.
#[test]
fn hooks_of_the_application_outlive_the_scope() {
    let scope = Scope::builder().terminal(Terminal::Never).start().unwrap();
    let count = CallCount::default();
    let mut builder = Builder::new_multi_thread();
    scope.watch_with(builder.enable_all(), Hooks::new().on_thread_unpark(count.on_thread()));
    let runtime = builder.build().unwrap();
    run_tasks(&runtime);
    drop(scope);
    let before = count.get();
    run_tasks(&runtime);
    assert!(count.get() > before);
}
