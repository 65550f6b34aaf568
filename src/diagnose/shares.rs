//! How the time of one stall is divided among the calls that its captures show.

use crate::diagnose::symbolised_capture::SymbolisedCapture;
use crate::evidence::{StallEvidence, TimeSplit};

/// What one call contributes to a stall.
#[derive(Debug)]
pub(super) struct Share<'l, 'c> {
    /// The capture that shows the call.
    pub(super) main: &'l SymbolisedCapture<'c>,
    /// Its time on a CPU, and its time waiting.
    pub(super) times: TimeSplit,
    /// The age of the stall at the first capture of the call.
    pub(super) first_age_nanos: u64,
    /// Whether one capture alone says that this time belongs to this line.
    pub(super) is_sampled_once: bool,
}

/// Returns the shares of the calls other than `main` that took at least the
/// threshold, if `main` took at least the threshold too. The rest of the stall
/// belongs to `main`.
///
/// A time belongs to a call if it was measured, and the captures show no other
/// call for it:
/// * the CPU time of the whole stall, if all captures of the running thread
///   show one call, and likewise the time in which the thread waited;
/// * a stretch, if all of its captures show one call;
/// * the time nearest to the captures of one call, if two consecutive captures
///   of the running thread, at least a threshold apart, show it.
pub(super) fn other_shares<'l, 'c>(
    stall: &StallEvidence,
    captures: &'l [SymbolisedCapture<'c>],
    main: &SymbolisedCapture<'c>,
) -> Vec<Share<'l, 'c>> {
    let threshold = stall.threshold_nanos;
    // Several polls of one task are one call of that task.
    if stall.polls > 1 || !main.has_culprit() {
        return Vec::new();
    }
    let mut rest = stall.times;
    let mut shares: Vec<Share<'_, '_>> = Vec::new();
    for capture in captures.iter().filter(|capture| is_apart(capture, main)) {
        if shares.iter().any(|share| !is_apart(capture, share.main)) {
            continue;
        }
        let on_cpu = time_of(stall, captures, capture, true).min(rest.on_cpu);
        let off_cpu = time_of(stall, captures, capture, false).min(rest.off_cpu);
        if on_cpu + off_cpu < threshold || rest.own() - on_cpu - off_cpu < threshold {
            continue;
        }
        rest.on_cpu -= on_cpu;
        rest.off_cpu -= off_cpu;
        shares.push(Share {
            main: best_capture(captures, capture),
            times: TimeSplit { on_cpu, off_cpu, ..TimeSplit::default() },
            first_age_nanos: capture.capture.age_nanos,
            is_sampled_once: is_sampled_once(captures, capture, off_cpu),
        });
    }
    shares
}

/// Returns whether two captures show different calls at different lines. A call
/// that waits and computes is one call.
fn is_apart(capture: &SymbolisedCapture<'_>, other: &SymbolisedCapture<'_>) -> bool {
    let is_elsewhere = match (&capture.call_site.site, &other.call_site.site) {
        (None, None) => capture.culprit().1 != other.culprit().1,
        (site, other) => site != other,
    };
    is_elsewhere
        && capture.has_culprit()
        && !capture.waits_for_no_code()
        && capture.culprit() != other.culprit()
}

