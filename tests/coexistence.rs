//! loopscope works in processes that use signals, call `fork`, or drop
//! privileges. The program behaves as it would without loopscope, and stalls
//! are still detected as far as the process allows it.
//!
//! Each scenario changes a whole process, so it runs in a separate process:
//! this test program runs itself again for one of the tests marked `#[ignore]`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
// SAFETY of all unsafe blocks: each call gets numbers, null where null is
// allowed, and pointers to initialised locals of the expected type, which
// outlive the call. After a fork, the child makes only calls that are allowed
// there.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)]

#[macro_use]
mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use std::{fs, io, mem, ptr, thread};

use common::{STALL, cpu_time, eventually, finding, runtime, scope, spin};
use loopscope::{Cause, Evidence, Finding, Scope, Terminal};
use tokio::runtime::Runtime;

scenarios! {
    stalls_are_found_although_the_worker_blocks_all_signals runs blocked_signals;
    a_signalfd_of_the_application_gets_no_signal_of_loopscope runs signal_descriptor;
    signal_handlers_of_the_application_still_run runs application_handlers;
    a_handler_that_replaced_loopscopes_receives_no_signal runs replaced_handler;
    tokios_own_signal_streams_receive_no_signal_of_loopscope runs claimed_by_tokio;
    a_computation_has_its_line_although_no_descriptor_is_free runs no_descriptor;
    two_scopes_use_one_signal runs two_scopes;
    threads_of_loopscope_block_signals_and_none_is_pending runs own_threads;
    a_signal_that_the_application_waits_for_does_not_end_the_process runs waits_for_signal;
    a_report_to_a_closed_pipe_does_not_end_the_process runs closed_stderr;
    the_handler_does_nothing_in_a_forked_child runs fork;
    stalls_are_found_in_a_process_that_is_not_dumpable runs not_dumpable;
    stalls_are_found_in_a_sandbox_without_ptrace runs sandbox;
    without_proc_a_computation_is_a_stall_and_a_sleep_is_unknown runs no_proc;
}

#[test]
fn loopscope_takes_another_signal_if_its_own_is_claimed_and_says_so_once() {
    let text = common::run_scenario("claimed_signal");
    let lines =
        |end| text.lines().filter(|line| line.starts_with("loopscope: ") && line.contains(end)).count();
    assert_eq!(lines("stacks are copied with signal"), 8, "{text}");
    assert_eq!(lines("are no longer copied"), 1, "{text}");
}

#[inline(never)]
fn computes() {
    let before = cpu_time();
    while cpu_time() - before < STALL / 4 {
        // The loop is here and not in a function that it calls, so that the
        // sampled stack ends in `computes`.
        let begin = Instant::now();
        while begin.elapsed() < STALL {
            std::hint::black_box(());
        }
    }
}

#[inline(never)]
fn sleeps() {
    thread::sleep(STALL);
    std::hint::black_box(());
}

fn run(runtime: &Runtime, name: &'static str, work: fn()) {
    runtime.block_on(async move { loopscope::spawn(name, async move { work() }).await }).unwrap();
}

/// Runs a computation and a sleep, and returns their findings.
fn cause_stalls(scope: &Scope, runtime: &Runtime) -> [Finding; 2] {
    run(runtime, "computer", computes);
    run(runtime, "sleeper", sleeps);
    ["computer", "sleeper"].map(|kind| finding(scope, kind))
}

