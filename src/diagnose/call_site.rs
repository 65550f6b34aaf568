//! The innermost frame of the application's own code, and the call it made.

use crate::diagnose::{advice, names};
use crate::finding::{Frame, FrameKind, Site};

/// The application's line and the function that it called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CallSite {
    pub(super) site: Option<Site>,
    /// The frame that the site called; `None` if the site is the innermost
    /// frame.
    pub(super) callee: Option<Frame>,
}

impl CallSite {
    /// Returns whether the site polls a future or stream.
    pub(super) fn is_polling(&self) -> bool {
        self.callee.as_ref().is_some_and(is_polling)
    }
}

/// Finds the application's innermost frame and the call it made.
pub(super) fn call_site(stack: &[Frame]) -> CallSite {
    let called = called_part(stack);
    let is_call = |frame: &&Frame| !is_forwarding(&frame.function) && !names::is_nameless(&frame.function);
    let callee = match site_index(stack) {
        // A line that writes to stdout may do so through a logger, or through
        // formatting.
        Some(_) => called
            .iter()
            .rev()
            .find(|frame| advice::is_standard_output(&frame.function))
            .or_else(|| called.iter().rev().find(is_call)),
        None => called_by_runtime(called, is_call),
    };
    let site = site_index(stack).map(|index| {
        let Frame { function, file, line, .. } = stack[index].clone();
        Site { function: names::without_async_mark(&function).to_owned(), file, line }
    });
    let callee = callee.cloned().map(|mut frame| {
        frame.function = names::without_async_mark(&frame.function).to_owned();
        frame
    });
    CallSite { site, callee }
}

/// Returns the index of the application's innermost frame.
pub(super) fn site_index(stack: &[Frame]) -> Option<usize> {
    // A backtrace is printed by crates that may also be the application's.
    let backtrace = stack.iter().rposition(|frame| is_backtrace(&frame.function));
    let begin = backtrace.map_or(0, |index| index + 1);
    let index = stack[begin..].iter().position(|frame| frame.kind == FrameKind::Application)?;
    Some(begin + index)
}

/// Returns the frames that the site has called or, if there is no site, those
/// that the runtime has called.
pub(super) fn called_part(stack: &[Frame]) -> &[Frame] {
    match site_index(stack) {
        Some(index) => &stack[..index],
        None => &stack[..polling_index(stack)],
    }
}

/// Returns the index of the innermost frame of the runtime that polls a task
/// with code that is not the runtime's. Everything outside of that frame is the
/// same for every task.
pub(super) fn polling_index(stack: &[Frame]) -> usize {
    const POLLING_PREFIXES: [&str; 7] = [
        "tokio::runtime::",
        "<tokio::runtime::",
        "tokio::task::local::",
        "<tokio::task::local::",
        "tokio::park::",
        "loopscope::instrument::",
        "<loopscope::instrument::",
    ];
    let is_poller = |frame: &Frame| {
        frame.kind == FrameKind::Runtime
            && POLLING_PREFIXES.iter().any(|prefix| frame.function.starts_with(prefix))
    };
    let pollers = || stack.iter().enumerate().filter(|(_, frame)| is_poller(frame)).map(|(index, _)| index);
    // A dependency may itself call a `block_on` of the runtime.
    let has = |index: usize, kind| stack[..index].iter().any(|frame| frame.kind == kind);
    let outer = pollers().find(|index| has(*index, FrameKind::Dependency));
    let first = || pollers().find(|index| has(*index, FrameKind::Std) || has(*index, FrameKind::Native));
    outer.or_else(first).or_else(|| pollers().next()).unwrap_or(stack.len())
}

/// Returns the call that a poll without a frame of the application made: the
/// outermost function of a dependency that is called, not polled. Frameworks
/// poll each other through many layers, which are the same for all requests.
fn called_by_runtime<'s>(called: &'s [Frame], is_call: impl Fn(&&Frame) -> bool) -> Option<&'s Frame> {
    let is_dependency = |frame: &&Frame| frame.kind == FrameKind::Dependency;
    let polled = called.iter().position(|frame| is_dependency(&frame) && is_polling(frame));
    let inside = &called[..polled.unwrap_or(called.len())];
    let of_kind = |kind| inside.iter().rev().find(|frame| frame.kind == kind && is_call(frame));
    of_kind(FrameKind::Dependency)
        .or_else(|| called.iter().find(|frame| is_dependency(frame) && is_call(frame)))
        .or_else(|| of_kind(FrameKind::Std))
        .or_else(|| called.iter().find(|frame| frame.kind == FrameKind::Native && is_call(frame)))
}