/// Returns the time of a call on a CPU, or waiting.
fn time_of(
    stall: &StallEvidence,
    captures: &[SymbolisedCapture<'_>],
    call: &SymbolisedCapture<'_>,
    on_cpu: bool,
) -> u64 {
    let is_of_call = |capture: &SymbolisedCapture<'_>| capture.culprit() == call.culprit();
    let is_shown =
        |capture: &&SymbolisedCapture<'_>| capture.capture.on_cpu == on_cpu && capture.has_culprit();
    let shown: Vec<_> = captures.iter().filter(is_shown).collect();
    let measured = if on_cpu { stall.times.on_cpu } else { stall.times.off_cpu };
    if !shown.iter().any(|capture| is_of_call(capture)) {
        return 0;
    }
    if shown.iter().all(|capture| is_of_call(capture)) {
        return measured;
    }
    let same_stretch = |a: &SymbolisedCapture<'_>, b: &SymbolisedCapture<'_>| {
        a.capture.stretch.number == b.capture.stretch.number
    };
    let time: u64 = shown
        .chunk_by(|a, b| same_stretch(a, b))
        .map(|stretch| {
            if !stretch.iter().any(|capture| is_of_call(capture)) {
                0
            } else if stretch.iter().all(|capture| is_of_call(capture)) {
                stretch[0].capture.stretch.own_nanos
            } else {
                time_in_shared_stretch(stall, stretch, &is_of_call)
            }
        })
        .sum();
    time.min(measured)
}

/// Returns the time of a call in a stretch whose captures show several calls.
fn time_in_shared_stretch(
    stall: &StallEvidence,
    captures: &[&SymbolisedCapture<'_>],
    is_of_call: &dyn Fn(&SymbolisedCapture<'_>) -> bool,
) -> u64 {
    let is_bounded = |pair: &[&SymbolisedCapture<'_>]| {
        let apart = pair[1].capture.age_nanos - pair[0].capture.age_nanos;
        is_of_call(pair[0]) && is_of_call(pair[1]) && apart >= stall.threshold_nanos * 3 / 4
    };
    if !captures.windows(2).any(is_bounded) {
        return 0;
    }
    let weight: u64 =
        captures.iter().filter(|capture| is_of_call(capture)).map(|capture| capture.weight_nanos).sum();
    // The weights add up to the duration, and the machine's time is no part of
    // the own time.
    let own = u128::from(weight) * u128::from(stall.times.own()) / u128::from(stall.duration_nanos.max(1));
    own as u64
}

/// Returns the capture of a call with the best evidence, of these the one that
/// stands for the most time.
fn best_capture<'l, 'c>(
    captures: &'l [SymbolisedCapture<'c>],
    call: &'l SymbolisedCapture<'c>,
) -> &'l SymbolisedCapture<'c> {
    let of_call = captures.iter().filter(|capture| capture.culprit() == call.culprit());
    of_call.max_by_key(|capture| (capture.capture.evidence, capture.weight_nanos)).unwrap_or(call)
}

/// Returns whether one capture alone gives a call its time. The stretch of a
/// waiting thread is in one call from its first to its last sample.
pub(super) fn is_sampled_once(
    captures: &[SymbolisedCapture<'_>],
    call: &SymbolisedCapture<'_>,
    off_cpu_nanos: u64,
) -> bool {
    let mut of_call = captures.iter().filter(|capture| capture.culprit() == call.culprit());
    let (Some(only), None) = (of_call.next(), of_call.next()) else { return false };
    only.capture.on_cpu || only.capture.stretch.own_nanos < off_cpu_nanos / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Capture, Stretch};
    use crate::finding::{Evidence, Frame, FrameKind};

    const MS: u64 = 1_000_000;

    /// Stands for a stack without a frame of the application.
    const DEPENDENCY: u32 = 0;

    /// A capture: age, whether the thread ran, the line of the site, and the
    /// stretch with its length.
    type Shown = (u64, bool, u32, (u32, u64));

    /// Returns the line, the times on a CPU and waiting, and whether one sample
    /// shows it, of each share other than the one of `main`.
    fn others(on_cpu: u64, off_cpu: u64, main: u32, shown: &[Shown]) -> Vec<(u32, u64, u64, bool)> {
        let capture = |(age, on_cpu, _, (number, own)): &Shown| Capture {
            evidence: Evidence::Stack,
            stretch: Stretch { number: *number, own_nanos: own * MS },
            ..Capture::without_stack(age * MS, *on_cpu, None)
        };
        let times = TimeSplit { on_cpu: on_cpu * MS, off_cpu: off_cpu * MS, ..TimeSplit::default() };
        let captures = shown.iter().map(capture).collect();
        let stall = StallEvidence { threshold_nanos: 10 * MS, ..StallEvidence::ended(times, captures) };
        let symbolised = |(capture, (_, _, line, _)): (_, &Shown)| {
            let frame = |kind| Frame {
                function: format!("app::line_{line}"),
                file: Some("app/src/lib.rs".to_owned()),
                line: Some(*line),
                column: None,
                kind,
                recovered: false,
            };
            let stack = match *line {
                DEPENDENCY => vec![frame(FrameKind::Dependency), frame(FrameKind::Runtime)],
                _ => vec![frame(FrameKind::Application)],
            };
            SymbolisedCapture::new(capture, stack, 15 * MS)
        };
        let captures: Vec<_> = stall.captures.iter().zip(shown).map(symbolised).collect();
        let line = |capture: &SymbolisedCapture<'_>| match &capture.call_site.site {
            Some(site) => site.line.unwrap(),
            None => DEPENDENCY,
        };
        let main = captures.iter().find(|capture| line(capture) == main).unwrap();
        let shares = other_shares(&stall, &captures, main).into_iter();
        let ms = |nanos: u64| nanos / MS;
        shares.map(|s| (line(s.main), ms(s.times.on_cpu), ms(s.times.off_cpu), s.is_sampled_once)).collect()
    }

    #[test]
    fn a_wait_and_a_computation_have_the_measured_times() {
        let shown = [(10, false, 1, (1, 17)), (20, true, 2, (2, 0)), (40, true, 2, (2, 0))];
        assert_eq!(others(500, 20, 2, &shown), [(1, 0, 20, false)]);
        assert_eq!(others(500, 9, 2, &shown), [], "it took less than the threshold");
        assert_eq!(others(9, 500, 2, &shown), [], "the rest is less than the threshold");
        let shown = [(10, true, 2, (1, 9)), (20, false, 1, (2, 40)), (40, false, 1, (2, 40))];
        assert_eq!(others(15, 45, 1, &shown), [(2, 15, 0, true)], "one sample of a running thread");
    }

    #[test]
    fn two_waits_are_told_apart_by_their_stretches() {
        let shown = [(10, false, 1, (1, 28)), (20, false, 1, (1, 28)), (40, false, 2, (2, 27))];
        assert_eq!(others(0, 60, 1, &shown), [(2, 0, 27, false)]);
        let shown = [(10, false, 1, (1, 52)), (58, false, 2, (2, 3))];
        assert_eq!(others(0, 60, 1, &shown), [], "nothing proves a threshold of the second wait");
    }

    #[test]
    fn short_waits_of_two_lines_in_turn_are_not_told_apart() {
        let shown = [(10, false, 1, (1, 2)), (20, false, 2, (9, 2)), (40, false, 1, (20, 2))];
        assert_eq!(others(0, 60, 1, &shown), []);
    }

    #[test]
    fn a_computation_is_apart_only_between_two_of_its_captures() {
        let shown = |lines: [u32; 4]| {
            [10, 20, 40, 80].into_iter().zip(lines).map(|(age, line)| (age, true, line, (1, 90)))
        };
        let others = |lines| others(100, 0, 2, &shown(lines).collect::<Vec<_>>());
        assert_eq!(others([1, 1, 2, 2]), [(1, 30, 0, false)], "the time nearest to its captures");
        assert_eq!(others([1, 2, 1, 2]), [], "the two computations take turns");
    }

    #[test]
    fn a_dependency_and_a_line_of_the_application_are_two_calls() {
        let dependency = DEPENDENCY;
        let shown = [10, 20, 40, 80].into_iter().zip([dependency, dependency, 1, 1]);
        let shown: Vec<_> = shown.map(|(age, line)| (age, true, line, (1, 90))).collect();
        assert_eq!(others(100, 0, 1, &shown), [(dependency, 30, 0, false)]);
        assert_eq!(others(100, 0, dependency, &shown), [(1, 30, 0, false)]);
    }

    #[test]
    fn one_line_that_waits_and_computes_is_one_call() {
        let shown = [(10, false, 1, (1, 10)), (20, true, 1, (2, 10))];
        assert_eq!(others(20, 20, 1, &shown), []);
    }
}