fn assert_causes_and_sites([computer, sleeper]: &[Finding; 2]) {
    for (finding, cause, function) in [(computer, Cause::Cpu, "computes"), (sleeper, Cause::Sleep, "sleeps")]
    {
        assert_eq!(finding.cause, cause, "{finding:#?}");
        assert_eq!(finding.evidence, Evidence::Stack, "{finding:#?}");
        assert!(finding.site.as_ref().unwrap().function.ends_with(function), "{finding:#?}");
    }
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn blocked_signals() {
    let scope = scope();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let hooks = loopscope::Hooks::new().on_thread_start(|| {
        let mut all: libc::sigset_t = unsafe { mem::zeroed() };
        unsafe {
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, ptr::null_mut());
        }
    });
    let runtime = scope.watch_with(builder.worker_threads(1).enable_all(), hooks).build().unwrap();
    let [computer, sleeper] = cause_stalls(&scope, &runtime);
    assert_eq!(computer.cause, Cause::Cpu, "{computer:#?}");
    assert_eq!(computer.evidence, Evidence::None, "the line is unknown: {computer:#?}");
    assert_eq!(sleeper.cause, Cause::Sleep, "{sleeper:#?}");
    assert!(sleeper.evidence >= Evidence::Leaf, "{sleeper:#?}");
    for _ in 0..3 {
        run(&runtime, "computer", computes);
    }
    let pending = runtime.block_on(async { tokio::spawn(async { pending_signals() }).await }).unwrap();
    assert_eq!(pending, 0, "signals of loopscope are pending");
}

/// The application receives the last real-time signal by a `signalfd`, so that
/// its threads block it. loopscope takes that signal too, because it has no
/// handler.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn signal_descriptor() {
    let set = set_of(&[libc::SIGRTMAX()]);
    let block = move || {
        assert_eq!(0, unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) })
    };
    block();
    let scope = scope();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let hooks = loopscope::Hooks::new().on_thread_start(block);
    let runtime = scope.watch_with(builder.worker_threads(1).enable_all(), hooks).build().unwrap();
    let descriptor = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK) };
    assert!(descriptor >= 0);
    for _ in 0..3 {
        run(&runtime, "computer", computes);
        let read = async move {
            let mut info: libc::signalfd_siginfo = unsafe { mem::zeroed() };
            unsafe { libc::read(descriptor, (&raw mut info).cast(), size_of_val(&info)) }
        };
        let length = runtime.block_on(async { tokio::spawn(read).await }).unwrap();
        assert_eq!(length, -1, "the application has received a signal of loopscope");
    }
    let computer = finding(&scope, "computer");
    assert_eq!(computer.cause, Cause::Cpu, "{computer:#?}");
    assert_eq!(computer.evidence, Evidence::None, "{computer:#?}");
    assert_eq!(capture_signal(&scope), libc::SIGRTMAX());
}

/// Counts the real-time signals that are pending for the calling thread, which
/// blocks them.
fn pending_signals() -> usize {
    let mut real_time: libc::sigset_t = unsafe { mem::zeroed() };
    unsafe { libc::sigemptyset(&raw mut real_time) };
    for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        unsafe { libc::sigaddset(&raw mut real_time, signal) };
    }
    let no_wait = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let take = || unsafe { libc::sigtimedwait(&raw const real_time, ptr::null_mut(), &raw const no_wait) };
    std::iter::repeat_with(take).take_while(|signal| *signal > 0).count()
}

static PROFILER_SIGNALS: AtomicU64 = AtomicU64::new(0);
static APPLICATION_SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_profiler_signal(_: i32) {
    PROFILER_SIGNALS.fetch_add(1, Relaxed);
}

extern "C" fn on_application_signal(_: i32) {
    APPLICATION_SIGNALS.fetch_add(1, Relaxed);
}

fn install_handler(signal: i32, handler: extern "C" fn(i32)) {
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    assert_eq!(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) }, 0);
}

