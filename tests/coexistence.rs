//! Beside what else a process does with signals, `fork` and its rights: the
//! program goes on as it would, and what can still be seen is seen.
//!
//! Each scene changes a whole process, so it is played by a process of its own:
//! this program, run once more for one of the tests that are otherwise ignored.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
// SAFETY of all of them: each call gets numbers, null where that is allowed, and
// pointers to initialised locals of the type it wants, which outlive it; after a
// fork only calls are made that are allowed there.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)]

mod common;

use std::process::Command;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use std::{env, io, mem, ptr, thread};

use common::{STALL, cpu_time, eventually, finding, runtime, scope, spin};
use loopscope::{Cause, Evidence, Finding, Scope};
use tokio::runtime::Runtime;

/// Plays a scene, which fails by a panic or a signal.
fn play(scene: &str) {
    let this = env::current_exe().unwrap();
    let output = Command::new(this).args(["--exact", scene, "--ignored", "--nocapture"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scene}: {}\n{text}", output.status);
    assert!(text.contains("1 passed"), "no scene {scene}\n{text}");
}

macro_rules! scenes {
    ($($test:ident plays $scene:ident;)*) => {$(
        #[test]
        fn $test() {
            play(stringify!($scene));
        }
    )*};
}

scenes! {
    blocked_signals_are_done_without plays blocked_signals;
    the_handlers_of_others_go_on plays others_handlers;
    a_handler_that_took_our_place_gets_nothing plays replaced_handler;
    a_fork_is_left_alone plays fork;
    a_process_that_must_not_be_dumped_is_watched plays not_dumpable;
    what_a_sandbox_forbids_is_done_without plays sandbox;
    without_proc_stalls_are_counted plays no_proc;
}

#[inline(never)]
fn computes() {
    let before = cpu_time();
    while cpu_time() - before < STALL / 4 {
        // Here, and not in a function that it calls, it is to be met.
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

/// What is found of a computation and of a sleep.
fn stalls(scope: &Scope, runtime: &Runtime) -> [Finding; 2] {
    run(runtime, "computer", computes);
    run(runtime, "sleeper", sleeps);
    ["computer", "sleeper"].map(|kind| finding(scope, kind))
}

fn assert_complete([computer, sleeper]: &[Finding; 2]) {
    for (finding, cause, function) in [(computer, Cause::Cpu, "computes"), (sleeper, Cause::Sleep, "sleeps")]
    {
        assert_eq!(finding.cause, cause, "{finding:#?}");
        assert_eq!(finding.evidence, Evidence::Stack, "{finding:#?}");
        assert!(finding.site.as_ref().unwrap().function.ends_with(function), "{finding:#?}");
    }
}

#[test]
#[ignore = "a scene"]
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
    let [computer, sleeper] = stalls(&scope, &runtime);
    assert_eq!(computer.cause, Cause::Cpu, "{computer:#?}");
    assert_eq!(computer.evidence, Evidence::None, "nothing is known of where: {computer:#?}");
    assert_eq!(sleeper.cause, Cause::Sleep, "{sleeper:#?}");
    assert!(sleeper.evidence >= Evidence::Leaf, "{sleeper:#?}");
    for _ in 0..3 {
        run(&runtime, "computer", computes);
    }
    let pending = runtime.block_on(async { tokio::spawn(async { pending_signals() }).await }).unwrap();
    assert!(pending <= 1, "{pending} signals of ours have piled up");
}

/// How many real-time signals wait for the calling thread, which blocks them.
fn pending_signals() -> usize {
    let mut real_time: libc::sigset_t = unsafe { mem::zeroed() };
    unsafe { libc::sigemptyset(&raw mut real_time) };
    for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        unsafe { libc::sigaddset(&raw mut real_time, signal) };
    }
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let take = || unsafe { libc::sigtimedwait(&raw const real_time, ptr::null_mut(), &raw const at_once) };
    std::iter::repeat_with(take).take_while(|signal| *signal > 0).count()
}

static PROFILED: AtomicU64 = AtomicU64::new(0);
static THEIRS: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_profile(_: i32) {
    PROFILED.fetch_add(1, Relaxed);
}

extern "C" fn on_theirs(_: i32) {
    THEIRS.fetch_add(1, Relaxed);
}

fn handle(signal: i32, handler: extern "C" fn(i32)) {
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    assert_eq!(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) }, 0);
}

/// As a sampling profiler does, and a library with a real-time signal.
#[test]
#[ignore = "a scene"]
fn others_handlers() {
    handle(libc::SIGPROF, on_profile);
    let first = libc::SIGRTMIN();
    handle(first, on_theirs);
    let period = libc::timeval { tv_sec: 0, tv_usec: 2_000 };
    let timer = libc::itimerval { it_interval: period, it_value: period };
    assert_eq!(unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const timer, ptr::null_mut()) }, 0);
    let scope = scope();
    let runtime = runtime(&scope, 1);
    assert_complete(&stalls(&scope, &runtime));
    let before = (PROFILED.load(Relaxed), THEIRS.load(Relaxed));
    unsafe { libc::raise(first) };
    eventually("the profiler's signal", || {
        // It counts CPU time.
        spin(Duration::from_millis(5));
        (PROFILED.load(Relaxed) > before.0).then_some(())
    });
    assert_eq!((before.1, THEIRS.load(Relaxed)), (0, 1), "theirs is theirs");
}

#[test]
#[ignore = "a scene"]
fn replaced_handler() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    assert_complete(&stalls(&scope, &runtime));
    for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        handle(signal, on_theirs);
    }
    run(&runtime, "later", computes);
    let later = finding(&scope, "later");
    assert_eq!(later.evidence, Evidence::None, "{later:#?}");
    assert_eq!(THEIRS.load(Relaxed), 0, "they were sent nothing of ours");
}

/// A child has the handler, and none of the threads.
#[test]
#[ignore = "a scene"]
fn fork() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    assert_complete(&stalls(&scope, &runtime));
    let child = unsafe { libc::fork() };
    if child == 0 {
        // Only what may be called after a fork.
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

/// As services are that hold secrets; also without root's rights.
#[test]
#[ignore = "a scene"]
fn not_dumpable() {
    if unsafe { libc::getuid() } == 0 {
        const NOBODY: u32 = 65_534;
        assert_eq!(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, 0);
    }
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) }, 0);
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let found = stalls(&scope, &runtime);
    println!("{found:#?}");
    assert_complete(&found);
}

/// No `ptrace`, no `perf_event_open`, no reading of memory by a call: what
/// containers forbid by default, and some more.
#[test]
#[ignore = "a scene"]
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
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![step(LOAD_NUMBER, 0, 0, 0)];
    for number in FORBIDDEN {
        program.push(step(JUMP_IF_EQUAL, 0, 1, number as u32));
        program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32));
    }
    program.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let set = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter);
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    }
    let scope = scope();
    let runtime = runtime(&scope, 1);
    assert_complete(&stalls(&scope, &runtime));
}

/// Needs root, to take `/proc` away in a name space of its own.
#[test]
#[ignore = "a scene"]
fn no_proc() {
    let taken = unsafe {
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
    if !taken {
        eprintln!("SKIPPED: no rights to take /proc away: {}", io::Error::last_os_error());
        return;
    }
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let found = stalls(&scope, &runtime);
    for finding in &found {
        assert_eq!(finding.count, 1, "{finding:#?}");
        assert!(finding.total >= STALL, "{finding:#?}");
    }
}
