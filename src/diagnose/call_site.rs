//! The innermost frame of the application's own code, and the call it made.

use crate::diagnose::{advice, forwarding, names, public_path};
use crate::finding::{Frame, FrameKind, Site};

/// The application's line and the function that it called. Neither has a
/// column, so that captures of one line compare equal: see [`column`].
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
    let is_call =
        |frame: &&Frame| !forwarding::is_forwarding(&frame.function) && !names::is_nameless(&frame.function);
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
        let Frame { function, file, line, recovered, .. } = stack[index].clone();
        Site {
            function: names::without_async_mark(&function).to_owned(),
            file,
            line,
            column: None,
            recovered,
        }
    });
    let callee = callee.cloned().map(|mut frame| {
        frame.function = names::without_async_mark(&frame.function).to_owned();
        frame.column = None;
        frame
    });
    CallSite { site, callee }
}

/// Returns the column of the site's line.
pub(super) fn column(stack: &[Frame]) -> Option<u32> {
    site_index(stack).and_then(|index| stack[index].column)
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
fn called_by_runtime(called: &[Frame], is_call: impl Fn(&&Frame) -> bool) -> Option<&Frame> {
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
    const BACKTRACE_PREFIXES: [&str; 5] = [
        "std::panicking::default_hook",
        "std::sys::backtrace::BacktraceLock",
        "std::backtrace::Backtrace",
        "<std::backtrace::Backtrace as ",
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
    // Closures of the same function may be in between. Code that is polled can
    // await, even if a `Drop` runs its future to the end.
    let is_polled = |frame: &Frame| {
        frame.kind == FrameKind::Runtime
            || names::is_async(&frame.function)
            || advice::is_block_on(&public_path::public_path(&frame.function))
    };
    let mut outside = outside.take_while(|frame| !is_polled(frame)).take(6);
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

/// Returns whether the thread waits for a lock that Tokio uses inside, such as
/// that of its timers. Tokio holds such a lock for microseconds. A thread that
/// waits longer waits for a holder that has no CPU; no line of the application
/// is the cause.
pub(super) fn is_waiting_for_runtime_lock(stack: &[Frame]) -> bool {
    let is_caller = |frame: &&Frame| matches!(frame.kind, FrameKind::Runtime | FrameKind::Application);
    // All locks of Tokio go through this module. A wait of Tokio for an event,
    // such as that of `blocking_recv`, does not lock there.
    stack.iter().find(is_caller).is_some_and(|frame| {
        let function = frame.function.strip_prefix('<').unwrap_or(&frame.function);
        function.starts_with("tokio::loom::std::")
            && ["Mutex", "RwLock"].iter().any(|lock| function.contains(lock))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, kind: FrameKind) -> Frame {
        let file = Some("src/a.rs".to_owned());
        Frame { function: function.to_owned(), file, line: Some(7), column: Some(3), kind, recovered: false }
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

    /// A stack of functions, innermost first. Their names tell their kinds.
    fn stack(functions: &[&str]) -> Vec<Frame> {
        let kind = |function: &str| match function.trim_start_matches('<').split("::").next().unwrap() {
            "app" => FrameKind::Application,
            "std" | "core" | "alloc" | "gimli" => FrameKind::Std,
            "tokio" | "loopscope" => FrameKind::Runtime,
            native if native == function => FrameKind::Native,
            _ => FrameKind::Dependency,
        };
        functions.iter().map(|function| frame(function, kind(function))).collect()
    }

    /// How every stack of a worker ends.
    const WORKER: [&str; 9] = [
        "tokio::runtime::task::core::Core::poll",
        "std::panicking::catch_unwind",
        "tokio::runtime::task::harness::Harness::poll",
        "std::thread::local::LocalKey::with",
        "tokio::runtime::context::set_scheduler",
        "tokio::runtime::task::core::Core::poll",
        "std::sys::backtrace::__rust_begin_short_backtrace",
        "std::thread::spawn_inner",
        "libc.so.6+0x1098eb",
    ];

    #[test]
    fn the_callee_is_a_function_that_blocks() {
        let cases: &[(&str, Option<&str>, &[&str])] = &[
            ("std::thread::sleep", None, &["clock_nanosleep", "std::thread::sleep"]),
            // A request is parsed before the handler of the application runs.
            (
                "axum::json::Json::from_bytes",
                None,
                &[
                    "libc.so.6+0x980bd",
                    "alloc::raw_vec::RawVec::grow_one",
                    "serde_json::value::de::visit_seq",
                    "serde_json::de::deserialize_any",
                    "axum::json::Json::from_bytes",
                    "axum::json::{async block}",
                    "core::future::future::poll",
                    "<futures_util::future::Map as core::future::future::Future>::poll",
                    "hyper::proto::h1::dispatch::Dispatcher::poll_write",
                    "tokio::macros::select",
                    "axum::serve::handle_connection::{async}",
                ],
            ),
            (
                "axum::json::Json::from_bytes",
                None,
                &[
                    "axum::json::Json::from_bytes",
                    "axum::json::Json::from_request::{async}",
                    "hyper::server::poll",
                ],
            ),
            // Only polled functions are known.
            ("hyper::server::poll", None, &["tokio::net::tcp::poll_read", "hyper::server::poll"]),
            // A dependency blocks on the runtime itself.
            (
                "dep::fetch",
                None,
                &[
                    "syscall",
                    "std::sys::pal::unix::futex::futex_wait",
                    "tokio::runtime::park::CachedParkThread::block_on",
                    "tokio::runtime::handle::Handle::block_on",
                    "dep::fetch",
                    "dep::Task::{async}",
                ],
            ),
            (
                "r2d2::Pool::get",
                Some("app::table"),
                &["syscall", "std::sync::Condvar::wait", "r2d2::Pool::get", "app::table"],
            ),
            // Log records pass through a thread local.
            (
                "<std::io::stdio::Stdout as std::io::Write>::write_all",
                Some("app::relay"),
                &[
                    "write",
                    "std::sys::fd::unix::FileDesc::write",
                    "<std::io::stdio::Stdout as std::io::Write>::write_all",
                    "tracing_subscriber::fmt::fmt_layer::{closure}",
                    "std::thread::local::LocalKey::with",
                    "tracing_subscriber::fmt::fmt_layer::on_event",
                    "tracing_core::event::Event::dispatch",
                    "tracing::macros::{closure}",
                    "app::relay",
                ],
            ),
            // An iterator decides how long it takes to collect it.
            (
                "rusqlite::row::next",
                Some("app::rows"),
                &[
                    "sqlite3_step",
                    "rusqlite::row::advance",
                    "rusqlite::row::next",
                    "core::iter::adapters::try_fold",
                    "alloc::vec::spec_from_iter_nested::from_iter",
                    "core::result::{closure}",
                    "core::iter::traits::iterator::collect",
                    "app::rows",
                ],
            ),
            (
                "dashmap::insert",
                Some("app::own::{async block}"),
                &["syscall", "dashmap::_insert", "dashmap::insert", "app::own::{async block}"],
            ),
            // std prints a backtrace with crates that the application may use.
            (
                "core::panicking::panic_fmt",
                Some("app::handler"),
                &[
                    "app::shared::inflate",
                    "gimli::read::dwarf::Dwarf::load",
                    "std::sys::backtrace::BacktraceLock::print",
                    "std::panicking::default_hook",
                    "core::panicking::panic_fmt",
                    "core::result::unwrap_failed",
                    "app::handler",
                ],
            ),
        ];
        for (callee, site, functions) in cases {
            let stack = stack(&[*functions, WORKER.as_slice()].concat());
            let call_site = call_site(&stack);
            assert_eq!(call_site.site.map(|site| site.function).as_deref(), *site, "{functions:?}");
            let found = call_site.callee.map(|frame| frame.function);
            assert_eq!(found.as_deref(), Some(*callee), "{functions:?}");
        }
    }

    #[test]
    fn a_stack_without_symbols_has_neither_site_nor_callee() {
        let stack = stack(&["app.exe+0x100", "app.exe+0x200", "libc.so.6+0x1098eb"]);
        assert_eq!(call_site(&stack), CallSite { site: None, callee: None });
    }

    #[test]
    fn the_lack_of_lines_and_symbols_is_recognised() {
        let mut stack = stack(&["clock_nanosleep", "std::thread::sleep", "app::nap"]);
        assert_eq!(missing_lines(&stack), None);
        for frame in &mut stack {
            (frame.file, frame.line) = (None, None);
        }
        assert_eq!(missing_lines(&stack), Some(true));
        assert_eq!(missing_lines(&stack[..1]), Some(false));
        assert_eq!(missing_lines(&[]), None);
    }

    #[test]
    fn a_drop_is_recognised_by_its_frames() {
        assert!(is_in_drop(&stack(&["syscall", "app::Connection::drop", "app::run"])));
        assert!(is_in_drop(&stack(&["syscall", "app::close", "core::ptr::drop_in_place", "app::run"])));
        assert!(!is_in_drop(&stack(&["core::ptr::drop_in_place", "app::run", "tokio::runtime::poll"])));
        let polled = ["app::flush::{async fn}", "pollster::block_on", "app::Connection::drop"];
        assert!(!is_in_drop(&stack(&polled)));
        let blocked_on = ["app::flush", "futures_executor::local_pool::block_on", "app::Connection::drop"];
        assert!(!is_in_drop(&stack(&blocked_on)));
        let cancelled = ["app::run", "tokio::runtime::task::core::poll", "core::ptr::drop_in_place"];
        assert!(!is_in_drop(&stack(&cancelled)), "drop glue of the runtime");
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
    fn only_a_wait_for_a_lock_of_tokio_is_for_a_runtime_lock() {
        let stack = [
            frame("syscall", FrameKind::Native),
            frame("std::sys::sync::mutex::futex::Mutex::lock_contended", FrameKind::Std),
            frame("tokio::loom::std::mutex::Mutex<T>::lock", FrameKind::Runtime),
            frame("tokio::runtime::time::Inner::lock", FrameKind::Runtime),
            frame("app::pause", FrameKind::Application),
        ];
        assert!(is_waiting_for_runtime_lock(&stack));
        let own = [frame("std::sync::Mutex::lock", FrameKind::Std), frame("app::f", FrameKind::Application)];
        assert!(!is_waiting_for_runtime_lock(&[&own[..], &stack[2..]].concat()));
        let event = [
            frame("std::sync::Condvar::wait", FrameKind::Std),
            frame("tokio::runtime::park::CachedParkThread::park", FrameKind::Runtime),
        ];
        assert!(!is_waiting_for_runtime_lock(&event));
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
