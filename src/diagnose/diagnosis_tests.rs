//! Tests of cause and advice by tables of stacks.

use super::tests::{capture, diagnosed};
use crate::evidence::Capture;
use crate::finding::{Cause, FrameKind};

#[test]
fn a_thread_that_wakes_another_one_does_not_wait_for_a_lock() {
    for waking in [
        &["std::sys::pal::unix::futex::futex_wake", "std::sync::poison::condvar::Condvar::notify_one"][..],
        &[
            "std::sys::sync::mutex::futex::Mutex::wake",
            "<std::sync::poison::mutex::MutexGuard as core::ops::drop::Drop>::drop",
        ],
        &["std::sys::sync::thread_parking::futex::Parker::unpark", "std::sync::mpsc::Sender::send"],
        &["parking_lot_core::parking_lot::unpark_one", "parking_lot::raw_mutex::RawMutex::unlock_slow"],
        &["parking_lot::condvar::Condvar::notify_one_slow"],
    ] {
        let mut stack = vec![("syscall", FrameKind::Native)];
        stack.extend(waking.iter().map(|function| (*function, FrameKind::Std)));
        stack.push(("app::publish", FrameKind::Application));
        let cause = |capture: &Capture| diagnosed(capture, &stack).cause;
        assert_eq!(cause(&capture(true, None)), Cause::Cpu, "{waking:?}");
        // Only the first argument is known.
        let by_signal = capture(false, Some(("futex", Cause::Lock)));
        assert_eq!(cause(&by_signal), Cause::Cpu, "{waking:?}");
        let by_operation = capture(false, Some(("futex", Cause::Other)));
        assert_eq!(cause(&by_operation), Cause::Other, "{waking:?}");
    }
    let prints = [
        ("syscall", FrameKind::Native),
        ("std::sys::sync::mutex::futex::Mutex::wake", FrameKind::Std),
        ("std::io::stdio::_print", FrameKind::Std),
        ("app::greet", FrameKind::Application),
    ];
    let wakes = capture(false, Some(("futex", Cause::Other)));
    assert_eq!(diagnosed(&wakes, &prints).cause, Cause::File, "the print is one finding");
    let waits = [
        ("syscall", FrameKind::Native),
        ("std::sys::pal::unix::futex::futex_wait", FrameKind::Std),
        ("parking_lot_core::word_lock::WordLock::lock_slow", FrameKind::Dependency),
        ("parking_lot::raw_mutex::RawMutex::unlock_slow", FrameKind::Dependency),
        ("app::publish", FrameKind::Application),
    ];
    assert_eq!(diagnosed(&capture(false, Some(("futex", Cause::Lock))), &waits).cause, Cause::Lock);
}
