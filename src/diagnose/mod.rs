//! Evidence in, finding out: pure functions over plain data, but for the
//! reading of debug information.

mod advice;
#[cfg(stack_capture)]
mod image;
mod names;
pub(crate) mod roots;
mod site;
#[cfg(stack_capture)]
pub(crate) mod symbols;
#[cfg(not(stack_capture))]
#[path = "symbols_none.rs"]
pub(crate) mod symbols;

use crate::diagnose::symbols::Symbols;
use crate::evidence::{CallInfo, Capture, StallEvidence, TimeSplit};
use crate::finding::{Cause, Detail, Evidence, Frame, FrameKind, Site};

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
    /// The worker that probably holds the lock, by its number.
    pub(crate) holder: Option<usize>,
}

/// A capture with its frames.
struct CaptureView<'c> {
    capture: &'c Capture,
    stack: Vec<Frame>,
    place: site::Place,
    known: Option<KnownCall>,
    cause: Cause,
    /// The time for which it stands.
    weight: u64,
}

/// A call in the table of calls that block.
#[derive(Debug, Clone)]
struct KnownCall {
    entry: &'static advice::AdviceRule,
    function: String,
    kind: FrameKind,
}

/// Whose fault a stall was.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The code's.
    Blocked(Box<Diagnosis>),
    /// The machine's, which had no CPU for somebody that others waited for.
    Starved,
    /// Nobody's: it is allowed, or nothing is known of it.
    Allowed,
}

/// Judges a stall by all looks at it.
pub(crate) fn judge(stall: &StallEvidence, symbols: &mut Symbols) -> Verdict {
    let looks = looks(stall, symbols);
    if looks.iter().any(|look| site::is_allowed(&look.stack)) {
        return Verdict::Allowed;
    }
    let Some(best) = best(&looks) else { return Verdict::Allowed };
    if best.cause == Cause::Lock && site::waits_for_allocator(&best.stack) {
        return Verdict::Starved;
    }
    Verdict::Blocked(Box::new(diagnose(stall, &looks, best)))
}

fn diagnose(stall: &StallEvidence, looks: &[CaptureView<'_>], best: &CaptureView<'_>) -> Diagnosis {
    let of_site = || looks.iter().filter(|look| look.place.site == best.place.site);
    let is_steady = of_site().count() > 1 && of_site().all(|look| look.place == best.place);
    let conclusion = conclude(best, is_steady);
    match way_of_polling(stall, looks, best) {
        Some(cause) => conclusion.turned_into(cause),
        None => conclusion,
    }
}

/// Whether what holds the worker is less a call than how the task is polled.
fn way_of_polling(stall: &StallEvidence, looks: &[CaptureView<'_>], best: &CaptureView<'_>) -> Option<Cause> {
    if stall.polls > 1 {
        return Some(Cause::Hog);
    }
    // Within one poll, it was met here and there, and polling something below the
    // application's own code: what it awaits is ready at once. Met in one place
    // only, that something may as well compute.
    let of_culprit = || looks.iter().filter(|look| look.culprit() == best.culprit());
    let moves = of_culprit().any(|look| look.place != best.place);
    let polls = of_culprit().any(|look| look.place.polls());
    (best.cause == Cause::Cpu && moves && polls).then_some(Cause::Unyielding)
}

impl Diagnosis {
    fn turned_into(self, cause: Cause) -> Self {
        Self {
            id: id_of(cause, self.site.as_ref(), self.primitive.as_deref()),
            cause,
            advice: advice::for_cause(cause, None),
            ..self
        }
    }
}

/// A look that shows a line of the application counts before any that does
/// not, then what took the most time, then the best evidence.
fn best<'l, 'c>(looks: &'l [CaptureView<'c>]) -> Option<&'l CaptureView<'c>> {
    let weight_of = |is_same: &dyn Fn(&CaptureView<'_>) -> bool| {
        looks.iter().filter(|other| is_same(other)).map(|other| other.weight).sum::<u64>()
    };
    looks.iter().max_by_key(|look| {
        let of_culprit = weight_of(&|other| other.culprit() == look.culprit());
        let of_line =
            weight_of(&|other| other.culprit() == look.culprit() && other.place.site == look.place.site);
        (look.place.site.is_some(), of_culprit, of_line, look.capture.evidence, look.weight)
    })
}

impl<'c> CaptureView<'c> {
    fn new(capture: &'c Capture, stack: Vec<Frame>, weight: u64) -> Self {
        let known = known_call(&stack);
        let cause = cause_of(capture, &stack, known.as_ref());
        Self { capture, place: site::place(&stack), stack, known, cause, weight }
    }

    /// What several looks may have met. Of a computation it is the function, as
    /// each look meets another line of the same loop.
    fn culprit(&self) -> (Cause, Option<(&str, Option<u32>)>) {
        let line = |site: &Site| site.line.filter(|_| self.cause != Cause::Cpu);
        (self.cause, self.place.site.as_ref().map(|site| (site.function.as_str(), line(site))))
    }
}

/// Whether two looks at what may be several polls in turn have met the same
/// function of the application.
#[cfg(not(tokio_unstable))]
pub(crate) fn is_one_poll(stall: &StallEvidence, symbols: &mut Symbols) -> bool {
    let looks = looks(stall, symbols);
    let function = |look: &CaptureView<'_>| look.place.site.as_ref().map(|site| site.function.clone());
    looks.windows(2).any(|pair| function(&pair[0]).is_some() && function(&pair[0]) == function(&pair[1]))
}

fn looks<'s>(stall: &'s StallEvidence, symbols: &mut Symbols) -> Vec<CaptureView<'s>> {
    // As if the machine's part had been spread over the rest.
    let own = TimeSplit { run_queue: 0, ..stall.times }.scaled_to(stall.duration_nanos);
    let weights = weights(&stall.captures, stall.duration_nanos, own.on_cpu);
    let captures = stall.captures.iter().zip(weights);
    captures.map(|(capture, weight)| CaptureView::new(capture, symbols.stack(capture), weight)).collect()
}