/// The process has the handler of a sampling profiler and the handler of a
/// library that uses a real-time signal.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn application_handlers() {
    install_handler(libc::SIGPROF, on_profiler_signal);
    let [first, last] = [libc::SIGRTMIN(), libc::SIGRTMAX()];
    install_handler(first, on_application_signal);
    install_handler(last, on_application_signal);
    let period = libc::timeval { tv_sec: 0, tv_usec: 2_000 };
    let timer = libc::itimerval { it_interval: period, it_value: period };
    assert_eq!(unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const timer, ptr::null_mut()) }, 0);
    let scope = scope();
    let runtime = runtime(&scope, 1);
    assert_causes_and_sites(&cause_stalls(&scope, &runtime));
    let signal = capture_signal(&scope);
    assert!(signal > first && signal < last, "signal {signal}");
    let before = (PROFILER_SIGNALS.load(Relaxed), APPLICATION_SIGNALS.load(Relaxed));
    unsafe { libc::raise(first) };
    eventually("the profiler's signal", || {
        // The profiler's timer counts CPU time, so the thread must use some.
        spin(Duration::from_millis(5));
        (PROFILER_SIGNALS.load(Relaxed) > before.0).then_some(())
    });
    assert_eq!(
        (before.1, APPLICATION_SIGNALS.load(Relaxed)),
        (0, 1),
        "only the application's own signal reached its handler"
    );
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn replaced_handler() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    assert_causes_and_sites(&cause_stalls(&scope, &runtime));
    for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        install_handler(signal, on_application_signal);
    }
    run(&runtime, "later", computes);
    let later = finding(&scope, "later");
    assert_eq!(later.evidence, Evidence::None, "{later:#?}");
    assert_eq!(APPLICATION_SIGNALS.load(Relaxed), 0, "loopscope sent no signal to the application's handler");
}

fn capture_signal(scope: &Scope) -> i32 {
    eventually("the signal", || scope.snapshot().observer.capture_signal)
}

fn signals_with_a_handler() -> Vec<i32> {
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).filter(|signal| handler_of(*signal) != libc::SIG_DFL).collect()
}

/// Each time that the application claims loopscope's signal, the next
/// computation has its line, and one line of text says what has happened. In
/// the end loopscope gives up.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn claimed_signal() {
    const MAX_GIVEN_UP: u32 = 8;
    let scope = Scope::builder().terminal(Terminal::Always).start().unwrap();
    let runtime = runtime(&scope, 1);
    run(&runtime, "0", computes);
    assert_eq!(finding(&scope, "0").evidence, Evidence::Stack);
    let names = ["1", "2", "3", "4", "5", "6", "7", "8"];
    let mut previous = capture_signal(&scope);
    assert_eq!(previous, libc::SIGRTMAX());
    for (name, given_up) in names.into_iter().zip(1..) {
        install_handler(previous, on_application_signal);
        run(&runtime, name, computes);
        let later = finding(&scope, name);
        assert_eq!(later.evidence, Evidence::Stack, "{name}: {later:#?}");
        let observer = scope.snapshot().observer;
        assert_eq!(observer.signals_given_up, given_up);
        previous = capture_signal(&scope);
    }
    install_handler(previous, on_application_signal);
    run(&runtime, "last", computes);
    assert_eq!(finding(&scope, "last").evidence, Evidence::None);
    eventually("the end", || scope.snapshot().observer.capture_signal.is_none().then_some(()));
    assert_eq!(scope.snapshot().observer.signals_given_up, MAX_GIVEN_UP + 1);
    assert_eq!(APPLICATION_SIGNALS.load(Relaxed), 0, "loopscope sent no signal to the application's handler");
}

/// Tokio's handler also calls the handler that was there before.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn claimed_by_tokio() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    run(&runtime, "before", computes);
    assert_eq!(finding(&scope, "before").evidence, Evidence::Stack);
    let signal = capture_signal(&scope);
    let kind = tokio::signal::unix::SignalKind::from_raw(signal);
    let _guard = runtime.enter();
    let mut stream = tokio::signal::unix::signal(kind).unwrap();
    run(&runtime, "after", computes);
    assert_eq!(finding(&scope, "after").evidence, Evidence::Stack);
    let received = runtime.block_on(async { tokio::time::timeout(STALL / 10, stream.recv()).await });
    assert!(received.is_err(), "{received:?}");
    unsafe { libc::raise(signal) };
    assert_eq!(runtime.block_on(stream.recv()), Some(()));
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn two_scopes() {
    let scopes = [scope(), scope()];
    for scope in &scopes {
        let runtime = runtime(scope, 1);
        assert_causes_and_sites(&cause_stalls(scope, &runtime));
    }
    let [first, second] = scopes.each_ref().map(capture_signal);
    assert_eq!(first, second);
    assert_eq!(signals_with_a_handler(), [first]);
}

