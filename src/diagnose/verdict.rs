//! Decides whether a stall is reported, and which of its captures explain it.

use std::iter;

use crate::diagnose::diagnosis::{self, Diagnosis};
use crate::diagnose::shares::{self, Share};
use crate::diagnose::stall_part::{PartOfStall, StallPart};
use crate::diagnose::symbolised_capture::{self, SymbolisedCapture};
use crate::diagnose::symbols::Symbols;
use crate::diagnose::{advice, call_site, lock_holder};
use crate::evidence::StallEvidence;
use crate::finding::Cause;

/// A thread lacked a CPU for a considerable time if that is its own time,
/// divided by this, or more.
const MIN_MACHINE_DIVISOR: u64 = 4;

/// What is to be done with a stall.
#[derive(Debug)]
pub(crate) enum StallVerdict {
    /// The application's code blocked the worker: report it. The first part is
    /// that of the call with the most time. There are others if other calls
    /// took the threshold or longer.
    Blocked(Vec<StallPart>),
    /// The machine had no CPU for a thread that the worker waited for, or
    /// probably had none: count it as starvation.
    Starved,
    /// All the time was taken by code that is allowed to block
    /// (`block_in_place`), or no capture exists: do not report it.
    Ignored,
}

/// Judges a stall by all of its captures.
pub(crate) fn judge(stall: &StallEvidence, symbols: &mut Symbols) -> StallVerdict {
    let captures = symbolised_capture::symbolise(stall, symbols);
    // From here on another thread may run the worker's other tasks.
    let mut allowed = captures.iter().filter(|capture| call_site::has_block_in_place(&capture.stack));
    let first_allowed_age = allowed.next().map(|capture| capture.capture.age_nanos);
    let Some(main) = main_capture(&captures) else { return StallVerdict::Ignored };
    if main.waits_for_no_code() || is_unexplained_wait(stall, main) {
        return StallVerdict::Starved;
    }
    let others = shares::other_shares(stall, &captures, main);
    let mut shares = with_main(stall, &captures, main, others);
    shares.retain(|share| first_allowed_age.is_none_or(|age| share.first_age_nanos < age));
    if shares.is_empty() {
        return StallVerdict::Ignored;
    }
    StallVerdict::Blocked(parts(stall, &captures, shares, symbols))
}

/// Returns whether no stack explains a wait for something else than time or
/// input, and the thread also lacked a CPU for a considerable time. On such a
/// machine other threads lack a CPU too: one of them may keep a lock of the
/// allocator or of the kernel.
fn is_unexplained_wait(stall: &StallEvidence, main: &SymbolisedCapture<'_>) -> bool {
    let own = stall.times.own();
    let machine = stall.duration_nanos.saturating_sub(own);
    main.stack.is_empty()
        && !main.capture.on_cpu
        && matches!(main.cause, Cause::Lock | Cause::Uninterruptible | Cause::Other)
        && machine >= own / MIN_MACHINE_DIVISOR
}

/// Returns all shares, the main one first: it has what the others leave.
fn with_main<'l, 'c>(
    stall: &StallEvidence,
    captures: &'l [SymbolisedCapture<'c>],
    main: &'l SymbolisedCapture<'c>,
    others: Vec<Share<'l, 'c>>,
) -> Vec<Share<'l, 'c>> {
    let mut times = stall.times;
    for other in &others {
        times.on_cpu -= other.times.on_cpu;
        times.off_cpu -= other.times.off_cpu;
    }
    let is_sampled_once = if others.is_empty() {
        stall.rests_on_one_early_sample()
    } else {
        shares::is_sampled_once(captures, main, times.off_cpu)
    };
    let of_main = captures.iter().find(|capture| capture.culprit() == main.culprit());
    let first_age_nanos = of_main.unwrap_or(main).capture.age_nanos;
    let main = Share { main, times, first_age_nanos, is_sampled_once };
    iter::once(main).chain(others).collect()
}

