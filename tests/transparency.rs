//! Sampling does not change the blocked program: no call returns `EINTR`, and
//! no call ends early.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
// SAFETY of all unsafe blocks: each call gets numbers, null where null is
// allowed, and pointers to initialised locals of the expected type, which
// outlive the call.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)]

mod common;

use std::time::{Duration, Instant};
use std::{io, ptr};

use common::{finding, runtime};
use loopscope::{Scope, Signals, Terminal};

/// How long each call waits: long enough for several samples at a threshold of
/// 10 ms.
const WAIT: Duration = Duration::from_millis(150);

/// A call that waits for [`WAIT`] and returns its result.
type Call = fn() -> io::Result<()>;

/// The calls that a signal interrupts even with `SA_RESTART`.
const CALLS: &[(&str, Call)] = &[
    ("nanosleep", nanosleep),
    ("clock_nanosleep", clock_nanosleep),
    ("clock_nanosleep with an absolute time", clock_nanosleep_absolute),
    ("usleep", || result(unsafe { libc::usleep(WAIT.as_micros() as u32) })),
    ("epoll_wait", epoll_wait),
    ("poll", || result(unsafe { libc::poll(ptr::null_mut(), 0, WAIT.as_millis() as i32) })),
    ("select", select),
    ("recv with a timeout", recv),
    ("recvfrom with a timeout", recvfrom),
    ("accept with a timeout", accept),
    ("sem_timedwait", sem_timedwait),
    ("futex with a timeout", futex),
    ("sigtimedwait", sigtimedwait),
    ("msgrcv", msgrcv),
];

fn run(scope: &Scope, name: &'static str, call: Call) -> (io::Result<()>, Duration) {
    let (before, runtime) = (capture_count(scope), runtime(scope, 1));
    let task = async move {
        let begin = Instant::now();
        let result = call();
        (result, begin.elapsed())
    };
    let outcome = runtime.block_on(async { loopscope::spawn(name, task).await }).unwrap();
    common::eventually("a capture of its stack", || (capture_count(scope) > before).then_some(()));
    outcome
}

/// Counts all stack captures, by any method.
fn capture_count(scope: &Scope) -> u64 {
    scope.snapshot().observer.captures.iter().map(|(_, n)| n).sum()
}

#[test]
fn no_blocking_call_is_interrupted_or_shortened() {
    let scope = common::scope();
    for (name, call) in CALLS {
        let (result, took) = run(&scope, name, *call);
        assert!(result.is_ok(), "{name}: {result:?}");
        assert!(took >= WAIT - Duration::from_millis(1), "{name} ended after {took:?}");
    }
    // On a busy machine, a sample may find a thread before it is in its call.
    // That sample uses a signal.
    let captures = scope.snapshot().observer.captures;
    assert!(
        captures.iter().any(|(result, n)| *result == "passive" && *n >= CALLS.len() as u64 / 2),
        "{captures:?}"
    );
}

/// Checks the test above: it would fail if a signal were sent.
#[test]
fn a_forced_signal_interrupts_poll() {
    let scope = Scope::builder().terminal(Terminal::Never).signals(Signals::Always).start().unwrap();
    let (_, poll) = CALLS.iter().find(|(name, _)| *name == "poll").unwrap();
    let (result, took) = run(&scope, "poll", *poll);
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::Interrupted);
    assert!(took < WAIT);
}

#[test]
fn without_signals_a_sleep_is_still_found() {
    let scope = Scope::builder().terminal(Terminal::Never).signals(Signals::Never).start().unwrap();
    run(&scope, "sleeper", || {
        std::thread::sleep(WAIT);
        Ok(())
    })
    .0
    .unwrap();
    let found = finding(&scope, "sleeper");
    assert_eq!(found.cause, loopscope::Cause::Sleep);
    let captures = scope.snapshot().observer.captures;
    assert!(captures.contains(&("signal", 0)), "{captures:?}");
}

fn result(returned: i32) -> io::Result<()> {
    if returned >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns `Ok` if the call failed with `expected_error`, the error that it
/// reports at the end of its timeout.
fn expect_error(returned: i32, expected_error: i32) -> io::Result<()> {
    match result(returned) {
        Err(error) if error.raw_os_error() == Some(expected_error) => Ok(()),
        result => result,
    }
}

fn wait() -> libc::timespec {
    libc::timespec { tv_sec: 0, tv_nsec: i64::from(WAIT.subsec_nanos()) }
}

fn until(clock: libc::clockid_t) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    let nanos = now.tv_nsec + i64::from(WAIT.subsec_nanos());
    libc::timespec { tv_sec: now.tv_sec + nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000 }
}

