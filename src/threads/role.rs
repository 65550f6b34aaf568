//! What a thread is for and what it does, by the functions on its stack.

use crate::attach::document::{PsRole, PsThreadState};
use crate::evidence::CallInfo;
use crate::finding::{Frame, FrameKind};
use crate::watchdog::sample::ThreadActivity;

/// The names that Tokio gives to its threads, as the kernel cuts them: in newer
/// and in older versions.
const RUNTIME_NAMES: [&str; 2] = ["tokio-rt-worker", "tokio-runtime-w"];

/// What `/proc` says of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It runs or waits for a CPU.
    Runs,
    /// It waits for I/O on many descriptors.
    WaitsForIo,
    /// It waits on a futex.
    WaitsOnFutex,
    /// It waits in another system call.
    Waits,
    /// Nothing is known.
    Unknown,
}

impl Activity {
    /// Returns what a thread does that has this activity, in this call.
    pub(crate) fn new(activity: ThreadActivity, call: Option<&CallInfo>) -> Self {
        match (activity, call) {
            (ThreadActivity::Running, _) => Self::Runs,
            (ThreadActivity::InSyscall(_), Some(call))
                if call.name.starts_with("epoll_") || call.name == "io_uring_enter" =>
            {
                Self::WaitsForIo
            }
            (ThreadActivity::InSyscall(_), Some(call)) if call.name == "futex" => Self::WaitsOnFutex,
            (ThreadActivity::InSyscall(_), _) => Self::Waits,
            (ThreadActivity::OutsideSyscall | ThreadActivity::Unknown, _) => Self::Unknown,
        }
    }
}

/// The stack of a thread, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StackView<'s> {
    /// Innermost first.
    pub(crate) frames: &'s [Frame],
    /// Whether it reaches the first frame of the thread, and has the names of
    /// inlined functions. A function that is not on it is not called then.
    pub(crate) is_complete: bool,
}

/// What a thread is for and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) role: PsRole,
    pub(crate) state: PsThreadState,
    /// The number of innermost frames that the runtime has called: those that
    /// may have a line of the application that blocks.
    pub(crate) called: usize,
}

/// Returns what the thread named `name` is for and what it does.
pub(crate) fn placement(name: &str, stack: StackView<'_>, activity: Activity) -> Placement {
    let frames = stack.frames;
    let position = |is: fn(&Frame) -> bool| frames.iter().position(is);
    let poll = position(is_poll);
    let (role, boundary) = match (position(is_worker), position(is_pool)) {
        // A worker is a job of the blocking pool. One that has called
        // `block_in_place` has left its tasks to another thread.
        (Some(worker), _) if frames[..worker].iter().any(is_block_in_place) => {
            (PsRole::Blocking, poll.unwrap_or(worker))
        }
        (Some(worker), _) => (PsRole::Worker, worker),
        (None, Some(pool)) => (PsRole::Blocking, pool),
        (None, None) => match position(is_block_on) {
            Some(block_on) if !is_in_blocking_method(&frames[block_on..]) => (PsRole::BlockOn, block_on),
            _ if !stack.is_complete && RUNTIME_NAMES.contains(&name) => match poll {
                // Workers and jobs are polled by the loop of the pool, which
                // may be inlined. What a worker polls is polled within.
                Some(poll) if frames[poll + 1..].iter().any(is_poll) => (PsRole::Worker, poll + 1),
                Some(poll) if frames[..poll].iter().any(is_of_program) => (PsRole::Blocking, poll + 1),
                _ => (PsRole::Runtime, 0),
            },
            _ => (PsRole::Other, frames.len()),
        },
    };
    let poll = poll.filter(|poll| *poll < boundary);
    let waits = is_waiting_place(&frames[..frames.len().min(boundary + 1)]);
    let state = match (role, activity) {
        (_, Activity::Unknown) => PsThreadState::Unknown,
        (PsRole::Runtime, Activity::Runs) => PsThreadState::Running,
        (PsRole::Runtime, Activity::WaitsForIo) => PsThreadState::DrivingIo,
        // It may be parked, or blocked.
        (PsRole::Runtime, Activity::WaitsOnFutex | Activity::Waits) => PsThreadState::Unknown,
        (PsRole::Worker | PsRole::BlockOn, Activity::Runs) if poll.is_some() => PsThreadState::Polling,
        (PsRole::BlockOn, Activity::Runs) if !waits => PsThreadState::Polling,
        (_, Activity::Runs) => PsThreadState::Running,
        (PsRole::Worker, _) if poll.is_some() => PsThreadState::Blocked,
        (PsRole::Worker | PsRole::BlockOn, Activity::WaitsForIo) if waits && poll.is_none() => {
            PsThreadState::DrivingIo
        }
        (PsRole::Worker | PsRole::BlockOn, Activity::WaitsOnFutex) if waits && poll.is_none() => {
            PsThreadState::Parked
        }
        (PsRole::BlockOn, _) => PsThreadState::Blocked,
        (PsRole::Blocking, Activity::WaitsOnFutex) if waits && poll.is_none() => PsThreadState::Parked,
        (PsRole::Other, _) if !stack.is_complete => PsThreadState::Unknown,
        (PsRole::Worker | PsRole::Blocking | PsRole::Other, _) => PsThreadState::Waiting,
    };
    Placement { role, state, called: poll.unwrap_or(boundary) }
}

