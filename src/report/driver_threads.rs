//! The threads of this process that run an event loop of Tokio, as far as that
//! is certain.
//!
//! Tokio gives the threads of a blocking pool the same name as its workers. A
//! thread of the pool waits for work at a condition variable. A runtime with
//! I/O has one thread that waits in `epoll_wait`, unless all its workers are
//! busy. So a name and that system call together show a worker. Other threads
//! may be workers too, but nothing shows it.

use std::collections::HashSet;

use crate::report::coverage::DriverThread;

/// The names of threads that run event loops: of Tokio's workers, in older
/// versions too, and of actix. The kernel keeps the first 15 bytes of a name.
#[cfg(target_os = "linux")]
const NAMES: [&str; 4] =
    ["tokio-rt-worker", "tokio-runtime-worker", "actix-rt|system", "actix-server worker"];
#[cfg(target_os = "linux")]
const MAX_KERNEL_NAME_BYTES: usize = 15;
/// How many threads one look reads.
#[cfg(target_os = "linux")]
const MAX_THREADS: usize = 1024;

/// Returns the threads that wait in `epoll_wait` and have a name of [`NAMES`].
/// Returns none where `/proc` is not readable.
#[cfg(target_os = "linux")]
pub(crate) fn find() -> Vec<DriverThread> {
    use std::fs;

    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten().take(MAX_THREADS);
    let thread = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let name = full_name(name.trim_end_matches('\n'))?;
        let call = fs::read_to_string(task.path().join("syscall")).ok()?;
        let tid = task.file_name().to_str()?.parse().ok()?;
        is_event_wait(&call).then_some(DriverThread { tid, name })
    };
    tasks.filter_map(thread).collect()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn find() -> Vec<DriverThread> {
    Vec::new()
}

/// Returns the name of [`NAMES`] that the kernel keeps as `comm`.
#[cfg(target_os = "linux")]
fn full_name(comm: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|name| &name[..name.len().min(MAX_KERNEL_NAME_BYTES)] == comm)
}

/// Returns whether a thread with this content of `syscall` waits for events of
/// descriptors.
#[cfg(target_os = "linux")]
fn is_event_wait(call: &str) -> bool {
    let calls = [
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
        libc::SYS_epoll_pwait,
    ];
    let number = call.split(' ').next().and_then(|number| number.parse().ok());
    number.is_some_and(|number| calls.contains(&number))
}

/// Removes the threads that a scope watches.
pub(crate) fn without(mut threads: Vec<DriverThread>, watched: &HashSet<i32>) -> Vec<DriverThread> {
    threads.retain(|thread| !watched.contains(&thread.tid));
    threads
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_a_wait_for_events_shows_a_worker() {
        let wait = format!("{} 0x3 0x7f 0x400 0xffffffff 0x0 0x0 0x7ffd 0x7f12\n", libc::SYS_epoll_pwait);
        assert!(is_event_wait(&wait));
        let futex = format!("{} 0x7f 0x89 0x0 0x7f 0x0 0xffffffff 0x7f 0x7f12\n", libc::SYS_futex);
        for call in [futex.as_str(), "running\n", "-1 0x7ffd 0x7f12\n", ""] {
            assert!(!is_event_wait(call), "{call}");
        }
    }

    #[test]
    fn names_are_known_by_their_first_bytes() {
        assert_eq!(full_name("actix-server wo"), Some("actix-server worker"));
        assert_eq!(full_name("tokio-rt-worker"), Some("tokio-rt-worker"));
        for other in ["actix-server ac", "tokio-rt-worke", "loopscope-watch", ""] {
            assert_eq!(full_name(other), None);
        }
    }

    /// The pool's threads have the same name as the worker.
    #[test]
    fn a_runtime_with_a_blocking_pool_has_one_such_thread() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            for call in [(); 4].map(|()| tokio::task::spawn_blocking(|| ())) {
                call.await.unwrap();
            }
        });
        // Another test may have a runtime too.
        let is_found = || find().iter().any(|thread| thread.name == "tokio-rt-worker");
        let begin = std::time::Instant::now();
        while !is_found() {
            assert!(begin.elapsed().as_secs() < 60, "the worker is not found");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let found = find();
        let watched = found.iter().map(|thread| thread.tid).collect();
        assert!(without(found, &watched).is_empty());
    }
}
