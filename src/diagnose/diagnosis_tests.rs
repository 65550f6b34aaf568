//! Tests of cause and advice by tables of stacks.

use super::diagnose_capture;
use super::tests::{capture, diagnosed, symbolised};
use crate::diagnose::advice;
use crate::diagnose::symbolised_capture::SymbolisedCapture;
use crate::evidence::Capture;
use crate::finding::{Cause, FrameKind};

#[test]
fn advice_to_await_is_not_given_inside_of_a_drop() {
    let std = FrameKind::Std;
    let cases = [
        ("std::thread::join_handle::JoinHandle::join", std, "futex", Cause::Lock, true),
        ("std::thread::sleep", std, "clock_nanosleep", Cause::Sleep, true),
        ("std::sync::mpsc::Receiver::recv", std, "futex", Cause::Lock, true),
        ("std::sync::poison::condvar::Condvar::wait", std, "futex", Cause::Lock, true),
        ("std::fs::File::sync_all", std, "fsync", Cause::File, true),
        ("std::net::tcp::TcpStream::connect", std, "connect", Cause::Network, true),
        ("std::process::Child::wait", std, "wait4", Cause::Child, true),
        ("std::io::copy::copy", std, "read", Cause::File, true),
        ("dep::Client::close", FrameKind::Dependency, "recvfrom", Cause::Network, true),
        // This advice can be followed in a `Drop`.
        ("std::sync::poison::mutex::Mutex::lock", std, "futex", Cause::Lock, false),
        ("std::io::stdio::_print", std, "write", Cause::File, false),
    ];
    for (function, kind, syscall, cause, is_drop_advice) in cases {
        let stack = [
            (syscall, FrameKind::Native),
            (function, kind),
            ("app::Conn::drop", FrameKind::Application),
            ("core::ptr::drop_in_place", FrameKind::Std),
            ("app::handle::{async fn}", FrameKind::Application),
        ];
        let capture = capture(false, Some((syscall, cause)));
        let in_drop = diagnosed(&capture, &stack);
        assert_eq!(in_drop.advice == advice::DROP_ADVICE, is_drop_advice, "{function}: {}", in_drop.advice);
        let outside = [&stack[..2], &stack[4..]].concat();
        assert_ne!(diagnosed(&capture, &outside).advice, advice::DROP_ADVICE, "{function}");
    }
}

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

#[test]
fn the_system_call_decides_what_a_copy_waits_for() {
    let copies = |syscall: &'static str| {
        [
            (syscall, FrameKind::Native),
            ("<std::net::tcp::TcpStream as std::io::Read>::read", FrameKind::Std),
            ("std::io::copy::copy", FrameKind::Std),
            ("app::relay", FrameKind::Application),
        ]
    };
    for (syscall, cause) in [("recvfrom", Cause::Network), ("read", Cause::File)] {
        let diagnosis = diagnosed(&capture(false, Some((syscall, cause))), &copies(syscall));
        assert_eq!((diagnosis.cause, diagnosis.primitive.as_deref()), (cause, Some("std::io::copy")));
        assert!(diagnosis.advice.starts_with("use `tokio::io::copy`"), "{}", diagnosis.advice);
    }
    let hashes = [("std::io::copy::copy", FrameKind::Std), ("app::digest", FrameKind::Application)];
    let diagnosis = diagnosed(&capture(true, None), &hashes);
    assert_eq!(diagnosis.cause, Cause::Cpu);
    assert!(diagnosis.advice.starts_with("move the work off"), "{}", diagnosis.advice);
}

#[test]
fn a_pipe_of_an_unknown_type_has_advice_of_its_own() {
    let mut read = capture(false, Some(("read", Cause::File)));
    let stack = [
        ("read", FrameKind::Native),
        ("std::sys::fd::unix::FileDesc::read_to_end", FrameKind::Std),
        ("app::output", FrameKind::Application),
    ];
    assert!(diagnosed(&read, &stack).advice.contains("`tokio::fs`"));
    read.call.as_mut().unwrap().fd = Some("a pipe".to_owned());
    let diagnosis = diagnosed(&read, &stack);
    assert_eq!(diagnosis.primitive.as_deref(), Some("std::io::Read::read_to_end"));
    assert!(diagnosis.advice.starts_with("for a pipe use `tokio::process`"), "{}", diagnosis.advice);
}

#[test]
fn the_column_is_part_of_the_site_but_not_of_its_identity() {
    let capture = capture(false, Some(("clock_nanosleep", Cause::Sleep)));
    let functions = [("std::thread::sleep", FrameKind::Std), ("app::nap", FrameKind::Application)];
    let at = |columns: [u32; 2]| {
        let mut symbolised = symbolised(&capture, &functions);
        for (frame, column) in symbolised.stack.iter_mut().zip(columns) {
            frame.column = Some(column);
        }
        SymbolisedCapture::new(&capture, symbolised.stack, 1)
    };
    let (first, second) = (at([9, 5]), at([12, 40]));
    assert_eq!(first.call_site, second.call_site, "captures of one line belong together");
    let (first, second) = (diagnose_capture(&first, false), diagnose_capture(&second, false));
    assert_eq!([first.site, second.site].map(|site| site.unwrap().column), [Some(5), Some(40)]);
    assert_eq!(first.id, second.id);
}
