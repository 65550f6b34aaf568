//! Which thread holds the lock for which a stalled thread waits.

use crate::diagnose::diagnosis::Diagnosis;
use crate::diagnose::public_path::public_path;
use crate::diagnose::symbolised_capture::SymbolisedCapture;
use crate::diagnose::symbols::Symbols;
use crate::diagnose::{advice, call_site};
use crate::evidence::HolderThread;
use crate::finding::{Cause, Frame};

const NO_THREAD: &str =
    "a suspended task that keeps the guard across an await: no thread has the lock on its stack";

/// Adds the holder of the lock to a diagnosis: the only thread that may hold
/// it, or that no thread does.
///
/// The search knows the word for which the thread waits. Only in a lock of std
/// this is the address that the guard has, so other waits, such as those for a
/// condition variable, do not say which thread ends them.
pub(super) fn add_lock_holder(
    diagnosis: &mut Diagnosis,
    captures: &[SymbolisedCapture<'_>],
    main: &SymbolisedCapture<'_>,
    symbols: &mut Symbols,
) {
    // A capture that is later than the search has no result of it.
    let Some(lock) = main.capture.call.as_ref().and_then(|call| call.lock) else { return };
    let calls = captures.iter().filter_map(|capture| capture.capture.call.as_ref());
    let holders = calls.filter(|call| call.lock == Some(lock)).find_map(|call| call.holders.as_ref());
    let Some(holders) = holders else { return };
    if diagnosis.cause != Cause::Lock || holders.is_ambiguous {
        return;
    }
    let is_std_lock = is_waiting_for_std_lock(&main.stack);
    let threads = holders.threads.iter().filter(|_| is_std_lock);
    let threads: Vec<_> = threads.filter_map(|thread| describe(thread, symbols)).collect();
    let is_held_by_none = holders.has_read_all && holders.threads.is_empty();
    match (&holders.workers[..], &threads[..]) {
        ([worker], []) => diagnosis.lock_holder = Some(*worker),
        ([], [thread]) => diagnosis.detail.holder = Some(thread.clone()),
        ([], []) if is_std_lock && is_held_by_none => {
            diagnosis.detail.holder = Some(NO_THREAD.to_owned());
            diagnosis.advice = advice::FOR_GUARD_OF_SUSPENDED_TASK.to_owned();
        }
        _ => {}
    }
}

/// Returns the thread's name, what it does and where. Returns `None` if no
/// frame is the application's: an idle thread of a pool may have the address on
/// its stack from earlier work.
fn describe(thread: &HolderThread, symbols: &mut Symbols) -> Option<String> {
    let stack = symbols.stack(&thread.capture).frames;
    let call_site = call_site::call_site(&stack);
    let site = call_site.site?;
    let kind = if is_in_blocking_pool(&stack) { "blocking-pool thread" } else { "thread" };
    let call = call_site.callee.map(|frame| format!("in `{}` ", public_path(&frame.function)));
    Some(format!("{kind} `{}`, {}at {site}", thread.name, call.unwrap_or_default()))
}

/// Returns whether a thread of Tokio's blocking pool runs a blocking task. A
/// worker runs on a thread of that pool, too.
fn is_in_blocking_pool(stack: &[Frame]) -> bool {
    let is_in = |part: &str| stack.iter().any(|frame| frame.function.contains(part));
    is_in("tokio::runtime::blocking::pool::") && !is_in("::multi_thread::worker::")
}

/// Returns whether the innermost function of std's synchronisation is that of a
/// `Mutex` or an `RwLock`.
fn is_waiting_for_std_lock(stack: &[Frame]) -> bool {
    let innermost = stack.iter().find(|frame| frame.function.contains("std::sys::sync::"));
    innermost
        .is_some_and(|frame| ["::mutex::", "::rwlock::"].iter().any(|part| frame.function.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::FrameKind;

    fn stack(functions: &[&str]) -> Vec<Frame> {
        let frame = |function: &&str| Frame {
            function: (*function).to_owned(),
            file: None,
            line: None,
            column: None,
            kind: FrameKind::Std,
            recovered: false,
        };
        functions.iter().map(frame).collect()
    }

    #[test]
    fn only_a_lock_of_std_is_searched_by_its_address() {
        let mutex =
            ["syscall", "std::sys::sync::mutex::futex::Mutex::lock_contended", "std::sync::Mutex<T>::lock"];
        let condvar = ["syscall", "std::sys::sync::condvar::futex::Condvar::wait", "std::sync::mpsc::recv"];
        let woken = [&mutex[..2], &condvar[1..]].concat();
        assert!(is_waiting_for_std_lock(&stack(&mutex)));
        assert!(is_waiting_for_std_lock(&stack(&["std::sys::sync::rwlock::futex::RwLock::write_contended"])));
        assert!(!is_waiting_for_std_lock(&stack(&condvar)));
        assert!(is_waiting_for_std_lock(&stack(&woken)));
        assert!(!is_waiting_for_std_lock(&stack(&[
            "syscall",
            "parking_lot::raw_mutex::RawMutex::lock_slow"
        ])));
    }

    #[test]
    fn a_worker_is_no_thread_of_the_blocking_pool() {
        let task = ["app::work", "tokio::runtime::blocking::pool::Inner::run"];
        assert!(is_in_blocking_pool(&stack(&task)));
        let worker = [task[0], "tokio::runtime::scheduler::multi_thread::worker::run", task[1]];
        assert!(!is_in_blocking_pool(&stack(&worker)));
    }
}