fn is_polling(frame: &Frame) -> bool {
    let last = frame.function.rsplit("::").next().unwrap_or_default();
    names::is_async(&frame.function) || last.starts_with("poll") || last == "try_poll"
}

/// Returns whether the function captures or prints a backtrace.
pub(super) fn is_backtrace(function: &str) -> bool {
    const BACKTRACE_PREFIXES: [&str; 4] = [
        "std::panicking::default_hook",
        "std::sys::backtrace::BacktraceLock",
        "std::backtrace::Backtrace",
        "backtrace::capture::Backtrace",
    ];
    BACKTRACE_PREFIXES.iter().any(|prefix| function.starts_with(prefix))
}

/// Returns whether one of the frames waits for a tick of an interval.
pub(super) fn is_in_interval(stack: &[Frame]) -> bool {
    let is_interval = |frame: &Frame| frame.function.contains("tokio::time::interval::");
    called_part(stack).iter().any(is_interval)
}

/// Returns whether the program has symbols, if none of its frames on the stack
/// has a line. `None` if there are lines, or no stack.
pub(super) fn missing_lines(stack: &[Frame]) -> Option<bool> {
    let is_foreign = |frame: &&Frame| matches!(frame.kind, FrameKind::Std | FrameKind::Native);
    let has_lines = stack.iter().filter(|frame| !is_foreign(frame)).any(|frame| frame.line.is_some());
    let has_symbols = stack.iter().any(|frame| frame.function.contains("::"));
    (!stack.is_empty() && !has_lines).then_some(has_symbols)
}

/// Returns whether the site is inside of a `Drop`, where nothing can be
/// awaited.
pub(super) fn is_in_drop(stack: &[Frame]) -> bool {
    let Some(index) = site_index(stack) else { return false };
    let outside = stack[index..].iter();
    // Closures of the same function may be in between.
    let mut outside = outside.take_while(|frame| frame.kind != FrameKind::Runtime).take(6);
    outside.any(|frame| {
        let function = names::without_async_mark(&frame.function);
        let is_drop = frame.kind == FrameKind::Application && function.ends_with("::drop");
        is_drop || function.starts_with("core::ptr::drop_in_place")
    })
}

/// Returns whether the stack is inside `block_in_place`. Blocking there is no
/// stall, because the worker's other tasks move to another thread first. That
/// thread also has a function of this name on its stack, but not the public
/// one.
pub(super) fn has_block_in_place(stack: &[Frame]) -> bool {
    stack.iter().filter(|frame| frame.kind == FrameKind::Runtime).any(|frame| {
        let is_public = match &frame.file {
            Some(file) => file.ends_with("task/blocking.rs"),
            None => frame.function.contains("task::blocking::"),
        };
        is_public && frame.function.contains("block_in_place")
    })
}

/// Returns whether the thread waits for the allocator's own lock. That lock is
/// held for less than a microsecond, or while the kernel maps memory. A thread
/// that waits longer waits for a holder that has no CPU; no line of the
/// application is the cause.
pub(super) fn is_waiting_for_allocator(stack: &[Frame]) -> bool {
    const ALLOCATOR_FUNCTIONS: [&str; 9] = [
        "malloc",
        "calloc",
        "realloc",
        "free",
        "cfree",
        "aligned_alloc",
        "posix_memalign",
        "__libc_memalign",
        "__lll_lock_wait_private",
    ];
    let native = stack.iter().take_while(|frame| frame.kind == FrameKind::Native);
    native.into_iter().any(|frame| ALLOCATOR_FUNCTIONS.contains(&&*frame.function))
}

/// Returns whether the function only forwards a call.
fn is_forwarding(function: &str) -> bool {
    const FORWARDING_PREFIXES: [&str; 24] = [
        "core::ptr::drop_in_place",
        "core::mem::drop",
        "core::ops::function::",
        "<core::",
        "core::iter::",
        "core::option::",
        "core::result::",
        "core::array::",
        "core::panic::",
        "<alloc::boxed::Box",
        "alloc::boxed::",
        "std::panic::",
        "std::panicking::",
        "std::thread::local::",
        "__rust_try",
        // What distributes log records to a logger.
        "log::",
        "tracing::macros::",
        "tracing::span::",
        "tracing_core::",
        "tracing_log::",
        "tracing_subscriber::filter::",
        "tracing_subscriber::layer::",
        "tracing_subscriber::registry::",
        "<tracing_subscriber::layer::",
    ];
    FORWARDING_PREFIXES.iter().any(|prefix| function.starts_with(prefix)) || is_iteration(function)
}

