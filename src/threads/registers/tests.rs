use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use super::*;
use crate::capture::unwind::Unwinder;
use crate::os;
use crate::watchdog::procfs::ProcReader;

const SAMPLE_TIMEOUT: Duration = Duration::from_millis(200);

/// A test of this program that runs as a process of its own, and its first
/// line of output that has numbers.
struct Scenario(Child, Vec<i32>);

impl Scenario {
    fn start(name: &str, argument: i32) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", &format!("threads::registers::tests::{name}"), "--ignored", "--nocapture"]);
        command.env("LOOPSCOPE_TEST_THREAD", argument.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let numbers =
            lines.find_map(|line| line.rsplit_once("ready ").map(|(_, numbers)| numbers.to_owned()));
        let numbers = numbers.unwrap().split(' ').map(|number| number.parse().unwrap()).collect();
        Self(child, numbers)
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ready(numbers: &[i32]) -> ! {
    let numbers: Vec<_> = numbers.iter().map(i32::to_string).collect();
    println!("ready {}", numbers.join(" "));
    let _ = io::stdin().read_line(&mut String::new());
    std::process::exit(0);
}

fn tid() -> i32 {
    os::current_thread().unwrap().tid
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

#[inline(never)]
fn computes() {
    loop {
        NUMBER.fetch_add(1, Relaxed);
    }
}

/// One thread computes, one sleeps.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn a_computation() {
    // The tracer is no parent of this process.
    os::permit_readers();
    let (send, receive) = std::sync::mpsc::channel();
    let sender = send.clone();
    thread::spawn(move || {
        sender.send(tid()).unwrap();
        computes();
    });
    let computing = receive.recv().unwrap();
    thread::spawn(move || {
        send.send(tid()).unwrap();
        thread::sleep(Duration::from_secs(100_000));
    });
    let address = NUMBER.as_ptr().addr();
    let sleeping = receive.recv().unwrap();
    ready(&[std::process::id() as i32, computing, sleeping, address as i32, (address >> 32) as i32]);
}

/// Stops a thread and holds it.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn a_tracer() {
    let tid = env::var("LOOPSCOPE_TEST_THREAD").unwrap().parse().unwrap();
    let stopped = interrupt::Stopped::new(tid, Duration::from_secs(60));
    ready(&[i32::from(stopped.is_some())]);
}

fn reads_the_line_of(copy: impl Fn(Process, i32, &MemoryMap) -> Option<CopiedStack>) {
    let target = Scenario::start("a_computation", 0);
    let [pid, computing, sleeping, ..] = target.1[..] else { panic!("{:?}", target.1) };
    let process = Process::Other(pid);
    let map = MemoryMap::of(process);
    let begin = Instant::now();
    // On a busy machine the thread may not get a CPU in time.
    let stack = loop {
        if let Some(stack) = copy(process, computing, &map) {
            break stack;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "the thread was never read");
    };
    let mut unwinder = Unwinder::new(process);
    let unwound = unwinder.unwind(&stack);
    assert!(unwound.is_confirmed, "{unwound:x?}");
    // The child runs this program, so its functions have the same places in it.
    let places = |process, address| {
        let mut unwinder = Unwinder::new(process);
        unwinder.list_modules();
        let module = unwinder.module_of(address).unwrap();
        (module.file.path.clone(), address - module.bias)
    };
    let (path, start) = places(Process::Own, computes as fn() as usize as u64);
    let is_in_loop = |address: &u64| {
        let (other_path, other) = places(process, *address);
        other_path == path && other.checked_sub(start).is_some_and(|offset| offset < 200)
    };
    assert!(unwound.addresses.iter().take(3).any(is_in_loop), "{unwound:x?}");
    assert!(copy(process, sleeping, &map).is_none(), "a thread that sleeps has no registers to read");
    assert_eq!(traced_by(pid, computing), Some(0));
    let cpu_time = || ProcReader::new(process, computing).times(&crate::record::clock::Clock::new());
    let before = cpu_time().unwrap().cpu_nanos;
    while cpu_time().unwrap().cpu_nanos == before {
        assert!(begin.elapsed() < Duration::from_secs(60), "the thread does not run on");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_write_of_a_thread_is_noted_and_that_of_others_is_not() {
    let target = Scenario::start("a_computation", 0);
    let [pid, computing, sleeping, low, high] = target.1[..] else { panic!("{:?}", target.1) };
    let process = Process::Other(pid);
    let address = u64::from(high as u32) << 32 | u64::from(low as u32);
    let guard = |tid, address| WriteGuard::new(process, tid, address);
    let Some(written) = guard(computing, address) else {
        not_checked("writes of a thread, which the kernel does not note");
        return;
    };
    let next_word = guard(computing, address + 8).unwrap();
    let other_thread = guard(sleeping, address).unwrap();
    let begin = Instant::now();
    while written.is_unwritten() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the write is not noted");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(next_word.is_unwritten());
    assert!(other_thread.is_unwritten());
    assert!(WriteGuard::new(Process::Own, tid(), address).is_none());
}

fn traced_by(pid: i32, tid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim().parse().ok()
}

#[test]
fn a_sample_has_the_line_of_a_computation_and_none_of_a_sleep() {
    if let Err(error) = sample::copy(tid(), SAMPLE_TIMEOUT) {
        not_checked(&format!("samples, which the kernel refuses: {error}"));
        return;
    }
    reads_the_line_of(|_, tid, _| sample::copy(tid, SAMPLE_TIMEOUT).unwrap());
}

#[test]
fn a_stop_has_the_line_of_a_computation_and_none_of_a_sleep() {
    reads_the_line_of(interrupt::copy);
}

#[test]
fn a_stopped_thread_runs_on_when_the_tracer_is_killed() {
    let target = Scenario::start("a_computation", 0);
    let [pid, computing, ..] = target.1[..] else { panic!("{:?}", target.1) };
    let mut tracer = Scenario::start("a_tracer", computing);
    assert_eq!(tracer.1, [1], "the thread was not stopped");
    assert_ne!(traced_by(pid, computing), Some(0));
    let reader = ProcReader::new(Process::Other(pid), computing);
    assert_eq!(reader.state(), Some(b't'));
    tracer.0.kill().unwrap();
    tracer.0.wait().unwrap();
    let begin = Instant::now();
    while reader.state() != Some(b'R') || traced_by(pid, computing) != Some(0) {
        assert!(begin.elapsed() < Duration::from_secs(60), "the thread does not run on");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn threads_that_do_not_exist_are_not_read() {
    let map = MemoryMap::default();
    let gone = Process::Other(i32::MAX - 1);
    for registers in [Registers::Passive, Registers::Sample, Registers::Interrupt] {
        assert!(copy_running(gone, i32::MAX - 1, registers, &map, SAMPLE_TIMEOUT).is_none());
        assert!(copy_running(Process::Own, tid(), registers, &map, SAMPLE_TIMEOUT).is_none());
    }
}

fn not_checked(what: &str) {
    use std::io::Write as _;
    let _ = io::stderr().write_all(format!("NOT CHECKED: {what}\n").as_bytes());
}
