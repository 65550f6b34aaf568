//! What one stall was: cause, site, advice.

use crate::diagnose::cause::MatchedCall;
use crate::diagnose::symbolised_capture::SymbolisedCapture;
#[cfg(all(feature = "attach", stack_capture))]
use crate::diagnose::symbols::{SymbolisedStack, Symbols};
use crate::diagnose::{advice, call_site, finding_id, forwarding, public_path};
#[cfg(all(feature = "attach", stack_capture))]
use crate::evidence::Capture;
use crate::evidence::{CallInfo, StallEvidence};
use crate::finding::{Cause, Detail, Evidence, Frame, FrameKind, Site};

/// What one stall was.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Diagnosis {
    /// Made from cause and site, so that it is the same in every run.
    pub(crate) id: String,
    pub(crate) cause: Cause,
    pub(crate) primitive: Option<String>,
    pub(crate) site: Option<Site>,
    pub(crate) advice: String,
    pub(crate) evidence: Evidence,
    /// Innermost first.
    pub(crate) stack: Vec<Frame>,
    /// Why frames of the stack have no line, as a sentence.
    pub(crate) lines_missing: Option<String>,
    pub(crate) detail: Detail,
    /// The number of the worker that probably holds the lock.
    pub(crate) lock_holder: Option<usize>,
}

impl Diagnosis {
    fn with_cause(self, cause: Cause, main: &SymbolisedCapture<'_>) -> Self {
        Self {
            id: finding_id::finding_id(cause, main, self.primitive.as_deref()),
            cause,
            advice: advice::for_cause(cause, None),
            ..self
        }
    }
}