/// Diagnoses the shares. Shares that belong to one finding become one part.
fn parts(
    stall: &StallEvidence,
    captures: &[SymbolisedCapture<'_>],
    shares: Vec<Share<'_, '_>>,
    symbols: &mut Symbols,
) -> Vec<StallPart> {
    let mut parts: Vec<(u64, StallPart)> = Vec::new();
    for share in shares {
        let mut diagnosis = diagnosis::diagnose(stall, captures, share.main);
        lock_holder::add_lock_holder(&mut diagnosis, captures, share.main, symbols);
        add_interval(&mut diagnosis, stall, captures, share.main, symbols);
        if let Some((_, part)) = parts.iter_mut().find(|(_, part)| part.diagnosis.id == diagnosis.id) {
            part.part.give(share.times);
            continue;
        }
        let part = PartOfStall {
            times: share.times,
            age_nanos: 0..0,
            has_no_stack: stall.has_no_stack(),
            is_lower_bound: stall.is_lower_bound,
            is_sampled_once: share.is_sampled_once,
        };
        parts.push((share.first_age_nanos, StallPart { diagnosis, part }));
    }
    let machine_nanos = stall.duration_nanos.saturating_sub(stall.times.own());
    let mut in_order: Vec<_> = parts.iter_mut().enumerate().collect();
    in_order.sort_by_key(|(_, (first_age, _))| *first_age);
    let mut begin = 0;
    for (index, (_, StallPart { part, .. })) in in_order {
        // The machine's time counts for the main part.
        let end = begin + part.times.own() + if index == 0 { machine_nanos } else { 0 };
        part.age_nanos = begin..end;
        begin = end;
    }
    parts.into_iter().map(|(_, part)| part).collect()
}

/// Adds to the diagnosis of a computation that it may be a burst of an
/// interval. The ticks take no time, so captures show the work of each tick and
/// never the interval: nothing tells a burst from one long computation.
fn add_interval(
    diagnosis: &mut Diagnosis,
    stall: &StallEvidence,
    captures: &[SymbolisedCapture<'_>],
    main: &SymbolisedCapture<'_>,
    symbols: &mut Symbols,
) {
    let computations = captures.iter().filter(|capture| capture.cause == Cause::Cpu);
    let is_long = computations.count() > 1 || stall.times.on_cpu >= 2 * stall.threshold_nanos;
    if diagnosis.cause == Cause::Cpu
        && is_long
        && let Some(function) = symbols.interval_awaiter(main.capture)
    {
        diagnosis.advice.push_str(&advice::for_interval_awaiter(&function));
    }
}

/// Returns whether two consecutive captures show the same function of the
/// application. If not, what looks like one long poll may be several polls.
#[cfg(not(tokio_unstable))]
pub(crate) fn is_single_poll(stall: &StallEvidence, symbols: &mut Symbols) -> bool {
    let captures = symbolised_capture::symbolise(stall, symbols);
    let function =
        |capture: &SymbolisedCapture<'_>| capture.call_site.site.as_ref().map(|site| site.function.clone());
    captures.windows(2).any(|pair| function(&pair[0]).is_some() && function(&pair[0]) == function(&pair[1]))
}

/// Returns the capture that explains the stall. A capture that shows a culprit
/// is preferred to one that does not. Among those, the culprit with the most
/// time wins, then its line with the most time, then the best evidence.
fn main_capture<'l, 'c>(captures: &'l [SymbolisedCapture<'c>]) -> Option<&'l SymbolisedCapture<'c>> {
    let weight_of = |is_same: &dyn Fn(&SymbolisedCapture<'_>) -> bool| {
        captures.iter().filter(|other| is_same(other)).map(|other| other.weight_nanos).sum::<u64>()
    };
    captures.iter().max_by_key(|capture| {
        let of_culprit = weight_of(&|other| other.culprit() == capture.culprit());
        let of_line = weight_of(&|other| {
            other.culprit() == capture.culprit() && other.call_site.site == capture.call_site.site
        });
        (capture.has_culprit(), of_culprit, of_line, capture.capture.evidence, capture.weight_nanos)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{CallInfo, Capture, TimeSplit};
    use crate::finding::{Evidence, Frame, FrameKind};
    use crate::process::Process;

    #[test]
    fn a_wait_without_a_stack_on_a_busy_machine_is_starvation() {
        let is_starved = |cause, on_cpu, machine_ms: u64| {
            let call = CallInfo {
                name: "call".to_owned(),
                cause,
                fd: None,
                fd_type: None,
                lock: None,
                holders: None,
            };
            let times =
                TimeSplit { off_cpu: 12_000_000, run_queue: machine_ms * 1_000_000, ..TimeSplit::default() };
            let stall = StallEvidence::ended(times, vec![Capture::without_stack(5, on_cpu, Some(call))]);
            matches!(judge(&stall, &mut Symbols::new(Process::Own, u64::MAX)), StallVerdict::Starved)
        };
        assert!(is_starved(Cause::Lock, false, 3));
        assert!(is_starved(Cause::Uninterruptible, false, 30));
        assert!(!is_starved(Cause::Lock, false, 2), "it had a CPU nearly all the time");
        assert!(!is_starved(Cause::Sleep, false, 30), "a sleep waits for nobody");
        assert!(!is_starved(Cause::Lock, true, 30), "it computes");
    }

    #[test]
    fn the_call_with_most_time_is_the_main_one_with_and_without_a_line_of_the_application() {
        let main = |weights: &[(FrameKind, u64)], evidence| {
            let capture = Capture { evidence, ..Capture::without_stack(0, true, None) };
            let symbolised = |(kind, weight): &(FrameKind, u64)| {
                let frame = |function: &str, kind| Frame {
                    function: function.to_owned(),
                    file: None,
                    line: None,
                    column: None,
                    kind,
                    recovered: false,
                };
                let stack = vec![frame("called::function", *kind), frame("runtime", FrameKind::Runtime)];
                SymbolisedCapture::new(&capture, stack, *weight)
            };
            let captures: Vec<_> = weights.iter().map(symbolised).collect();
            main_capture(&captures).unwrap().stack[0].kind
        };
        let (application, dependency, native) =
            (FrameKind::Application, FrameKind::Dependency, FrameKind::Native);
        let shown = [(dependency, 40), (dependency, 40), (application, 50)];
        assert_eq!(main(&shown, Evidence::Stack), dependency);
        assert_eq!(main(&shown, Evidence::Leaf), application, "the stack is not complete");
        assert_eq!(main(&[(dependency, 40), (application, 50)], Evidence::Stack), application);
        assert_eq!(main(&[(native, 80), (application, 50)], Evidence::Stack), application);
    }
}
