//! Whose line it is: the innermost frame of the application's own code, and
//! the call it made.

use crate::finding::{Frame, FrameKind, Site};

/// What a stack says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) site: Option<Site>,
    /// The frame that the site called; none where the site itself is innermost.
    pub(crate) called: Option<Frame>,
}

impl Place {
    /// Whether the site polls a future or stream.
    pub(crate) fn polls(&self) -> bool {
        let name = |frame: &Frame| frame.function.rsplit("::").next().map(str::to_owned);
        self.called.as_ref().and_then(name).is_some_and(|name| name.starts_with("poll"))
    }
}

/// Looks for the application's innermost frame.
pub(crate) fn place(stack: &[Frame]) -> Place {
    let Some(index) = stack.iter().position(|frame| frame.kind == FrameKind::Application) else {
        // Known only from inside: the outermost frame that is no runtime's.
        let called = stack.iter().rev().find(|frame| frame.kind != FrameKind::Runtime);
        return Place { site: None, called: called.cloned() };
    };
    let Frame { function, file, line, .. } = stack[index].clone();
    let called = stack[..index].iter().rev().find(|frame| !is_glue(&frame.function));
    Place { site: Some(Site { function, file, line }), called: called.cloned() }
}

/// Whether a stall on this stack is nobody's fault: `block_in_place` hands the
/// worker's other tasks over before it blocks. The thread that takes them over
/// has a function of that name below it as well, but not the public one.
pub(crate) fn is_allowed(stack: &[Frame]) -> bool {
    stack.iter().filter(|frame| frame.kind == FrameKind::Runtime).any(|frame| {
        let is_public = match &frame.file {
            Some(file) => file.ends_with("task/blocking.rs"),
            None => frame.function.contains("task::blocking::"),
        };
        is_public && frame.function.contains("block_in_place")
    })
}

/// Whether the thread waits for the allocator's own lock. That is held for less
/// than a microsecond, or while the kernel maps memory: who waits longer waits
/// for a holder that has no CPU, and no line of the application is to blame.
pub(crate) fn waits_for_allocator(stack: &[Frame]) -> bool {
    const ALLOCATOR: [&str; 9] = [
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
    native.into_iter().any(|frame| ALLOCATOR.contains(&&*frame.function))
}

/// Frames that only pass a call on.
fn is_glue(function: &str) -> bool {
    const GLUE: [&str; 8] = [
        "core::ptr::drop_in_place",
        "core::mem::drop",
        "core::ops::function::",
        "<core::",
        "core::iter::",
        "core::option::",
        "core::result::",
        "<alloc::boxed::Box<",
    ];
    GLUE.iter().any(|prefix| function.starts_with(prefix))
}

/// Functions that are everywhere in any computation, and never the reason why
/// it takes long.
pub(crate) fn is_elementary(function: &str) -> bool {
    const ELEMENTARY: [&str; 12] = [
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
    is_glue(function) || ELEMENTARY.iter().any(|prefix| function.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, kind: FrameKind) -> Frame {
        Frame { function: function.to_owned(), file: Some("src/a.rs".to_owned()), line: Some(7), kind }
    }

    #[test]
    fn the_innermost_line_of_the_application_and_its_call() {
        let stack = [
            frame("clock_nanosleep", FrameKind::Native),
            frame("std::thread::sleep", FrameKind::Std),
            frame("app::throttle", FrameKind::Application),
            frame("app::session", FrameKind::Application),
            frame("tokio::runtime::task::poll", FrameKind::Runtime),
        ];
        let place = place(&stack);
        assert_eq!(place.site.unwrap().function, "app::throttle");
        assert_eq!(place.called.unwrap().function, "std::thread::sleep");
        assert!(!is_allowed(&stack));
    }

    #[test]
    fn without_an_application_frame_there_is_no_site() {
        let stack =
            [frame("clock_nanosleep", FrameKind::Native), frame("std::thread::sleep", FrameKind::Std)];
        let place = place(&stack);
        assert_eq!(place.site, None);
        assert_eq!(place.called.unwrap().function, "std::thread::sleep");
    }

    #[test]
    fn only_a_wait_inside_of_the_allocator_is_for_it() {
        let stack = [
            frame("__lll_lock_wait_private", FrameKind::Native),
            frame("cfree", FrameKind::Native),
            frame("alloc::alloc::dealloc", FrameKind::Std),
            frame("app::session", FrameKind::Application),
        ];
        assert!(waits_for_allocator(&stack));
        assert!(waits_for_allocator(&stack[1..]));
        assert!(!waits_for_allocator(&stack[2..]));
        let lock = [
            frame("syscall", FrameKind::Native),
            frame("std::sync::Mutex::lock", FrameKind::Std),
            frame("malloc", FrameKind::Native),
        ];
        assert!(!waits_for_allocator(&lock));
    }

    #[test]
    fn block_in_place_is_allowed() {
        let mut stack = [
            frame("app::work", FrameKind::Application),
            frame("tokio::task::blocking::block_in_place", FrameKind::Runtime),
        ];
        stack[1].file = None;
        assert!(is_allowed(&stack));
        stack[1].file = Some("tokio-1.54.1/src/task/blocking.rs".to_owned());
        assert!(is_allowed(&stack));
        stack[1].file = Some("tokio-1.54.1/src/runtime/scheduler/multi_thread/worker.rs".to_owned());
        assert!(!is_allowed(&stack));
    }
}
