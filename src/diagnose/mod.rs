//! Evidence in, finding out: pure functions over plain data, but for the
//! reading of debug information.

mod advice;
mod names;
mod site;
#[cfg(all(target_os = "linux", target_arch = "x86_64", not(loopscope_no_capture)))]
mod symbols;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64", not(loopscope_no_capture))))]
#[path = "symbols_none.rs"]
mod symbols;

pub(crate) use symbols::Symbols;

use crate::{
    Cause, Detail, Evidence, Frame, FrameKind, Site,
    watchdog::evidence::{CallInfo, Capture, StallEvidence},
};

/// What one stall was.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Diagnosis {
    /// Stable across runs: made of cause and site.
    pub(crate) id: String,
    pub(crate) cause: Cause,
    pub(crate) primitive: Option<String>,
    pub(crate) site: Option<Site>,
    pub(crate) advice: String,
    pub(crate) evidence: Evidence,
    pub(crate) stack: Vec<Frame>,
    pub(crate) detail: Detail,
}

/// A capture with its frames.
struct Look<'c> {
    capture: &'c Capture,
    stack: Vec<Frame>,
    place: site::Place,
    /// The time for which it stands.
    weight: u64,
}

/// Diagnoses a stall, or says with `None` that it is allowed.
pub(crate) fn diagnose(stall: &StallEvidence, symbols: &mut Symbols) -> Option<Diagnosis> {
    let looks = looks(stall, symbols);
    if looks.iter().any(|look| site::is_allowed(&look.stack)) {
        return None;
    }
    let weight_of = |look: &Look<'_>| {
        let same = |other: &&Look<'_>| other.place.site == look.place.site;
        looks.iter().filter(same).map(|look| look.weight).sum::<u64>()
    };
    // A look that shows a line of the application counts before any that does
    // not, then the line that took the most time, then the best evidence.
    let best = looks.iter().max_by_key(|look| {
        (look.place.site.is_some(), weight_of(look), look.capture.evidence, look.weight)
    })?;
    let same_call = |look: &Look<'_>| look.place == best.place;
    let is_steady =
        looks.len() > 1 && looks.iter().filter(|look| look.place.site == best.place.site).all(same_call);
    Some(conclude(best, is_steady))
}

/// Whether two looks at what may be several polls in turn have met the same
/// function of the application.
#[cfg(not(tokio_unstable))]
pub(crate) fn is_one_poll(stall: &StallEvidence, symbols: &mut Symbols) -> bool {
    let looks = looks(stall, symbols);
    let function = |look: &Look<'_>| look.place.site.as_ref().map(|site| site.function.clone());
    looks.windows(2).any(|pair| function(&pair[0]).is_some() && function(&pair[0]) == function(&pair[1]))
}

/// Each capture stands for the time since the one before, the last also for
/// what came after.
fn looks<'s>(stall: &'s StallEvidence, symbols: &mut Symbols) -> Vec<Look<'s>> {
    let mut before = 0;
    let mut looks: Vec<_> = stall
        .captures
        .iter()
        .map(|capture| {
            let stack = symbols.stack(&capture.stack);
            let weight = capture.at_nanos.saturating_sub(before);
            before = before.max(capture.at_nanos);
            Look { capture, place: site::place(&stack), stack, weight }
        })
        .collect();
    if let Some(last) = looks.last_mut() {
        last.weight += stall.duration_nanos.saturating_sub(before);
    }
    looks
}

/// `is_steady` says that every look at the stall met the same call.
fn conclude(look: &Look<'_>, is_steady: bool) -> Diagnosis {
    let known = known_call(look);
    let cause = cause_of(look.capture, known.and_then(|entry| entry.cause));
    let computes = cause == Cause::Cpu;
    // A call that only happened to run is not what makes a loop busy.
    let is_to_blame = |frame: &&Frame| {
        !computes || frame.kind == FrameKind::Dependency || is_steady && !site::is_elementary(&frame.function)
    };
    let called = look.place.called.as_ref().filter(is_to_blame);
    let advice = match known.filter(|_| !computes) {
        Some(entry) => entry.advice.to_owned(),
        None => advice::for_cause(cause, called.map(|frame| (&*frame.function, frame.kind))),
    };
    let site = look.place.site.clone();
    let primitive = called.map(|frame| names::public_path(&frame.function));
    Diagnosis {
        id: id_of(cause, site.as_ref(), primitive.as_deref()),
        cause,
        primitive,
        site,
        advice,
        evidence: look.capture.evidence,
        stack: look.stack.clone(),
        detail: look.capture.call.as_ref().map(detail_of).unwrap_or_default(),
    }
}

