//! Where the kernel or a sandbox hides which system call a thread is in, no
//! call of the program is interrupted or ends early, and no stall in such a
//! call is taken for a computation.
//!
//! Each scenario changes a whole process, so it runs in a separate process:
//! this test program runs itself again for one of the tests marked `#[ignore]`.
//! Most scenarios need root. Where the machine does not allow one, the test
//! says so on stderr and checks nothing.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
// SAFETY of all unsafe blocks: each call gets numbers, null where null is
// allowed, and pointers to initialised locals of the expected type, which
// outlive the call.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)]

mod common;

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, io, ptr};

use common::{eventually, run_scenario, runtime, scope};
use loopscope::{Cause, Evidence, FindingsDocument, Scope};

/// How long each call waits: long enough for several samples at a threshold of
/// 10 ms.
const WAIT: Duration = Duration::from_millis(60);
/// How many times the threads in each call must be captured.
const CAPTURES: u64 = 3;
/// How many times each call is made where nothing proves a wait.
const UNPROVEN_CALLS: u32 = 5;
const NOBODY: u32 = 65_534;

/// A call that waits for [`WAIT`]. A signal interrupts it even with
/// `SA_RESTART`, and it does not retry.
type Call = fn() -> io::Result<()>;
const CALLS: [(&str, Call); 3] = [("poll", poll), ("nanosleep", nanosleep), ("recv", recv)];

fn result(returned: isize) -> io::Result<()> {
    if returned >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn poll() -> io::Result<()> {
    result(unsafe { libc::poll(ptr::null_mut(), 0, WAIT.as_millis() as i32) } as isize)
}

fn nanosleep() -> io::Result<()> {
    let wait = libc::timespec { tv_sec: 0, tv_nsec: i64::from(WAIT.subsec_nanos()) };
    result(unsafe { libc::nanosleep(&wait, ptr::null_mut()) } as isize)
}

/// Receives from a socket with a timeout, to which nothing is sent.
fn recv() -> io::Result<()> {
    let timeout = libc::timeval { tv_sec: 0, tv_usec: i64::from(WAIT.subsec_micros()) };
    let mut byte = 0_u8;
    let received = unsafe {
        let socket = libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let length = size_of::<libc::timeval>() as u32;
        libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const timeout).cast(), length);
        let received = result(libc::recv(socket, (&raw mut byte).cast(), 1, 0));
        libc::close(socket);
        received
    };
    match received {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => other,
    }
}

/// Counts the captures that say nothing about the stack.
fn captures_without_stack(scope: &Scope) -> u64 {
    let captures = scope.snapshot().observer.captures;
    captures.iter().filter(|(result, _)| *result == "none").map(|(_, n)| n).sum()
}

/// Makes each call until the watchdog has captured its thread several times.
/// Checks the calls and the findings. Where nothing shows that a thread does
/// not wait for a CPU, no wait is captured, and each call is made
/// [`UNPROVEN_CALLS`] times.
fn check(scope: &Scope) {
    let runtime = runtime(scope, 1);
    let shows_this_process =
        fs::read_link("/proc/self").is_ok_and(|id| id.as_os_str() == &*std::process::id().to_string());
    let is_proven = shows_this_process && fs::read("/proc/thread-self/schedstat").is_ok();
    let (mut count, mut waited) = (0_u32, Duration::ZERO);
    for (name, call) in CALLS {
        let before = captures_without_stack(scope);
        let first = count;
        eventually("captures of a call", || {
            let task = async move {
                let begin = Instant::now();
                (call(), begin.elapsed())
            };
            let (result, took) = runtime.block_on(async { loopscope::spawn(name, task).await }).unwrap();
            assert!(result.is_ok(), "{name} failed after {took:?}: {result:?}");
            assert!(took >= WAIT - Duration::from_millis(1), "{name} ended after {took:?}");
            (count, waited) = (count + 1, waited + took);
            let is_captured = captures_without_stack(scope) >= before + CAPTURES;
            (is_captured || (!is_proven && count - first >= UNPROVEN_CALLS)).then_some(())
        });
    }
    let is_complete = |document: &FindingsDocument| !is_proven || !document.findings.is_empty();
    let findings = common::ended_findings(scope, is_complete).findings;
    for finding in &findings {
        assert_ne!(finding.cause, Cause::Cpu, "{finding:#?}");
        assert_eq!(finding.evidence, Evidence::None, "{finding:#?}");
        let waited = finding.total + finding.split.not_own();
        assert!(waited >= WAIT * (finding.count as u32) - Duration::from_millis(1), "{finding:#?}");
        assert!(finding.split.on_cpu * 10 < finding.split.off_cpu, "{finding:#?}");
    }
    let found: Duration = findings.iter().map(|finding| finding.total).sum();
    let stalls: u64 = findings.iter().map(|finding| finding.count).sum();
    assert!(stalls <= u64::from(count) && found <= waited + count * WAIT, "{found:?} of {waited:?}");
    let captures = scope.snapshot().observer.captures;
    assert!(captures.contains(&("signal", 0)), "{captures:?}");
}

