//! Decides whether a stall is reported, and which of its captures explains it.

use crate::diagnose::call_site;
use crate::diagnose::diagnosis::{self, Diagnosis};
use crate::diagnose::symbolised_capture::{self, SymbolisedCapture};
use crate::diagnose::symbols::Symbols;
use crate::evidence::StallEvidence;
use crate::finding::Cause;

/// What is to be done with a stall.
#[derive(Debug)]
pub(crate) enum StallVerdict {
    /// The application's code blocked the worker: report it.
    Blocked(Box<Diagnosis>),
    /// The machine had no CPU for a thread that the worker waited for: count it
    /// as starvation.
    Starved,
    /// The code is allowed to block here (`block_in_place`), or no capture
    /// exists: do not report it.
    Ignored,
}

/// Judges a stall by all of its captures.
pub(crate) fn judge(stall: &StallEvidence, symbols: &mut Symbols) -> StallVerdict {
    let captures = symbolised_capture::symbolise(stall, symbols);
    if captures.iter().any(|capture| call_site::has_block_in_place(&capture.stack)) {
        return StallVerdict::Ignored;
    }
    let Some(main) = main_capture(&captures) else { return StallVerdict::Ignored };
    let waits_for_no_code = call_site::is_waiting_for_allocator(&main.stack)
        || call_site::is_waiting_for_runtime_lock(&main.stack);
    if main.cause == Cause::Lock && waits_for_no_code {
        return StallVerdict::Starved;
    }
    StallVerdict::Blocked(Box::new(diagnosis::diagnose(stall, &captures, main)))
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

/// Returns the capture that explains the stall. A capture with a site in the
/// application is preferred to one without. Among those, the culprit with the
/// most time wins, then its line with the most time, then the best evidence.
fn main_capture<'l, 'c>(captures: &'l [SymbolisedCapture<'c>]) -> Option<&'l SymbolisedCapture<'c>> {
    let weight_of = |is_same: &dyn Fn(&SymbolisedCapture<'_>) -> bool| {
        captures.iter().filter(|other| is_same(other)).map(|other| other.weight_nanos).sum::<u64>()
    };
    captures.iter().max_by_key(|capture| {
        let of_culprit = weight_of(&|other| other.culprit() == capture.culprit());
        let of_line = weight_of(&|other| {
            other.culprit() == capture.culprit() && other.call_site.site == capture.call_site.site
        });
        (
            capture.call_site.site.is_some(),
            of_culprit,
            of_line,
            capture.capture.evidence,
            capture.weight_nanos,
        )
    })
}