fn nanosleep() -> io::Result<()> {
    result(unsafe { libc::nanosleep(&wait(), ptr::null_mut()) })
}

fn clock_nanosleep() -> io::Result<()> {
    let error = unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &wait(), ptr::null_mut()) };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

fn clock_nanosleep_absolute() -> io::Result<()> {
    let (clock, until) = (libc::CLOCK_MONOTONIC, until(libc::CLOCK_MONOTONIC));
    let error = unsafe { libc::clock_nanosleep(clock, libc::TIMER_ABSTIME, &until, ptr::null_mut()) };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

fn epoll_wait() -> io::Result<()> {
    unsafe {
        let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let waited = result(libc::epoll_wait(epoll, &raw mut event, 1, WAIT.as_millis() as i32));
        libc::close(epoll);
        waited
    }
}

fn select() -> io::Result<()> {
    let mut wait = libc::timeval { tv_sec: 0, tv_usec: WAIT.as_micros() as i64 };
    result(unsafe { libc::select(0, ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), &raw mut wait) })
}

fn socket(kind: i32) -> i32 {
    let wait = libc::timeval { tv_sec: 0, tv_usec: WAIT.as_micros() as i64 };
    unsafe {
        let socket = libc::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, 0);
        let length = size_of::<libc::timeval>() as u32;
        libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const wait).cast(), length);
        socket
    }
}

fn recv() -> io::Result<()> {
    let socket = socket(libc::SOCK_DGRAM);
    let mut byte = 0_u8;
    let received = unsafe { libc::recv(socket, (&raw mut byte).cast(), 1, 0) };
    let received = expect_error(received as i32, libc::EAGAIN);
    unsafe { libc::close(socket) };
    received
}

fn recvfrom() -> io::Result<()> {
    let socket = socket(libc::SOCK_DGRAM);
    let mut byte = 0_u8;
    let (none, buffer) = (ptr::null_mut(), (&raw mut byte).cast());
    let received = unsafe { libc::recvfrom(socket, buffer, 1, 0, none, ptr::null_mut()) };
    let received = expect_error(received as i32, libc::EAGAIN);
    unsafe { libc::close(socket) };
    received
}

fn accept() -> io::Result<()> {
    let socket = socket(libc::SOCK_STREAM);
    let accepted = unsafe {
        libc::listen(socket, 1);
        libc::accept(socket, ptr::null_mut(), ptr::null_mut())
    };
    let accepted = expect_error(accepted, libc::EAGAIN);
    unsafe { libc::close(socket) };
    accepted
}

fn sem_timedwait() -> io::Result<()> {
    let until = until(libc::CLOCK_REALTIME);
    unsafe {
        let mut semaphore: libc::sem_t = std::mem::zeroed();
        libc::sem_init(&raw mut semaphore, 0, 0);
        expect_error(libc::sem_timedwait(&raw mut semaphore, &until), libc::ETIMEDOUT)
    }
}

fn futex() -> io::Result<()> {
    let word = 0_u32;
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let waited = unsafe { libc::syscall(libc::SYS_futex, &raw const word, operation, 0, &wait()) };
    expect_error(waited as i32, libc::ETIMEDOUT)
}

fn sigtimedwait() -> io::Result<()> {
    unsafe {
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        libc::sigaddset(&raw mut signals, libc::SIGURG);
        expect_error(libc::sigtimedwait(&signals, ptr::null_mut(), &wait()), libc::EAGAIN)
    }
}

/// Waits without a timeout, until another thread removes the queue.
fn msgrcv() -> io::Result<()> {
    unsafe {
        let queue = libc::msgget(libc::IPC_PRIVATE, 0o600);
        std::thread::spawn(move || {
            std::thread::sleep(WAIT);
            libc::msgctl(queue, libc::IPC_RMID, ptr::null_mut());
        });
        let mut message = [0_u64; 4];
        expect_error(libc::msgrcv(queue, message.as_mut_ptr().cast(), 8, 0, 0) as i32, libc::EIDRM)
    }
}
