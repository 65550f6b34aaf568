//! A capture with its frames and what they show.

use crate::diagnose::call_site::{self, CallSite};
use crate::diagnose::cause::{self, MatchedCall};
use crate::diagnose::symbols::Symbols;
use crate::diagnose::{capture_weight, names};
use crate::evidence::{Capture, StallEvidence};
use crate::finding::{Cause, Evidence, Frame, FrameKind, Site};

/// A capture whose addresses have become frames.
#[derive(Debug)]
pub(super) struct SymbolisedCapture<'c> {
    pub(super) capture: &'c Capture,
    /// Innermost first.
    pub(super) stack: Vec<Frame>,
    pub(super) call_site: CallSite,
    pub(super) matched_call: Option<MatchedCall>,
    pub(super) cause: Cause,
    /// The part of the stall that this capture stands for.
    pub(super) weight_nanos: u64,
    /// Why frames have no line, as a sentence.
    pub(super) lines_missing: Option<String>,
}

impl<'c> SymbolisedCapture<'c> {
    pub(super) fn new(capture: &'c Capture, mut stack: Vec<Frame>, weight_nanos: u64) -> Self {
        let matched_call = cause::matched_call(&stack).filter(|call| !cause::is_wake(capture, &stack, call));
        let cause = cause::cause_of(capture, &stack, matched_call.as_ref());
        let call_site = call_site::call_site(&stack);
        for frame in &mut stack {
            frame.function.truncate(names::without_async_mark(&frame.function).len());
        }
        Self { capture, call_site, stack, matched_call, cause, weight_nanos, lines_missing: None }
    }

    /// Returns what several captures of one culprit have in common: the cause,
    /// and the function and line of the site. For a computation the line is
    /// left out, because each capture shows another line of the same loop.
    /// Without a site, a dependency is the culprit.
    pub(super) fn culprit(&self) -> (Cause, Option<(&str, Option<u32>)>) {
        let line = |site: &Site| site.line.filter(|_| self.cause != Cause::Cpu);
        let of_application = self.call_site.site.as_ref().map(|site| (site.function.as_str(), line(site)));
        (self.cause, of_application.or_else(|| Some((self.dependency()?, None))))
    }

    /// Returns whether the capture shows whose code the stall is: that of the
    /// application, or that of a dependency which the runtime has called.
    pub(super) fn has_culprit(&self) -> bool {
        self.culprit().1.is_some()
    }

    /// Returns the dependency that the runtime has called. The outer frames of
    /// an incomplete stack do not show what was called.
    fn dependency(&self) -> Option<&str> {
        let callee = self.call_site.callee.as_ref()?;
        let is_known =
            callee.kind == FrameKind::Dependency && self.capture.evidence >= Evidence::Reconstructed;
        is_known.then_some(callee.function.as_str())
    }

    /// Returns whether the thread waits for a lock of the allocator or of the
    /// runtime, which another thread holds because it does not run.
    pub(super) fn waits_for_no_code(&self) -> bool {
        self.cause == Cause::Lock
            && (call_site::is_waiting_for_allocator(&self.stack)
                || call_site::is_waiting_for_runtime_lock(&self.stack))
    }
}

/// Symbolises and weighs all captures of a stall.
pub(super) fn symbolise<'s>(stall: &'s StallEvidence, symbols: &mut Symbols) -> Vec<SymbolisedCapture<'s>> {
    // The machine's time says nothing about the code. So on-CPU and off-CPU
    // time are scaled up, in proportion, until their sum is the duration.
    let on_cpu_nanos = stall.times.on_cpu_of(stall.duration_nanos);
    let weights = capture_weight::weights_nanos(&stall.captures, stall.duration_nanos, on_cpu_nanos);
    let captures = stall.captures.iter().zip(weights);
    captures
        .map(|(capture, weight)| {
            let stack = symbols.stack(capture);
            let lines_missing = stack.lines_missing;
            SymbolisedCapture { lines_missing, ..SymbolisedCapture::new(capture, stack.frames, weight) }
        })
        .collect()
}
