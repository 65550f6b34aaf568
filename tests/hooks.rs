//! The application's hooks beside loopscope's, and in place of them.

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::{eventually, scope};
use loopscope::{Hooks, Scope, Terminal};
use tokio::runtime::{Builder, Runtime};

#[derive(Clone, Default)]
struct Count(Arc<AtomicU64>);

impl Count {
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

/// Spawns, polls and ends tasks, parks and unparks threads.
fn work(runtime: &Runtime) {
    for _ in 0..TASKS {
        runtime.block_on(async {
            let task = tokio::spawn(async { tokio::time::sleep(Duration::from_millis(1)).await });
            task.await.unwrap();
        });
    }
}

fn recorded(scope: &Scope) -> (u64, u64, u64) {
    let kinds = scope.snapshot().kinds;
    let sum = |of: fn(&loopscope::KindSnapshot) -> u64| kinds.iter().map(of).sum();
    (sum(|kind| kind.spawned), sum(|kind| kind.completed), sum(|kind| kind.poll_time.count))
}

fn replaced(scope: &Scope) -> Vec<&'static str> {
    scope.snapshot().observer.replaced_hooks
}

/// One test for each hook: it is called as often as it would be without
/// loopscope, and loopscope records all the same.
macro_rules! composes {
    ($($test:ident: $hook:ident $of:ident, $at_least:expr;)*) => {$(
        #[test]
        fn $test() {
            let scope = scope();
            let count = Count::default();
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(2).enable_all();
            let hooks = Hooks::new().$hook(count.$of());
            let runtime = scope.watch_with(&mut builder, hooks).build().unwrap();
            work(&runtime);
            if cfg!(tokio_unstable) {
                eventually("all is recorded", || (recorded(&scope) == (TASKS, TASKS, 2 * TASKS)).then_some(()));
            }
            assert!(scope.snapshot().workers.iter().map(|worker| worker.parks).sum::<u64>() > 0);
            drop(runtime);
            assert!(count.get() >= $at_least, "{} calls", count.get());
            assert_eq!(replaced(&scope), <[&str; 0]>::default());
        }
    )*};
}

composes! {
    thread_start: on_thread_start on_thread, 2;
    thread_stop: on_thread_stop on_thread, 2;
    thread_park: on_thread_park on_thread, 2;
    thread_unpark: on_thread_unpark on_thread, 2;
}
#[cfg(tokio_unstable)]
composes! {
    task_spawn: on_task_spawn on_task, TASKS;
    before_task_poll: on_before_task_poll on_task, 2 * TASKS;
    after_task_poll: on_after_task_poll on_task, 2 * TASKS;
    task_terminate: on_task_terminate on_task, TASKS;
}

/// One test for each hook: set after `watch`, it replaces loopscope's, which
/// is noticed, and said once.
macro_rules! replaces {
    ($($test:ident: $hook:ident $of:ident;)*) => {
        mod replaced {
            use super::*;
            $(
                #[test]
                fn $test() {
                    let scope = scope();
                    let count = Count::default();
                    let mut builder = Builder::new_multi_thread();
                    scope.watch(builder.worker_threads(2).enable_all()).$hook(count.$of());
                    let runtime = builder.build().unwrap();
                    let named = eventually("the notice", || {
                        work(&runtime);
                        Some(replaced(&scope)).filter(|replaced| !replaced.is_empty())
                    });
                    assert_eq!(named, [stringify!($hook)]);
                    assert!(count.get() > 0);
                    // What cannot be recorded is not: nothing is blamed.
                    work(&runtime);
                    assert_eq!(scope.findings().findings, []);
                    assert_eq!(scope.snapshot().workers_blocked(), 0);
                }
            )*
        }
    };
}

#[cfg(not(tokio_unstable))]
replaces! {
    thread_start: on_thread_start on_thread;
    thread_park: on_thread_park on_thread;
    thread_unpark: on_thread_unpark on_thread;
}
#[cfg(tokio_unstable)]
replaces! {
    thread_start: on_thread_start on_thread;
    thread_park: on_thread_park on_thread;
    thread_unpark: on_thread_unpark on_thread;
    task_spawn: on_task_spawn on_task;
    before_task_poll: on_before_task_poll on_task;
    after_task_poll: on_after_task_poll on_task;
    task_terminate: on_task_terminate on_task;
}

/// Its own hooks are the application's, whatever becomes of the scope.
#[test]
fn hooks_outlive_the_scope() {
    let scope = Scope::builder().terminal(Terminal::Never).start().unwrap();
    let count = Count::default();
    let mut builder = Builder::new_multi_thread();
    scope.watch_with(builder.enable_all(), Hooks::new().on_thread_unpark(count.on_thread()));
    let runtime = builder.build().unwrap();
    work(&runtime);
    drop(scope);
    let before = count.get();
    work(&runtime);
    assert!(count.get() > before);
}