/// Returns whether the function is std's and only takes each item of an
/// iterator: the iterator decides how long that takes.
fn is_iteration(function: &str) -> bool {
    const ITERATING_METHODS: [&str; 11] = [
        "collect",
        "extend",
        "extend_desugared",
        "extend_trusted",
        "fold",
        "for_each",
        "from_iter",
        "next",
        "spec_extend",
        "try_fold",
        "try_process",
    ];
    let is_std = ["alloc::", "<alloc::", "std::collections::", "<std::collections::"]
        .iter()
        .any(|prefix| function.starts_with(prefix));
    is_std && function.rsplit("::").next().is_some_and(|method| ITERATING_METHODS.contains(&method))
}

/// Returns whether the function occurs in every computation, so that it is
/// never the reason why one takes long.
pub(super) fn is_ubiquitous(function: &str) -> bool {
    const UBIQUITOUS_PREFIXES: [&str; 12] = [
        "core::array",
        "core::cmp",
        "core::hint",
        "core::intrinsics",
        "core::mem",
        "core::num",
        "core::ops",
        "core::ptr",
        "core::slice::index",
        "core::slice::iter",
        "core::time",
        "std::time",
    ];
    is_forwarding(function) || UBIQUITOUS_PREFIXES.iter().any(|prefix| function.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, kind: FrameKind) -> Frame {
        Frame { function: function.to_owned(), file: Some("src/a.rs".to_owned()), line: Some(7), kind }
    }

    #[test]
    fn the_site_is_the_innermost_application_frame_and_the_callee_its_call() {
        let stack = [
            frame("clock_nanosleep", FrameKind::Native),
            frame("std::thread::sleep", FrameKind::Std),
            frame("app::throttle", FrameKind::Application),
            frame("app::session", FrameKind::Application),
            frame("tokio::runtime::task::poll", FrameKind::Runtime),
        ];
        let call_site = call_site(&stack);
        assert_eq!(call_site.site.unwrap().function, "app::throttle");
        assert_eq!(call_site.callee.unwrap().function, "std::thread::sleep");
        assert!(!has_block_in_place(&stack));
    }

    #[test]
    fn without_an_application_frame_there_is_no_site() {
        let stack =
            [frame("clock_nanosleep", FrameKind::Native), frame("std::thread::sleep", FrameKind::Std)];
        let call_site = call_site(&stack);
        assert_eq!(call_site.site, None);
        assert_eq!(call_site.callee.unwrap().function, "std::thread::sleep");
    }

    #[test]
    fn only_a_wait_inside_the_allocator_is_for_its_lock() {
        let stack = [
            frame("__lll_lock_wait_private", FrameKind::Native),
            frame("cfree", FrameKind::Native),
            frame("alloc::alloc::dealloc", FrameKind::Std),
            frame("app::session", FrameKind::Application),
        ];
        assert!(is_waiting_for_allocator(&stack));
        assert!(is_waiting_for_allocator(&stack[1..]));
        assert!(!is_waiting_for_allocator(&stack[2..]));
        let lock = [
            frame("syscall", FrameKind::Native),
            frame("std::sync::Mutex::lock", FrameKind::Std),
            frame("malloc", FrameKind::Native),
        ];
        assert!(!is_waiting_for_allocator(&lock));
    }

    #[test]
    fn only_the_public_block_in_place_is_recognised() {
        let mut stack = [
            frame("app::work", FrameKind::Application),
            frame("tokio::task::blocking::block_in_place", FrameKind::Runtime),
        ];
        stack[1].file = None;
        assert!(has_block_in_place(&stack));
        stack[1].file = Some("tokio-1.54.1/src/task/blocking.rs".to_owned());
        assert!(has_block_in_place(&stack));
        stack[1].file = Some("tokio-1.54.1/src/runtime/scheduler/multi_thread/worker.rs".to_owned());
        assert!(!has_block_in_place(&stack));
    }
}