/// Diagnoses a stall. The main capture gives the diagnosis; the others show
/// whether it holds for the whole stall.
pub(super) fn diagnose(
    stall: &StallEvidence,
    captures: &[SymbolisedCapture<'_>],
    main: &SymbolisedCapture<'_>,
) -> Diagnosis {
    let at_site = || captures.iter().filter(|capture| capture.call_site.site == main.call_site.site);
    let has_single_call =
        at_site().count() > 1 && at_site().all(|capture| capture.call_site == main.call_site);
    let diagnosis = diagnose_capture(main, has_single_call);
    match polling_cause(stall, captures, main) {
        Some(Cause::Unyielding)
            if captures.iter().any(|capture| call_site::is_in_interval(&capture.stack)) =>
        {
            Diagnosis {
                advice: advice::INTERVAL_ADVICE.to_owned(),
                ..diagnosis.with_cause(Cause::Unyielding, main)
            }
        }
        Some(cause) => diagnosis.with_cause(cause, main),
        None => diagnosis,
    }
}

/// Returns a cause if the worker is held by the way in which the task is polled
/// rather than by a single call.
fn polling_cause(
    stall: &StallEvidence,
    captures: &[SymbolisedCapture<'_>],
    main: &SymbolisedCapture<'_>,
) -> Option<Cause> {
    if stall.polls > 1 {
        return Some(Cause::Hog);
    }
    // If the captures of one poll show the culprit at several places, and at
    // one of them it polls a future or stream, then what it awaits is ready
    // immediately and the poll goes on. With a single place, the polled future
    // itself may be computing.
    let of_culprit = || captures.iter().filter(|capture| capture.culprit() == main.culprit());
    let has_several_places = of_culprit().any(|capture| capture.call_site != main.call_site);
    let has_inner_poll = of_culprit().any(|capture| capture.call_site.is_polling());
    (main.cause == Cause::Cpu && has_several_places && has_inner_poll).then_some(Cause::Unyielding)
}

/// Diagnoses what one capture shows of a thread of which nothing else is known.
#[cfg(all(feature = "attach", stack_capture))]
pub(crate) fn of_capture(capture: &Capture, symbols: &mut Symbols) -> Diagnosis {
    let SymbolisedStack { frames, lines_missing } = symbols.stack(capture);
    let symbolised = SymbolisedCapture { lines_missing, ..SymbolisedCapture::new(capture, frames, 0) };
    diagnose_capture(&symbolised, false)
}

/// Diagnoses by one capture. `has_single_call` means that the stall has several
/// captures at this site and all of them show the same call.
fn diagnose_capture(capture: &SymbolisedCapture<'_>, has_single_call: bool) -> Diagnosis {
    let cause = capture.cause;
    let is_cpu = cause == Cause::Cpu;
    // A thread that computes in a copy computes in one of the two streams.
    let is_of_computation = |call: &&MatchedCall| {
        matches!(call.rule.cause, None | Some(Cause::Cpu)) && !advice::is_copy(&call.function)
    };
    let matched = capture.matched_call.as_ref().filter(|call| !is_cpu || is_of_computation(call));
    // A call that happened to run at the moment of the capture is not what
    // keeps a loop busy.
    let is_responsible = |frame: &&Frame| {
        !is_cpu
            || frame.kind == FrameKind::Dependency
            || has_single_call && !forwarding::is_ubiquitous(&frame.function)
    };
    let callee = capture.call_site.callee.as_ref().filter(is_responsible);
    let backtrace = matched.map(|call| &call.function).filter(|function| call_site::is_backtrace(function));
    let primitive =
        backtrace.cloned().or_else(|| callee.map(|frame| public_path::public_path(&frame.function)));
    let dependency = callee.filter(|frame| frame.kind == FrameKind::Dependency);
    let mut advice = match (matched, dependency) {
        (Some(call), Some(frame)) if call.kind != FrameKind::Dependency => {
            advice::for_dependency(&public_path::public_path(&frame.function), &call.function)
        }
        (Some(call), _) => call.rule.advice_for(&call.function),
        (None, _) => {
            let callee = primitive.as_deref().zip(callee.map(|frame| frame.kind));
            let is_pipe = cause == Cause::File && is_on_pipe(capture.capture.call.as_ref());
            if is_pipe { advice::for_pipe(callee) } else { advice::for_cause(cause, callee) }
        }
    };
    if advice::needs_await(&advice) && call_site::is_in_drop(&capture.stack) {
        advice = advice::DROP_ADVICE.to_owned();
    }
    let column = call_site::column(&capture.stack);
    let site = capture.call_site.site.clone().map(|site| Site { column, ..site });
    if let Some(has_symbols) = call_site::missing_lines(&capture.stack) {
        advice.push_str(advice::for_missing_lines(has_symbols));
    }
    let syscall = capture.capture.call.as_ref();
    Diagnosis {
        id: finding_id::finding_id(cause, capture, primitive.as_deref()),
        cause,
        primitive,
        site,
        advice,
        evidence: capture.capture.evidence,
        stack: capture.stack.clone(),
        lines_missing: capture.lines_missing.clone(),
        detail: syscall.map(detail_of).unwrap_or_default(),
        lock_holder: None,
    }
}

fn is_on_pipe(call: Option<&CallInfo>) -> bool {
    call.and_then(|call| call.fd.as_deref()) == Some("a pipe")
}

fn detail_of(call: &CallInfo) -> Detail {
    Detail {
        syscall: Some(call.name.clone()),
        fd: call.fd.clone(),
        lock: call.lock.map(|address| format!("{address:#x}")),
        waiters: u64::from(call.lock.is_some()),
        holder: None,
    }
}

#[cfg(test)]
#[path = "diagnosis_tests.rs"]
mod table_tests;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::evidence::{Capture, CodeAddress, CodeFile};

    pub(super) fn symbolised<'c>(
        capture: &'c Capture,
        functions: &[(&str, FrameKind)],
    ) -> SymbolisedCapture<'c> {
        let frame = |(function, kind): &(&str, FrameKind)| Frame {
            function: (*function).to_owned(),
            file: Some("app/src/lib.rs".to_owned()),
            line: Some(3),
            column: None,
            kind: *kind,
            recovered: false,
        };
        SymbolisedCapture::new(capture, functions.iter().map(frame).collect(), 1)
    }

    pub(super) fn capture(on_cpu: bool, call: Option<(&str, Cause)>) -> Capture {
        let call = call.map(|(name, cause)| CallInfo {
            name: name.to_owned(),
            cause,
            fd: None,
            fd_type: None,
            lock: Some(16),
            holders: None,
        });
        Capture {
            age_nanos: 1,
            evidence: Evidence::Stack,
            stack: Vec::new(),
            on_cpu,
            uninterruptible: false,
            call,
            stretch: crate::evidence::Stretch::default(),
        }
    }

    pub(super) fn diagnosed(capture: &Capture, functions: &[(&str, FrameKind)]) -> Diagnosis {
        diagnose_capture(&symbolised(capture, functions), false)
    }

    #[test]
    fn a_wake_through_an_eventfd_is_no_access_to_a_file() {
        let stack = [
            ("std::sys::fs::unix::File::write", FrameKind::Std),
            ("<&std::fs::File as std::io::Write>::write", FrameKind::Std),
            ("tokio::task::spawn::spawn", FrameKind::Runtime),
            ("app::spawns", FrameKind::Application),
        ];
        let mut woken = capture(true, Some(("write", Cause::Other)));
        assert_eq!(diagnosed(&woken, &stack).cause, Cause::File, "of an unknown descriptor");
        woken.call.as_mut().unwrap().fd = Some("anon_inode:[eventfd]".to_owned());
        assert_eq!(diagnosed(&woken, &stack).cause, Cause::Cpu);
        woken.on_cpu = false;
        assert_eq!(diagnosed(&woken, &stack).cause, Cause::Other);
    }

    #[test]
    fn a_sleep_has_its_line_primitive_advice_and_system_call() {
        let stack = [
            ("clock_nanosleep", FrameKind::Native),
            ("std::thread::sleep", FrameKind::Std),
            ("app::nap", FrameKind::Application),
        ];
        let diagnosis = diagnosed(&capture(false, Some(("clock_nanosleep", Cause::Sleep))), &stack);
        assert_eq!(diagnosis.cause, Cause::Sleep);
        assert_eq!(diagnosis.primitive.as_deref(), Some("std::thread::sleep"));
        assert_eq!(diagnosis.site.unwrap().to_string(), "app/src/lib.rs:3");
        assert!(diagnosis.advice.contains("tokio::time::sleep"));
        assert_eq!(diagnosis.detail.syscall.as_deref(), Some("clock_nanosleep"));
        assert_eq!(diagnosis.id, "f62533ea627c6ceb", "an id is the same in every version");
    }

    #[test]
    fn a_known_function_decides_the_cause_where_no_system_call_is_known() {
        let stack = [
            ("fsync", FrameKind::Native),
            ("std::fs::File::sync_all", FrameKind::Std),
            ("app::log", FrameKind::Application),
        ];
        assert_eq!(diagnosed(&capture(false, None), &stack).cause, Cause::File);
    }

    #[test]
    fn a_running_thread_waits_inside_the_system_call_and_computes_before_it() {
        let capture = capture(true, None);
        let stack = [
            ("syscall", FrameKind::Native),
            ("std::sys::pal::unix::futex::futex_wait", FrameKind::Std),
            ("std::thread::park_timeout", FrameKind::Std),
            ("app::naps", FrameKind::Application),
        ];
        assert_eq!(diagnosed(&capture, &stack).cause, Cause::Sleep);
        assert_eq!(diagnosed(&capture, &stack[1..]).cause, Cause::Cpu);
    }

    #[test]
    fn a_running_resolver_is_a_name_lookup() {
        let stack = [
            ("_IO_file_fopen", FrameKind::Native),
            ("getnameinfo", FrameKind::Native),
            ("dns_lookup::lookup::lookup_addr", FrameKind::Dependency),
            ("app::greet", FrameKind::Application),
        ];
        assert_eq!(diagnosed(&capture(true, None), &stack).cause, Cause::Dns);
        assert_eq!(diagnosed(&capture(true, None), &stack[2..]).cause, Cause::Dns);
        assert_eq!(diagnosed(&capture(true, None), &stack[3..]).cause, Cause::Cpu);
    }

    #[test]
    fn the_advice_for_a_computation_in_a_dependency_names_its_function() {
        let stack = [
            ("image::codecs::decompress", FrameKind::Dependency),
            ("image::decode", FrameKind::Dependency),
            ("app::check", FrameKind::Application),
        ];
        let diagnosis = diagnosed(&capture(true, None), &stack);
        assert_eq!(diagnosis.cause, Cause::Cpu);
        assert!(diagnosis.advice.starts_with("`image::decode` is synchronous"));
    }

    /// A logger that writes to stdout, called through a thread local.
    const LOGGING: [(&str, FrameKind); 5] = [
        ("<std::io::stdio::Stdout as std::io::Write>::write_all", FrameKind::Std),
        ("std::thread::local::LocalKey::with", FrameKind::Std),
        ("tracing_subscriber::fmt::fmt_layer::on_event", FrameKind::Dependency),
        ("tracing::macros::{closure}", FrameKind::Dependency),
        ("app::relay", FrameKind::Application),
    ];

    #[test]
    fn a_write_to_stdout_and_the_wait_for_its_lock_are_one_finding() {
        let writes = [&[("write", FrameKind::Native)], LOGGING.as_slice()].concat();
        let waits = [
            &[("syscall", FrameKind::Native), ("std::sys::sync::mutex::futex::Mutex::lock", FrameKind::Std)],
            LOGGING.as_slice(),
        ]
        .concat();
        let writes = diagnosed(&capture(false, Some(("write", Cause::File))), &writes);
        let waits = diagnosed(&capture(false, Some(("futex", Cause::Lock))), &waits);
        for diagnosis in [&writes, &waits] {
            assert_eq!(diagnosis.cause, Cause::File);
            assert_eq!(
                diagnosis.primitive.as_deref(),
                Some("<std::io::Stdout as std::io::Write>::write_all")
            );
            assert!(diagnosis.advice.contains("tracing_appender::non_blocking"), "{}", diagnosis.advice);
        }
        assert_eq!(writes.id, waits.id);
    }

    #[test]
    fn a_thread_local_is_no_blocking_call() {
        let stack = [
            ("fsync", FrameKind::Native),
            ("std::fs::File::sync_all", FrameKind::Std),
            ("std::thread::local::LocalKey::with", FrameKind::Std),
            ("dep::flush", FrameKind::Dependency),
            ("app::run", FrameKind::Application),
        ];
        let diagnosis = diagnosed(&capture(false, None), &stack);
        assert_eq!(diagnosis.cause, Cause::File);
        assert!(
            diagnosis
                .advice
                .starts_with("`dep::flush` is synchronous because it calls `std::fs::File::sync_all`")
        );
    }

    #[test]
    fn the_advice_for_a_drop_does_not_await() {
        let stack = [
            ("syscall", FrameKind::Native),
            ("futures_executor::local_pool::block_on", FrameKind::Dependency),
            ("app::Connection::drop", FrameKind::Application),
            ("core::ptr::drop_in_place", FrameKind::Std),
        ];
        let capture = capture(false, Some(("futex", Cause::Lock)));
        assert_eq!(diagnosed(&capture, &stack).advice, advice::DROP_ADVICE);
        assert_ne!(diagnosed(&capture, &stack[..2]).advice, advice::DROP_ADVICE);
    }

    #[test]
    fn a_panic_that_prints_its_backtrace_is_one() {
        let stack = [
            ("app::shared::inflate", FrameKind::Application),
            ("std::sys::backtrace::BacktraceLock::print", FrameKind::Std),
            ("std::panicking::default_hook", FrameKind::Std),
            ("core::panicking::panic_fmt", FrameKind::Std),
            ("app::handler", FrameKind::Application),
        ];
        let diagnosis = diagnosed(&capture(true, None), &stack);
        assert_eq!(diagnosis.cause, Cause::Cpu);
        assert_eq!(diagnosis.site.unwrap().function, "app::handler");
        assert_eq!(diagnosis.primitive.as_deref(), Some("std::panicking::default_hook"));
        assert!(diagnosis.advice.starts_with("a panic printed its backtrace"));
    }

    /// A stack in a program without line tables: each address is one frame.
    fn diagnosed_by_address(capture: &mut Capture, functions: &[(&str, u64)]) -> Diagnosis {
        let file = Arc::new(CodeFile { path: "/usr/bin/app".to_owned(), ..CodeFile::none() });
        let address = |(_, address): &(&str, u64)| CodeAddress { file: Arc::clone(&file), address: *address };
        // A recovered frame has no address.
        capture.stack = functions.iter().filter(|(_, at)| *at > 0).map(address).collect();
        let kind = |function: &str| match function.split("::").next() {
            Some("tokio") => FrameKind::Runtime,
            Some("std") => FrameKind::Std,
            Some("app") => FrameKind::Application,
            _ => FrameKind::Native,
        };
        let frame = |(function, at): &(&str, u64)| Frame {
            function: (*function).to_owned(),
            file: None,
            line: None,
            column: None,
            kind: kind(function),
            recovered: *at == 0,
        };
        diagnose_capture(&SymbolisedCapture::new(capture, functions.iter().map(frame).collect(), 1), false)
    }

    #[test]
    fn places_without_lines_are_told_apart_by_their_addresses() {
        let mut sleep = capture(false, Some(("clock_nanosleep", Cause::Sleep)));
        let mut in_task = |call: u64, runtime: u64| {
            diagnosed_by_address(
                &mut sleep,
                &[
                    ("clock_nanosleep", 1),
                    ("std::thread::sleep", 2),
                    ("tokio::runtime::task::core::Core::poll", call),
                    ("tokio::runtime::scheduler::worker::run", runtime),
                ],
            )
        };
        let first = in_task(10, 20);
        assert_eq!((first.site.clone(), first.primitive.as_deref()), (None, Some("std::thread::sleep")));
        assert!(
            first.advice.contains("line-tables-only") && !first.advice.contains("strip"),
            "{}",
            first.advice
        );
        assert_eq!(first.id, in_task(10, 21).id, "the same place under another frame of the runtime");
        assert_ne!(first.id, in_task(11, 20).id, "another place");
        let mut in_function = |call: u64| {
            diagnosed_by_address(
                &mut sleep,
                &[("clock_nanosleep", 1), ("std::thread::sleep", 2), ("app::nap", call)],
            )
        };
        assert_ne!(in_function(10).id, in_function(11).id);
        let mut below_recovered = |call: u64| {
            diagnosed_by_address(
                &mut sleep,
                &[("clock_nanosleep", 1), ("std::thread::sleep", 2), ("app::helper", 0), ("app::nap", call)],
            )
        };
        assert!(below_recovered(10).site.is_some_and(|site| site.recovered));
        assert_ne!(below_recovered(10).id, below_recovered(11).id);
        assert_eq!(below_recovered(10).id, below_recovered(10).id);
        let mut stripped = |call: u64| {
            diagnosed_by_address(&mut sleep, &[("clock_nanosleep", 1), ("app+0x2", 2), ("app+0x3", call)])
        };
        assert_ne!(stripped(3).id, stripped(4).id);
        assert_eq!(stripped(3).id, stripped(3).id);
        assert!(stripped(3).advice.contains("no symbols") && stripped(3).advice.contains("strip = \"none\""));
    }
}