/// The watchdog reads which signals the thread blocks before it sends one.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn no_descriptor() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let limit = libc::rlimit { rlim_cur: 128, rlim_max: 128 };
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let _files: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
    assert_causes_and_sites(&cause_stalls(&scope, &runtime));
}

/// Returns a set of signals in a field of a thread's `status`.
fn signals_of(task: &Path, field: &str) -> u64 {
    let status = fs::read_to_string(task.join("status")).unwrap();
    let hex = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    u64::from_str_radix(hex.trim_start_matches(':').trim(), 16).unwrap()
}

/// A signal handler of the application never runs on a thread of loopscope.
/// The watchdog takes back the signal with which it tests what it can send.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn own_threads() {
    // Signals 32 and 33 belong to the C library.
    let of_library = 1 << 31 | 1 << 32;
    let of_own_instructions =
        [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];
    let unblockable = [libc::SIGKILL, libc::SIGSTOP];
    let open = of_own_instructions.iter().chain(&unblockable).map(|signal| 1_u64 << (signal - 1));
    let open = open.fold(of_library, |set, signal| set | signal);
    let builder = Scope::builder().terminal(Terminal::Never);
    #[cfg(feature = "telemetry")]
    let builder = builder.telemetry("127.0.0.1:0".parse().unwrap());
    let before = signals_of(Path::new("/proc/thread-self"), "SigBlk");
    let scope = builder.start().unwrap();
    assert_eq!(signals_of(Path::new("/proc/thread-self"), "SigBlk"), before);
    let runtime = runtime(&scope, 1);
    run(&runtime, "computer", computes);
    assert_eq!(finding(&scope, "computer").evidence, Evidence::Stack);
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let is_own = |task: &PathBuf| fs::read_to_string(task.join("comm")).unwrap().starts_with("loopscope-");
    let own: Vec<_> = tasks.filter(is_own).collect();
    assert_eq!(own.len(), if cfg!(feature = "telemetry") { 3 } else { 2 }, "{own:?}");
    for task in own {
        let name = fs::read_to_string(task.join("comm")).unwrap();
        assert_eq!(signals_of(&task, "SigBlk"), !open, "{name}");
        assert_eq!(signals_of(&task, "SigPnd"), 0, "{name}");
    }
}

/// The application blocks a signal on all threads that it knows of, after the
/// scope has started, and waits for it. The signal's default action ends the
/// process.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn waits_for_signal() {
    // The child has no thread of the test harness, which does not block the
    // signal.
    common::in_child(|| {
        let _scope = scope();
        let set = set_of(&[libc::SIGUSR1]);
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
        let waits = thread::spawn(move || {
            let mut signal = 0;
            unsafe { libc::sigwait(&raw const set, &raw mut signal) };
            signal
        });
        unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) };
        assert_eq!(waits.join().unwrap(), libc::SIGUSR1);
    });
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    unsafe { libc::sigemptyset(&raw mut set) };
    for signal in signals {
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    set
}

/// The program that reads the reports ends, as `head` does. The signal SIGPIPE
/// has its default action, which ends the process.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn closed_stderr() {
    let mut pipe = [0; 2];
    let stderr = unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
        libc::close(pipe[0]);
        let stderr = libc::dup(2);
        libc::dup2(pipe[1], 2);
        stderr
    };
    let scope = Scope::builder().terminal(Terminal::Always).start().unwrap();
    let runtime = runtime(&scope, 1);
    run(&runtime, "sleeper", sleeps);
    finding(&scope, "sleeper");
    // Waits for the report.
    drop(scope);
    unsafe { libc::dup2(stderr, 2) };
}

