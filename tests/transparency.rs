//! Sampling does not change the blocked program: no call returns `EINTR`, and
//! no call ends early.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
// SAFETY of all unsafe blocks: each call gets numbers, null where null is
// allowed, and pointers to initialised locals of the expected type, which
// outlive the call.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)]

mod common;

use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};
use std::{fs, io, ptr};

use common::{finding, runtime};
use loopscope::{Scope, Signals, Terminal};

/// How long each call waits: long enough for several samples at a threshold of
/// 10 ms, if the machine is idle.
const WAIT: Duration = Duration::from_millis(150);
/// How long a call waits that a signal is to interrupt. It is so long that even
/// on a busy machine the signal arrives much earlier.
const LONG_WAIT: Duration = Duration::from_secs(60);

/// A call that waits for a time and returns its result.
type Call = fn(Duration) -> io::Result<()>;

/// The calls that a signal interrupts even with `SA_RESTART`.
const CALLS: &[(&str, Call)] = &[
    ("nanosleep", nanosleep),
    ("clock_nanosleep", clock_nanosleep),
    ("clock_nanosleep with an absolute time", clock_nanosleep_absolute),
    ("usleep", |wait| result(unsafe { libc::usleep(wait.as_micros() as u32) })),
    ("epoll_wait", epoll_wait),
    ("poll", |wait| result(unsafe { libc::poll(ptr::null_mut(), 0, wait.as_millis() as i32) })),
    ("select", select),
    ("recv with a timeout", recv),
    ("recvfrom with a timeout", recvfrom),
    ("accept with a timeout", accept),
    ("sem_timedwait", sem_timedwait),
    ("futex with a timeout", futex),
    ("sigtimedwait", sigtimedwait),
    ("msgrcv", msgrcv),
];

/// Repeats a call in one poll until `is_sampled` returns true, or until the
/// call fails. Returns the result and the duration of each repetition.
///
/// A watchdog that waits for a CPU may take no sample during a single call. The
/// poll lasts until it has taken one.
fn run(
    scope: &Scope,
    name: &'static str,
    call: Call,
    wait: Duration,
    mut is_sampled: impl FnMut() -> bool,
) -> Vec<(io::Result<()>, Duration)> {
    let runtime = runtime(scope, 1);
    // A panic drops `stop` before `runtime`, so it ends the task, too.
    let (stop, stopped) = mpsc::channel::<()>();
    let task = async move {
        let mut outcomes = Vec::new();
        loop {
            let begin = Instant::now();
            let result = call(wait);
            let is_last = result.is_err() || stopped.try_recv() == Err(TryRecvError::Disconnected);
            outcomes.push((result, begin.elapsed()));
            if is_last {
                return outcomes;
            }
        }
    };
    let context = runtime.enter();
    let task = loopscope::spawn(name, task);
    drop(context);
    common::eventually("a sample of its call", || (task.is_finished() || is_sampled()).then_some(()));
    drop(stop);
    runtime.block_on(task).unwrap()
}

/// Counts the stacks that were copied from outside, while their threads waited.
fn passive_count(scope: &Scope) -> u64 {
    let captures = scope.snapshot().observer.captures;
    captures.iter().filter(|(result, _)| *result == "passive").map(|(_, n)| n).sum()
}

/// Like [`run`], until a stack has been copied while the thread waited.
fn run_until_copied(scope: &Scope, name: &'static str, call: Call) -> Vec<(io::Result<()>, Duration)> {
    let before = passive_count(scope);
    run(scope, name, call, WAIT, || passive_count(scope) > before)
}

#[test]
fn no_blocking_call_is_interrupted_or_shortened() {
    let scope = common::scope();
    for (name, call) in CALLS {
        for (result, took) in run_until_copied(&scope, name, *call) {
            assert!(result.is_ok(), "{name}: {result:?}");
            assert!(took >= WAIT - Duration::from_millis(1), "{name} ended after {took:?}");
        }
    }
    let captures = scope.snapshot().observer.captures;
    assert!(passive_count(&scope) >= CALLS.len() as u64, "{captures:?}");
}

/// Checks the test above: it would fail if a signal were sent.
#[test]
fn a_forced_signal_interrupts_poll() {
    let scope = Scope::builder().terminal(Terminal::Never).signals(Signals::Always).start().unwrap();
    let (_, poll) = CALLS.iter().find(|(name, _)| *name == "poll").unwrap();
    // Only the failure of the call ends this run.
    let outcomes = run(&scope, "poll", *poll, LONG_WAIT, || false);
    let [(Err(error), took)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    assert!(*took < LONG_WAIT);
}

#[test]
fn without_signals_a_sleep_is_still_found() {
    let scope = Scope::builder().terminal(Terminal::Never).signals(Signals::Never).start().unwrap();
    let sleep: Call = |wait| {
        std::thread::sleep(wait);
        Ok(())
    };
    for (result, _) in run_until_copied(&scope, "sleeper", sleep) {
        result.unwrap();
    }
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

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) }
}

