//! Where a thread of a runtime is, by the functions on its stack.

use crate::finding::Frame;

/// Where a waiting thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A thread of a runtime waits for work.
    Idle,
    /// A thread of a runtime is in the poll of a task or of a root future.
    InPoll,
    /// Elsewhere: a job of the blocking pool, or a thread without a runtime.
    Elsewhere,
    /// The stack does not show it.
    Unknown,
}

/// What a thread of a runtime is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoopKind {
    /// A worker of a multi-thread runtime.
    Worker,
    /// The thread of a `block_on`.
    BlockOn,
}

/// Functions that run the event loop of a thread. Everything that the thread
/// does for a task is further inside.
const LOOPS: [(&str, LoopKind); 5] = [
    ("multi_thread::worker::run", LoopKind::Worker),
    ("multi_thread_alt::worker::run", LoopKind::Worker),
    ("current_thread::CoreGuard", LoopKind::BlockOn),
    ("CachedParkThread::block_on", LoopKind::BlockOn),
    ("current_thread::CurrentThread::block_on", LoopKind::BlockOn),
];
/// Functions in which such a thread waits for work.
const PARKS: [&str; 8] = [
    "worker::Context::park",
    "multi_thread::park::",
    "current_thread::Context::park",
    "CachedParkThread::park",
    "runtime::driver::Driver::park",
    "runtime::driver::IoStack::park",
    "runtime::io::driver::Driver::turn",
    "runtime::time::Driver::park",
];
/// Functions that poll a task, or the root future.
const POLLS: [&str; 6] = [
    "runtime::task::raw::poll",
    "runtime::task::harness::",
    "runtime::task::core::Core",
    "Context::run_task",
    "CachedParkThread::block_on",
    "current_thread::CoreGuard",
];

/// Returns where a thread with this stack is, innermost frame first, and what
/// it is if it runs an event loop.
pub(super) fn place(stack: &[Frame]) -> (Place, Option<LoopKind>) {
    let found = stack.iter().enumerate().find_map(|(index, frame)| {
        let (_, kind) = LOOPS.iter().find(|(name, _)| is_of_tokio(&frame.function, name))?;
        Some((index, *kind))
    });
    let Some((loop_index, kind)) = found else {
        let is_named = stack.iter().any(|frame| frame.function.starts_with("tokio::"));
        return (if is_named { Place::Elsewhere } else { Place::Unknown }, None);
    };
    let inside = &stack[..=loop_index];
    let is_any = |frame: &Frame, names: &[&str]| names.iter().any(|name| is_of_tokio(&frame.function, name));
    let innermost = inside.iter().find_map(|frame| match frame {
        frame if is_any(frame, &PARKS) => Some(Place::Idle),
        frame if is_any(frame, &POLLS) => Some(Place::InPoll),
        _ => None,
    });
    // A poll may itself park the thread: with a `block_on` of its own.
    let is_in_task = inside.iter().any(|frame| is_of_tokio(&frame.function, "runtime::task::"));
    match innermost {
        Some(Place::Idle) if is_in_task => (Place::InPoll, Some(kind)),
        Some(place) => (place, Some(kind)),
        None => (Place::Unknown, Some(kind)),
    }
}

fn is_of_tokio(function: &str, part: &str) -> bool {
    let function = function.strip_prefix('<').unwrap_or(function);
    function.starts_with("tokio::") && function.contains(part)
}