fn not_checked(what: &str) {
    common::not_checked(format_args!("{what}: {}", io::Error::last_os_error()));
}

/// Gives up root's privileges for good.
fn become_nobody() -> bool {
    unsafe {
        libc::setgroups(0, ptr::null()) == 0
            && libc::setresgid(NOBODY, NOBODY, NOBODY) == 0
            && libc::setresuid(NOBODY, NOBODY, NOBODY) == 0
    }
}

fn is_root() -> bool {
    unsafe { libc::getuid() == 0 }
}

/// Makes the mounts of this process its own.
fn unshare_mounts() -> bool {
    const PRIVATE: libc::c_ulong = libc::MS_REC | libc::MS_PRIVATE;
    unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), PRIVATE, ptr::null()) == 0
    }
}

#[test]
fn no_call_is_interrupted_in_a_process_that_is_not_dumpable() {
    run_scenario("not_dumpable");
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn not_dumpable() {
    if is_root() && !become_nobody() {
        return not_checked("a process that is not dumpable");
    }
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) }, 0);
    check(&scope());
}

/// A server starts as root, and gives up its privileges before it serves.
#[test]
fn no_call_is_interrupted_in_a_process_that_drops_privileges_after_the_start() {
    run_scenario("drops_privileges_after_start");
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn drops_privileges_after_start() {
    let scope = scope();
    if !is_root() || !become_nobody() {
        return not_checked("a process that drops its privileges");
    }
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) }, 0);
    check(&scope);
}

#[test]
fn no_call_is_interrupted_in_a_chroot_without_proc() {
    run_scenario("chroot");
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn chroot() {
    let directory = env::temp_dir().join(format!("loopscope-empty-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let scope = scope();
    let changed = std::os::unix::fs::chroot(&directory);
    let _ = fs::remove_dir(&directory);
    if changed.is_err() {
        return not_checked("a chroot");
    }
    env::set_current_dir("/").unwrap();
    check(&scope);
}

/// The program has a capability of its own, as servers on port 80 have it, and
/// is run by another user.
#[test]
fn no_call_is_interrupted_in_a_program_with_file_capabilities() {
    let directory = env::temp_dir().join(format!("loopscope-capability-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let program = directory.join("test");
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    let set = Command::new("setcap").arg("cap_net_bind_service+ep").arg(&program).status();
    if set.is_ok_and(|status| status.success()) && is_root() {
        let mut program = Command::new(&program);
        program.current_dir("/").uid(NOBODY).gid(NOBODY);
        common::run_scenario_of(program, "file_capabilities", common::SCENARIO_TIMEOUT);
    } else {
        not_checked("a program with file capabilities");
    }
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn file_capabilities() {
    if fs::File::open(format!("/proc/self/task/{}/syscall", std::process::id())).is_ok() {
        return not_checked("a program with file capabilities: its capabilities have no effect");
    }
    check(&scope());
}

#[test]
fn no_call_is_interrupted_where_proc_is_empty() {
    run_scenario("empty_proc");
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn empty_proc() {
    let (tmpfs, proc) = (c"tmpfs".as_ptr(), c"/proc".as_ptr());
    if !unshare_mounts() || unsafe { libc::mount(tmpfs, proc, tmpfs, 0, ptr::null()) } != 0 {
        return not_checked("an empty /proc");
    }
    check(&scope());
}

/// The process has ids of its own, and `/proc` shows those of its parent.
#[test]
fn no_call_is_interrupted_where_proc_belongs_to_another_pid_namespace() {
    run_scenario("enters_pid_namespace");
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn enters_pid_namespace() {
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
        return not_checked("a PID namespace");
    }
    run_scenario("foreign_proc");
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn foreign_proc() {
    assert_eq!(std::process::id(), 1, "the process is the first one of its namespace");
    check(&scope());
}

/// The sandbox is entered after the start, and refuses to open any file.
#[test]
fn no_call_is_interrupted_in_a_sandbox_that_opens_no_file() {
    run_scenario("no_open");
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn no_open() {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let scope = scope();
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![instruction(LOAD_NUMBER, 0, 0, 0)];
    for number in [libc::SYS_open, libc::SYS_openat, libc::SYS_openat2] {
        program.push(instruction(JUMP_IF_EQUAL, 0, 1, number as u32));
        program.push(instruction(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EACCES as u32));
    }
    program.push(instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_TSYNC,
                &raw const filter,
            ) == 0
    };
    if !set {
        return not_checked("a sandbox");
    }
    check(&scope);
}