/// The outermost call below the site that the table knows: `write_all` says
/// less than the `<File as Write>::write` inside it.
fn known_call(look: &Look<'_>) -> Option<&'static advice::Entry> {
    let below =
        look.stack.iter().position(|frame| frame.kind == FrameKind::Application).unwrap_or(look.stack.len());
    look.stack[..below].iter().rev().find_map(|frame| advice::find(&names::public_path(&frame.function)))
}

fn cause_of(capture: &Capture, of_function: Option<Cause>) -> Cause {
    if capture.on_cpu {
        return Cause::Cpu;
    }
    of_function.or(capture.call.as_ref().map(|call| call.cause)).unwrap_or(Cause::Other)
}

fn detail_of(call: &CallInfo) -> Detail {
    Detail {
        syscall: Some(call.name.clone()),
        fd: call.fd.clone(),
        lock: call.lock.map(|address| format!("{address:#x}")),
    }
}

/// For a computation the line is left out: each look meets another line of the
/// same loop.
fn id_of(cause: Cause, site: Option<&Site>, primitive: Option<&str>) -> String {
    let (place, line) = match site {
        Some(site) => (site.function.as_str(), site.line.filter(|_| cause != Cause::Cpu)),
        None => (primitive.unwrap_or("?"), None),
    };
    let text = format!("{cause}|{place}|{}", line.unwrap_or(0));
    format!("{:016x}", fnv1a(text.as_bytes()))
}

/// FNV-1a: short, and the same in every version of everything, which the
/// standard library's hasher does not promise.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look<'c>(capture: &'c Capture, functions: &[(&str, FrameKind)]) -> Look<'c> {
        let frame = |(function, kind): &(&str, FrameKind)| Frame {
            function: (*function).to_owned(),
            file: Some("app/src/lib.rs".to_owned()),
            line: Some(3),
            kind: *kind,
        };
        let stack: Vec<_> = functions.iter().map(frame).collect();
        Look { capture, place: site::place(&stack), stack, weight: 1 }
    }

    fn capture(on_cpu: bool, call: Option<(&str, Cause)>) -> Capture {
        let call =
            call.map(|(name, cause)| CallInfo { name: name.to_owned(), cause, fd: None, lock: Some(16) });
        Capture { at_nanos: 1, evidence: Evidence::Stack, stack: Vec::new(), on_cpu, call }
    }

    #[test]
    fn a_sleep_is_a_sleep() {
        let capture = capture(false, Some(("clock_nanosleep", Cause::Sleep)));
        let stack = [
            ("clock_nanosleep", FrameKind::Native),
            ("std::thread::sleep", FrameKind::Std),
            ("app::nap", FrameKind::Application),
        ];
        let diagnosis = conclude(&look(&capture, &stack), false);
        assert_eq!(diagnosis.cause, Cause::Sleep);
        assert_eq!(diagnosis.primitive.as_deref(), Some("std::thread::sleep"));
        assert_eq!(diagnosis.site.unwrap().to_string(), "app/src/lib.rs:3");
        assert!(diagnosis.advice.contains("tokio::time::sleep"));
        assert_eq!(diagnosis.detail.syscall.as_deref(), Some("clock_nanosleep"));
        assert_eq!(diagnosis.id, "f62533ea627c6ceb", "an id is the same in every version");
    }

    #[test]
    fn a_file_call_that_runs_in_the_kernel_is_no_computation() {
        let capture = capture(false, None);
        let stack = [
            ("fsync", FrameKind::Native),
            ("std::fs::File::sync_all", FrameKind::Std),
            ("app::log", FrameKind::Application),
        ];
        assert_eq!(conclude(&look(&capture, &stack), false).cause, Cause::File);
    }

    #[test]
    fn computing_in_a_dependency_names_it() {
        let capture = capture(true, None);
        let stack = [
            ("argon2::block::compress", FrameKind::Dependency),
            ("argon2::Argon2::hash_password_into", FrameKind::Dependency),
            ("app::check", FrameKind::Application),
        ];
        let diagnosis = conclude(&look(&capture, &stack), false);
        assert_eq!(diagnosis.cause, Cause::Cpu);
        assert!(diagnosis.advice.starts_with("`argon2::Argon2::hash_password_into` is synchronous"));
    }
}
