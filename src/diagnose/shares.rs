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
    if stall.polls > 1 || main.call_site.site.is_none() {
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
    capture.call_site.site.is_some()
        && capture.culprit() != other.culprit()
        && capture.call_site.site != other.call_site.site
}

/// Returns the time of a call on a CPU, or waiting.
fn time_of(
    stall: &StallEvidence,
    captures: &[SymbolisedCapture<'_>],
    call: &SymbolisedCapture<'_>,
    on_cpu: bool,
) -> u64 {
    let is_of_call = |capture: &SymbolisedCapture<'_>| capture.culprit() == call.culprit();
    let is_shown = |capture: &&SymbolisedCapture<'_>| {
        capture.capture.on_cpu == on_cpu && capture.call_site.site.is_some()
    };
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