/// Returns whether the innermost function of the runtime waits for work, and
/// was not called by anything else. `frames` end with the function that runs
/// the loop.
fn is_waiting_place(frames: &[Frame]) -> bool {
    const WAITING_MODULES: [&str; 9] = [
        "tokio::runtime::scheduler::",
        "tokio::runtime::driver::",
        "tokio::runtime::io::",
        "tokio::runtime::time::",
        "tokio::runtime::process::",
        "tokio::runtime::signal::",
        "tokio::runtime::park::",
        "tokio::runtime::blocking::",
        // They are called by the modules above.
        "tokio::loom::",
    ];
    // What waits on behalf of the runtime.
    const WAITING_CRATES: [&str; 3] = ["mio::", "parking_lot::", "parking_lot_core::"];
    let is_below = |frame: &&Frame| {
        matches!(frame.kind, FrameKind::Std | FrameKind::Native)
            || WAITING_CRATES.iter().any(|name| path_of(frame).starts_with(name))
    };
    // A lock inside of Tokio is no wait for work.
    let is_locking =
        |frame: &Frame| ["lock_contended", "lock_slow", "lock_shared_slow"].contains(&last_part(frame));
    if frames.iter().take_while(is_below).any(is_locking) {
        return false;
    }
    let mut own = frames.iter().skip_while(is_below);
    own.next().is_some_and(|frame| {
        frame.kind == FrameKind::Runtime
            && WAITING_MODULES.iter().any(|module| path_of(frame).starts_with(module))
    })
}

/// Returns the path of the function, without the bracket of `<Type as Trait>`.
fn path_of(frame: &Frame) -> &str {
    frame.function.trim_start_matches(['<', '&'])
}

fn last_part(frame: &Frame) -> &str {
    frame.function.rsplit("::").next().unwrap_or_default()
}

/// Returns whether the function is one of these, in one of these modules.
fn is_in(frame: &Frame, modules: &[&str], functions: &[&str]) -> bool {
    frame.kind == FrameKind::Runtime
        && functions.contains(&last_part(frame))
        && modules.iter().any(|module| path_of(frame).starts_with(module))
}

/// Returns whether the function runs the loop of a worker.
fn is_worker(frame: &Frame) -> bool {
    const MODULES: [&str; 2] = [
        "tokio::runtime::scheduler::multi_thread::worker::",
        "tokio::runtime::scheduler::multi_thread_alt::worker::",
    ];
    const FUNCTIONS: [&str; 6] = ["run", "run_task", "park", "park_internal", "park_timeout", "park_yield"];
    is_in(frame, &MODULES, &FUNCTIONS)
}

/// Returns whether the function polls a task. The table of each task points to
/// `raw::poll`, so it is never inlined into its caller.
pub(crate) fn is_poll(frame: &Frame) -> bool {
    const MODULES: [&str; 2] = ["tokio::runtime::task::raw::", "tokio::runtime::task::harness::"];
    is_in(frame, &MODULES, &["poll", "poll_inner", "poll_future"])
}

/// Returns whether the function runs the loop of a thread of the blocking pool.
fn is_pool(frame: &Frame) -> bool {
    const MODULES: [&str; 2] = ["tokio::runtime::blocking::pool::", "tokio::runtime::blocking::sharded::"];
    is_in(frame, &MODULES, &["run", "run_worker", "worker_loop"])
}

/// Returns whether the function enters a runtime to run a future on this
/// thread, or is called only while that is done.
fn is_block_on(frame: &Frame) -> bool {
    const LOOPS: [&str; 3] = [
        "tokio::runtime::scheduler::current_thread::",
        "tokio::runtime::park::CachedParkThread::",
        "tokio::task::local::LocalSet::",
    ];
    const PARTS_OF_LOOPS: [&str; 6] =
        ["run_task", "park", "park_internal", "park_yield", "park_timeout", "tick"];
    let is_entry = || {
        frame.kind == FrameKind::Runtime
            && path_of(frame).starts_with("tokio::")
            && (last_part(frame).starts_with("block_on") || last_part(frame) == "enter_runtime")
    };
    is_entry() || is_in(frame, &LOOPS, &PARTS_OF_LOOPS)
}

fn is_of_program(frame: &Frame) -> bool {
    matches!(frame.kind, FrameKind::Application | FrameKind::Dependency)
}

/// Returns whether a job of the blocking pool with this stack runs a future
/// with `block_on`. A job that waits for one message or lock does not.
pub(crate) fn is_block_on_in_job(frames: &[Frame]) -> bool {
    // A worker, which may have called `block_in_place`, has entered its runtime
    // in the same way.
    let job = &frames[..frames.iter().position(is_worker).unwrap_or(frames.len())];
    let block_on = job.iter().position(is_block_on);
    block_on.is_some_and(|block_on| !is_in_blocking_method(&job[block_on..]))
}

/// Returns whether the runtime's functions, which begin with a `block_on`, wait
/// for one message or lock, such as `blocking_recv`. They run no future of the
/// application then.
fn is_in_blocking_method(frames: &[Frame]) -> bool {
    let is_blocking_method = |frame: &Frame| {
        path_of(frame).starts_with("tokio::sync::") && last_part(frame).starts_with("blocking_")
    };
    let is_of_runtime = |frame: &&Frame| matches!(frame.kind, FrameKind::Runtime | FrameKind::Std);
    frames.iter().take_while(is_of_runtime).any(is_blocking_method)
}

fn is_block_in_place(frame: &Frame) -> bool {
    frame.kind == FrameKind::Runtime
        && path_of(frame).starts_with("tokio::task::blocking::")
        && last_part(frame) == "block_in_place"
}