fn timeval(time: Duration) -> libc::timeval {
    libc::timeval { tv_sec: time.as_secs() as i64, tv_usec: i64::from(time.subsec_micros()) }
}

/// Returns the time of `clock` after a wait that begins now.
fn until(clock: libc::clockid_t, wait: Duration) -> libc::timespec {
    let mut now = timespec(Duration::ZERO);
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    timespec(Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + wait)
}

fn nanosleep(wait: Duration) -> io::Result<()> {
    result(unsafe { libc::nanosleep(&timespec(wait), ptr::null_mut()) })
}

fn clock_nanosleep(wait: Duration) -> io::Result<()> {
    let error = unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &timespec(wait), ptr::null_mut()) };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

fn clock_nanosleep_absolute(wait: Duration) -> io::Result<()> {
    let (clock, until) = (libc::CLOCK_MONOTONIC, until(libc::CLOCK_MONOTONIC, wait));
    let error = unsafe { libc::clock_nanosleep(clock, libc::TIMER_ABSTIME, &until, ptr::null_mut()) };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

fn epoll_wait(wait: Duration) -> io::Result<()> {
    unsafe {
        let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let waited = result(libc::epoll_wait(epoll, &raw mut event, 1, wait.as_millis() as i32));
        libc::close(epoll);
        waited
    }
}

fn select(wait: Duration) -> io::Result<()> {
    let mut wait = timeval(wait);
    result(unsafe { libc::select(0, ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), &raw mut wait) })
}

fn socket(kind: i32, receive_timeout: Duration) -> i32 {
    let timeout = timeval(receive_timeout);
    unsafe {
        let socket = libc::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, 0);
        let length = size_of::<libc::timeval>() as u32;
        libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const timeout).cast(), length);
        socket
    }
}

fn recv(wait: Duration) -> io::Result<()> {
    let socket = socket(libc::SOCK_DGRAM, wait);
    let mut byte = 0_u8;
    let received = unsafe { libc::recv(socket, (&raw mut byte).cast(), 1, 0) };
    let received = expect_error(received as i32, libc::EAGAIN);
    unsafe { libc::close(socket) };
    received
}

fn recvfrom(wait: Duration) -> io::Result<()> {
    let socket = socket(libc::SOCK_DGRAM, wait);
    let mut byte = 0_u8;
    let (none, buffer) = (ptr::null_mut(), (&raw mut byte).cast());
    let received = unsafe { libc::recvfrom(socket, buffer, 1, 0, none, ptr::null_mut()) };
    let received = expect_error(received as i32, libc::EAGAIN);
    unsafe { libc::close(socket) };
    received
}

fn accept(wait: Duration) -> io::Result<()> {
    let socket = socket(libc::SOCK_STREAM, wait);
    let accepted = unsafe {
        libc::listen(socket, 1);
        libc::accept(socket, ptr::null_mut(), ptr::null_mut())
    };
    let accepted = expect_error(accepted, libc::EAGAIN);
    unsafe { libc::close(socket) };
    accepted
}

fn sem_timedwait(wait: Duration) -> io::Result<()> {
    let until = until(libc::CLOCK_REALTIME, wait);
    unsafe {
        let mut semaphore: libc::sem_t = std::mem::zeroed();
        libc::sem_init(&raw mut semaphore, 0, 0);
        expect_error(libc::sem_timedwait(&raw mut semaphore, &until), libc::ETIMEDOUT)
    }
}

fn futex(wait: Duration) -> io::Result<()> {
    let word = 0_u32;
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let waited = unsafe { libc::syscall(libc::SYS_futex, &raw const word, operation, 0, &timespec(wait)) };
    expect_error(waited as i32, libc::ETIMEDOUT)
}

fn sigtimedwait(wait: Duration) -> io::Result<()> {
    unsafe {
        let mut signals: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        libc::sigaddset(&raw mut signals, libc::SIGURG);
        expect_error(libc::sigtimedwait(&signals, ptr::null_mut(), &timespec(wait)), libc::EAGAIN)
    }
}

/// Waits without a timeout, until another thread removes the queue. That thread
/// removes it `wait` after it has found this thread in the call: a call on a
/// queue that is already removed returns another error.
fn msgrcv(wait: Duration) -> io::Result<()> {
    unsafe {
        let queue = libc::msgget(libc::IPC_PRIVATE, 0o600);
        let current_call = format!("/proc/self/task/{}/syscall", libc::gettid());
        let msgrcv = format!("{} ", libc::SYS_msgrcv);
        std::thread::spawn(move || {
            while !fs::read_to_string(&current_call).unwrap().starts_with(&msgrcv) {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(wait);
            libc::msgctl(queue, libc::IPC_RMID, ptr::null_mut());
        });
        let mut message = [0_u64; 4];
        expect_error(libc::msgrcv(queue, message.as_mut_ptr().cast(), 8, 0, 0) as i32, libc::EIDRM)
    }
}
