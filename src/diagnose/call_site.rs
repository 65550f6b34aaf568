//! The innermost frame of the application's own code, and the call it made.

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
        let name = |frame: &Frame| frame.function.rsplit("::").next().map(str::to_owned);
        self.callee.as_ref().and_then(name).is_some_and(|name| name.starts_with("poll"))
    }
}

/// Finds the application's innermost frame and the call it made.
pub(super) fn call_site(stack: &[Frame]) -> CallSite {
    let Some(index) = stack.iter().position(|frame| frame.kind == FrameKind::Application) else {
        // No frame of the application: the best known callee is the outermost
        // frame outside of the runtime.
        let callee = stack.iter().rev().find(|frame| frame.kind != FrameKind::Runtime);
        return CallSite { site: None, callee: callee.cloned() };
    };
    let Frame { function, file, line, recovered, .. } = stack[index].clone();
    let callee = stack[..index].iter().rev().find(|frame| !is_forwarding(&frame.function));
    CallSite { site: Some(Site { function, file, line, recovered }), callee: callee.cloned() }
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
    const FORWARDING_PREFIXES: [&str; 8] = [
        "core::ptr::drop_in_place",
        "core::mem::drop",
        "core::ops::function::",
        "<core::",
        "core::iter::",
        "core::option::",
        "core::result::",
        "<alloc::boxed::Box<",
    ];
    FORWARDING_PREFIXES.iter().any(|prefix| function.starts_with(prefix))
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
        let file = Some("src/a.rs".to_owned());
        Frame { function: function.to_owned(), file, line: Some(7), kind, recovered: false }
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
