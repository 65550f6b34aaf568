//! Whether a thread in a system call of a lock wakes other threads. Then it
//! does not wait.

use crate::diagnose::names;
use crate::finding::{Frame, FrameKind};

/// Returns whether the function of std, of `parking_lot` or of the C library
/// wakes other threads, for example because it releases a lock.
pub(super) fn is_waking(function: &str) -> bool {
    const MODULES: [&str; 6] =
        ["std::sync::", "std::sys::", "std::thread::", "parking_lot::", "parking_lot_core::", "lock_api::"];
    const NATIVE_PARTS: [&str; 5] =
        ["mutex_unlock", "rwlock_unlock", "cond_signal", "cond_broadcast", "sem_post"];
    if !function.contains("::") {
        return NATIVE_PARTS.iter().any(|part| function.contains(part));
    }
    let path = function.trim_start_matches(['<', '&']);
    let method = function.rsplit("::").find(|part| !part.starts_with('{')).unwrap_or_default();
    // `unlocked` runs a closure without the lock and waits for the lock after
    // that. Dropping a guard releases its lock.
    let is_release = method.contains("unlock") && !method.starts_with("unlocked") || method == "drop";
    let is_wake = ["notify", "unpark", "wake", "futex_wake"].iter().any(|part| method.starts_with(part));
    MODULES.iter().any(|module| path.starts_with(module)) && (is_release || is_wake)
}

/// Returns whether the innermost of these functions that has a name wakes other
/// threads.
pub(super) fn is_innermost(called: &[Frame]) -> bool {
    let mut called = called.iter();
    let is_known = |frame: &&Frame| frame.kind != FrameKind::Native || !names::is_nameless(&frame.function);
    called.find(is_known).is_some_and(|frame| is_waking(&frame.function))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_releases_a_lock_or_wakes_a_thread_is_known_by_its_name() {
        for function in [
            "std::sync::Condvar::notify_one",
            "std::sys::sync::condvar::futex::Condvar::notify_all",
            "std::sys::pal::unix::futex::futex_wake",
            "std::sys::sync::mutex::futex::Mutex::wake",
            "std::sys::sync::rwlock::futex::RwLock::wake_writer_or_readers",
            "std::sys::sync::rwlock::futex::RwLock::read_unlock",
            "<std::sync::MutexGuard as core::ops::drop::Drop>::drop",
            "std::sync::Mutex::drop",
            "std::thread::Thread::unpark",
            "parking_lot::raw_mutex::RawMutex::unlock_slow",
            "parking_lot::condvar::Condvar::notify_one_slow",
            "parking_lot_core::parking_lot::unpark_one::{closure}",
            "pthread_mutex_unlock",
            "pthread_cond_signal",
        ] {
            assert!(is_waking(function), "{function}");
        }
        for function in [
            "std::sync::Mutex::lock",
            "std::sys::sync::mutex::futex::Mutex::lock_contended",
            "std::sys::pal::unix::futex::futex_wait",
            "std::sync::Condvar::wait",
            "std::thread::park",
            "lock_api::mutex::MutexGuard::unlocked",
            "parking_lot::raw_mutex::RawMutex::lock_slow",
            "pthread_mutex_lock",
            "app::door::unlock",
        ] {
            assert!(!is_waking(function), "{function}");
        }
    }
}
