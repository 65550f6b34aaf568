//! What one stall was: cause, site, advice.

use crate::diagnose::call_site;
use crate::diagnose::finding_id::finding_id;
use crate::diagnose::symbolised_capture::SymbolisedCapture;
use crate::diagnose::{advice, names};
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
    fn with_cause(self, cause: Cause) -> Self {
        Self {
            id: finding_id(cause, self.site.as_ref(), self.primitive.as_deref()),
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
        Some(cause) => diagnosis.with_cause(cause),
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

/// Diagnoses by one capture. `has_single_call` means that the stall has several
/// captures at this site and all of them show the same call.
fn diagnose_capture(capture: &SymbolisedCapture<'_>, has_single_call: bool) -> Diagnosis {
    let cause = capture.cause;
    let is_cpu = cause == Cause::Cpu;
    let matched = capture.matched_call.as_ref().filter(|call| !is_cpu || call.rule.cause == Some(Cause::Cpu));
    // A call that happened to run at the moment of the capture is not what
    // keeps a loop busy.
    let is_responsible = |frame: &&Frame| {
        !is_cpu
            || frame.kind == FrameKind::Dependency
            || has_single_call && !call_site::is_ubiquitous(&frame.function)
    };
    let callee = capture.call_site.callee.as_ref().filter(is_responsible);
    let primitive = callee.map(|frame| names::public_path(&frame.function));
    let dependency = callee.filter(|frame| frame.kind == FrameKind::Dependency);
    let advice = match (matched, dependency) {
        (Some(call), Some(frame)) if call.kind != FrameKind::Dependency => {
            advice::for_dependency(&names::public_path(&frame.function), &call.function)
        }
        (Some(call), _) => call.rule.advice.to_owned(),
        (None, _) => advice::for_cause(cause, primitive.as_deref().zip(callee.map(|frame| frame.kind))),
    };
    let site = capture.call_site.site.clone();
    let syscall = capture.capture.call.as_ref();
    Diagnosis {
        id: finding_id(cause, site.as_ref(), primitive.as_deref()),
        cause,
        primitive,
        site,
        advice,
        evidence: capture.capture.evidence,
        stack: capture.stack.clone(),
        lines_missing: capture.lines_missing.clone(),
        detail: syscall.map(detail_of).unwrap_or_default(),
        lock_holder: syscall.and_then(|call| call.holder),
    }
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
mod tests {
    use super::*;
    use crate::evidence::Capture;

    fn symbolised<'c>(capture: &'c Capture, functions: &[(&str, FrameKind)]) -> SymbolisedCapture<'c> {
        let frame = |(function, kind): &(&str, FrameKind)| Frame {
            function: (*function).to_owned(),
            file: Some("app/src/lib.rs".to_owned()),
            line: Some(3),
            kind: *kind,
            recovered: false,
        };
        SymbolisedCapture::new(capture, functions.iter().map(frame).collect(), 1)
    }

    fn capture(on_cpu: bool, call: Option<(&str, Cause)>) -> Capture {
        let call = call.map(|(name, cause)| CallInfo {
            name: name.to_owned(),
            cause,
            fd: None,
            fd_type: None,
            lock: Some(16),
            holder: None,
        });
        Capture {
            age_nanos: 1,
            evidence: Evidence::Stack,
            stack: Vec::new(),
            on_cpu,
            uninterruptible: false,
            call,
        }
    }

    fn diagnosed(capture: &Capture, functions: &[(&str, FrameKind)]) -> Diagnosis {
        diagnose_capture(&symbolised(capture, functions), false)
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
            ("argon2::block::compress", FrameKind::Dependency),
            ("argon2::Argon2::hash_password_into", FrameKind::Dependency),
            ("app::check", FrameKind::Application),
        ];
        let diagnosis = diagnosed(&capture(true, None), &stack);
        assert_eq!(diagnosis.cause, Cause::Cpu);
        assert!(diagnosis.advice.starts_with("`argon2::Argon2::hash_password_into` is synchronous"));
    }
}
