//! Blocks an event loop in the way that its argument names, and prints what
//! loopscope found: `blocking-zoo ENTRY STALL_MS`. Without an argument it lists
//! the entries. `blocking-zoo watch PID` watches another of these programs from
//! outside, and prints what it found once that has ended. With ZOO_WAIT in the
//! environment, the work begins when a line can be read from standard input.
//!
//! The blocking line of each entry ends in `// BLOCKS: cause primitive`, which
//! is what loopscope must find. Further lines of the same loop, at which a
//! sample may find it, end in `// BLOCKS`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod stage;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, io};

use loopscope::attach::Watch;
use loopscope::{Finding, Named, Scope, Terminal};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! entries {
    ($($name:ident)*) => {
        mod entries {
            $(pub(crate) mod $name;)*
        }

        const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// Sets up what an entry needs and returns the entry's future.
        fn prepare(name: &str, stall: Duration) -> Option<Work> {
            match name {
                $(stringify!($name) => Some(Box::pin(entries::$name::prepare(stall))),)*
                _ => None,
            }
        }
    };
}

entries! {
    backtrace
    barrier
    big_frames
    c_library
    c_sleep
    c_vfork
    child_wait
    command_output
    command_status
    compression
    condvar
    condvar_timeout
    connect_by_name
    copying
    crossbeam_receive
    deadlock
    deep_recursion
    directory_walk
    dyn_trait
    endless_loop
    fifo_open
    fifo_read
    file_copy
    file_read
    file_sync
    file_write
    flock
    formatting
    futures_block_on
    generic
    hashing
    in_closure
    in_drop
    in_futures_unordered
    in_join
    in_poll
    in_select
    inlined
    json
    lazy_lock
    many_polls
    mpsc_receive
    mpsc_receive_timeout
    mpsc_send
    mutex
    nested_async
    nested_block_on
    never_yields
    once
    once_lock
    page_faults
    park_timeout
    parking_lot_mutex
    parking_lot_rwlock
    password
    pipe_read
    pipe_write
    poll_call
    recursive_computation
    regular_expression
    resolve
    rwlock_read
    rwlock_write
    sorting
    spin_loop
    sqlite
    sqlite_rows
    stderr_pipe
    tail_call
    tail_call_chain
    tail_call_folded
    tail_call_in_branches
    tail_call_merged
    tail_call_through_table
    tail_call_to_library
    tcp_accept
    tcp_connect
    tcp_connect_timeout
    tcp_read
    tcp_read_timeout
    tcp_write
    thread_join
    thread_sleep
    through_dependency
    two_waiters
    udp_receive
    unix_connect
    yield_loop
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let ["watch", pid] = *arguments.iter().map(String::as_str).collect::<Vec<_>>() {
        return watch(pid.parse().expect("the id of a process"));
    }
    let [name, stall] = &arguments[..] else {
        println!("{}", NAMES.join("\n"));
        return ExitCode::SUCCESS;
    };
    // What an entry needs may be held for the length of the stall from now on.
    if env::var_os("ZOO_WAIT").is_some() {
        io::stdin().read_line(&mut String::new()).expect("a line");
    }
    let stall = stall.parse().ok().map(Duration::from_millis);
    let Some(work) = stall.and_then(|stall| prepare(name, stall)) else {
        eprintln!("usage: blocking-zoo ENTRY STALL_MS");
        return ExitCode::from(2);
    };
    // With two workers the other one would run the waiting task.
    let workers = if name == "many_polls" { 1 } else { 2 };
    let found = run(work, workers);
    stage::clean_up();
    println!("{}", serde_json::to_string_pretty(&found).expect("findings are JSON"));
    ExitCode::SUCCESS
}

/// Watches another process until it has ended, and prints what was found.
fn watch(pid: i32) -> ExitCode {
    let watch = Watch::builder(pid).terminal(Terminal::Never).start().expect("the process can be watched");
    while !watch.has_begun() && !watch.has_ended() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let without = if watch.finds_computations() { "" } else { " without samples" };
    eprintln!("watching{without}");
    while !watch.has_ended() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let found = watch.finish().findings;
    println!("{}", serde_json::to_string_pretty(&found).expect("findings are JSON"));
    ExitCode::SUCCESS
}

/// Runs the work as a task and returns every finding that is reported until
/// the scope has stopped.
fn run(work: Work, workers: usize) -> Vec<Finding> {
    let reported = Arc::new(Mutex::new(BTreeMap::new()));
    let reports = Arc::clone(&reported);
    let scope = Scope::builder()
        .terminal(Terminal::Never)
        .on_finding(move |finding| {
            reports.lock().unwrap().insert(finding.id.clone(), finding.clone());
        })
        .start()
        .expect("the scope starts");
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime =
        scope.watch(builder.worker_threads(workers).enable_all()).build().expect("the runtime starts");
    runtime.block_on(runtime.spawn(work.named("zoo"))).expect("the entry does not panic");
    drop(runtime);
    // Dropping the scope joins its threads: every stall is reported by then.
    drop(scope);
    let found = std::mem::take(&mut *reported.lock().unwrap());
    found.into_values().collect()
}