/// A forked child inherits the handler, but none of the threads.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn fork() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    assert_causes_and_sites(&cause_stalls(&scope, &runtime));
    let child = unsafe { libc::fork() };
    if child == 0 {
        // Only calls that are allowed after a fork.
        for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
            if handler_of(signal) != libc::SIG_DFL {
                unsafe { libc::raise(signal) };
            }
        }
        unsafe { libc::_exit(7) };
    }
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{status}");
    run(&runtime, "after", sleeps);
    assert_eq!(finding(&scope, "after").cause, Cause::Sleep);
}

fn handler_of(signal: i32) -> usize {
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    action.sa_sigaction
}

/// Services that hold secrets make themselves undumpable. The scenario also
/// drops root's privileges.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn not_dumpable() {
    if unsafe { libc::getuid() } == 0 {
        const NOBODY: u32 = 65_534;
        assert_eq!(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, 0);
    }
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) }, 0);
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let [computer, sleeper] = cause_stalls(&scope, &runtime);
    assert_eq!(computer.cause, Cause::Cpu, "{computer:#?}");
    assert!(computer.site.as_ref().unwrap().function.ends_with("computes"), "{computer:#?}");
    // The kernel hides the call of the sleeper, so that it gets no signal. The
    // function of the kernel in which it waits may show the cause.
    assert!(matches!(sleeper.cause, Cause::Sleep | Cause::Other), "{sleeper:#?}");
    assert_eq!(sleeper.evidence, Evidence::None, "{sleeper:#?}");
    assert!(sleeper.total + sleeper.split.not_own() >= STALL, "{sleeper:#?}");
}

/// Forbids `ptrace`, `perf_event_open`, and the calls that read or write the
/// memory of a process: what containers forbid by default, and more.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn sandbox() {
    const FORBIDDEN: [i64; 4] = [
        libc::SYS_ptrace,
        libc::SYS_perf_event_open,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
    ];
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![instruction(LOAD_NUMBER, 0, 0, 0)];
    for number in FORBIDDEN {
        program.push(instruction(JUMP_IF_EQUAL, 0, 1, number as u32));
        program.push(instruction(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32));
    }
    program.push(instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let set = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter);
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    }
    let scope = scope();
    let runtime = runtime(&scope, 1);
    assert_causes_and_sites(&cause_stalls(&scope, &runtime));
}

/// Unmounts `/proc` in a separate mount namespace, which needs root.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn no_proc() {
    let unmounted = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(
                ptr::null(),
                c"/".as_ptr(),
                ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                ptr::null(),
            ) == 0
            && libc::umount2(c"/proc".as_ptr(), libc::MNT_DETACH) == 0
    };
    if !unmounted {
        common::not_checked(format_args!("a process without /proc: {}", io::Error::last_os_error()));
        return;
    }
    let scope = scope();
    let runtime = runtime(&scope, 1);
    // The computation may have waited for a CPU for all of its time.
    common::eventually("the computation", || {
        run(&runtime, "computer", computes);
        let document = common::flushed(&scope);
        (!document.findings.is_empty()).then_some(())
    });
    run(&runtime, "sleeper", sleeps);
    // Without `/proc` only the CPU time proves what a thread did. The time of
    // the sleep may be a wait for a CPU, so it blames no code.
    let document = common::ended_findings(&scope, |document| {
        let has_sleep = document.starved.count >= 1 && document.starved.total >= STALL / 2;
        !document.findings.is_empty() && has_sleep
    });
    let [computer] = &document.findings[..] else { panic!("{document:#?}") };
    assert_eq!(computer.count, 1, "{computer:#?}");
    assert!(computer.total >= STALL / 8, "{computer:#?}");
}