/// Each capture stands for the time that is nearer to it than to any other. But
/// those that met the thread running stand for no more than it ran: one that
/// just woke from a sleep does not stand for the sleep.
fn weights(captures: &[Capture], duration_nanos: u64, on_cpu_nanos: u64) -> Vec<u64> {
    let ends = captures.windows(2).map(|pair| pair[0].at_nanos.midpoint(pair[1].at_nanos));
    let mut begin = 0;
    let mut weights: Vec<_> = ends
        .chain(captures.last().map(|last| duration_nanos.max(last.at_nanos)))
        .map(|end| end.saturating_sub(std::mem::replace(&mut begin, end)))
        .collect();
    let ran = |(weight, capture): (&u64, &Capture)| if capture.on_cpu { *weight } else { 0 };
    let all_ran: u64 = weights.iter().zip(captures).map(ran).sum();
    if all_ran > on_cpu_nanos {
        let ran = weights.iter_mut().zip(captures).filter(|(_, capture)| capture.on_cpu);
        for (weight, _) in ran {
            *weight = (u128::from(*weight) * u128::from(on_cpu_nanos) / u128::from(all_ran)) as u64;
        }
    }
    weights
}

/// `is_steady` says that every look at the stall met the same call.
fn conclude(look: &CaptureView<'_>, is_steady: bool) -> Diagnosis {
    let cause = look.cause;
    let computes = cause == Cause::Cpu;
    let known = look.known.as_ref().filter(|known| !computes || known.entry.cause == Some(Cause::Cpu));
    // A call that only happened to run is not what makes a loop busy.
    let is_to_blame = |frame: &&Frame| {
        !computes || frame.kind == FrameKind::Dependency || is_steady && !site::is_elementary(&frame.function)
    };
    let called = look.place.called.as_ref().filter(is_to_blame);
    let primitive = called.map(|frame| names::public_path(&frame.function));
    let dependency = called.filter(|frame| frame.kind == FrameKind::Dependency);
    let advice = match (known, dependency) {
        (Some(known), Some(frame)) if known.kind != FrameKind::Dependency => {
            advice::for_dependency(&names::public_path(&frame.function), &known.function)
        }
        (Some(known), _) => known.entry.advice.to_owned(),
        (None, _) => advice::for_cause(cause, primitive.as_deref().zip(called.map(|frame| frame.kind))),
    };
    let site = look.place.site.clone();
    Diagnosis {
        id: id_of(cause, site.as_ref(), primitive.as_deref()),
        cause,
        primitive,
        site,
        advice,
        evidence: look.capture.evidence,
        stack: look.stack.clone(),
        detail: look.capture.call.as_ref().map(detail_of).unwrap_or_default(),
        holder: look.capture.call.as_ref().and_then(|call| call.holder),
    }
}

/// The outermost call below the site that the table knows: `write_all` says
/// less than the `<File as Write>::write` inside it. But a name that is looked
/// up inside a `connect` is what takes the time, not the connection.
fn known_call(stack: &[Frame]) -> Option<KnownCall> {
    let below = stack.iter().position(|frame| frame.kind == FrameKind::Application).unwrap_or(stack.len());
    let known = || {
        stack[..below].iter().rev().filter_map(|frame| {
            let function = names::public_path(&frame.function);
            Some(KnownCall { entry: advice::find(&function)?, function, kind: frame.kind })
        })
    };
    known().find(|known| known.entry.cause == Some(Cause::Dns)).or_else(|| known().next())
}

fn cause_of(capture: &Capture, stack: &[Frame], known: Option<&KnownCall>) -> Cause {
    let of_function = known.and_then(|known| known.entry.cause);
    if capture.on_cpu {
        return of_function.filter(|cause| is_at_work(*cause, stack)).unwrap_or(Cause::Cpu);
    }
    let of_call = capture.call.as_ref().map(|call| call.cause);
    let cause = of_function.or(of_call).unwrap_or(Cause::Other);
    if cause == Cause::Other && capture.uninterruptible { Cause::Uninterruptible } else { cause }
}

/// Whether a running thread is inside of a call that asks the kernel for
/// something, on its way there or back: walking a directory is no computation,
/// and to be met in the system call of a lock is to wait for it.
fn is_at_work(cause: Cause, stack: &[Frame]) -> bool {
    let waits = matches!(cause, Cause::Lock | Cause::Channel | Cause::Sleep);
    if waits && stack.first().is_some_and(|frame| frame.function == "syscall") {
        return true;
    }
    let asks_kernel = matches!(cause, Cause::File | Cause::Network | Cause::Dns | Cause::Child);
    let mut below = stack.iter().take_while(|frame| frame.kind != FrameKind::Application);
    // A resolver reads files and parses between its calls; whoever calls it asks for a name.
    let resolver = |function: &str| function.starts_with("get") || function.starts_with("dns_lookup::");
    let resolves = |frame: &Frame| cause == Cause::Dns && resolver(&frame.function);
    let asks = |frame: &Frame| frame.function.contains("std::sys::") || resolves(frame);
    asks_kernel && below.any(asks)
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

/// For a computation the line is left out: each look meets another line of the
/// same loop.
fn id_of(cause: Cause, site: Option<&Site>, primitive: Option<&str>) -> String {
    let (place, line) = match site {
        Some(site) => (site.function.as_str(), site.line.filter(|_| !cause.is_computation())),
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

    fn look<'c>(capture: &'c Capture, functions: &[(&str, FrameKind)]) -> CaptureView<'c> {
        let frame = |(function, kind): &(&str, FrameKind)| Frame {
            function: (*function).to_owned(),
            file: Some("app/src/lib.rs".to_owned()),
            line: Some(3),
            kind: *kind,
        };
        CaptureView::new(capture, functions.iter().map(frame).collect(), 1)
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
            at_nanos: 1,
            evidence: Evidence::Stack,
            stack: Vec::new(),
            on_cpu,
            uninterruptible: false,
            call,
        }
    }

    #[test]
    fn a_look_stands_for_the_time_around_it() {
        let at = |at_nanos| Capture { at_nanos, ..capture(false, None) };
        assert_eq!(weights(&[at(10), at(20), at(40)], 50, 0), [15, 15, 20]);
        assert_eq!(weights(&[at(10)], 12, 0), [12]);
        assert_eq!(weights(&[at(10), at(20)], 19, 0), [15, 5], "still lasts");
        assert_eq!(weights(&[], 19, 0), [0; 0]);
    }

    #[test]
    fn a_machine_that_is_busy_turns_no_computation_into_a_wait() {
        let ms = |ms: u64| ms * 1_000_000;
        let at = |on_cpu, at_nanos| Capture { at_nanos, ..capture(on_cpu, None) };
        let times = TimeSplit { on_cpu: ms(16), run_queue: ms(140), off_cpu: ms(4) };
        let captures = [at(false, ms(80)), at(true, ms(158))];
        let own = TimeSplit { run_queue: 0, ..times }.scaled_to(ms(160));
        assert_eq!(own.on_cpu, ms(128));
        assert_eq!(weights(&captures, ms(160), own.on_cpu), [ms(119), ms(41)]);
    }

    #[test]
    fn who_has_just_woken_did_not_compute_meanwhile() {
        let at = |on_cpu, at_nanos| Capture { at_nanos, ..capture(on_cpu, None) };
        assert_eq!(weights(&[at(false, 10), at(true, 30)], 50, 1), [20, 1]);
        assert_eq!(weights(&[at(true, 10), at(true, 20)], 20, 4), [3, 1], "it waited for a CPU");
        assert_eq!(weights(&[at(true, 10), at(false, 30)], 50, 45), [20, 30]);
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
    fn on_its_way_into_a_wait_a_thread_waits_and_before_it_computes() {
        let capture = capture(true, None);
        let stack = [
            ("syscall", FrameKind::Native),
            ("std::sys::pal::unix::futex::futex_wait", FrameKind::Std),
            ("std::thread::park_timeout", FrameKind::Std),
            ("app::naps", FrameKind::Application),
        ];
        assert_eq!(conclude(&look(&capture, &stack), false).cause, Cause::Sleep);
        assert_eq!(conclude(&look(&capture, &stack[1..]), false).cause, Cause::Cpu);
    }

    #[test]
    fn a_resolver_at_work_looks_a_name_up() {
        let stack = [
            ("_IO_file_fopen", FrameKind::Native),
            ("getnameinfo", FrameKind::Native),
            ("dns_lookup::lookup::lookup_addr", FrameKind::Dependency),
            ("app::greet", FrameKind::Application),
        ];
        assert_eq!(conclude(&look(&capture(true, None), &stack), false).cause, Cause::Dns);
        assert_eq!(conclude(&look(&capture(true, None), &stack[2..]), false).cause, Cause::Dns);
        assert_eq!(conclude(&look(&capture(true, None), &stack[3..]), false).cause, Cause::Cpu);
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
