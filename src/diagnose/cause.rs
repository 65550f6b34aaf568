//! The cause that one capture shows.

use crate::diagnose::advice::{self, AdviceRule};
use crate::diagnose::{call_site, public_path, wake};
use crate::evidence::Capture;
use crate::finding::{Cause, Frame, FrameKind};

/// A call on a stack that a rule of the advice table matches.
#[derive(Debug, Clone)]
pub(super) struct MatchedCall {
    pub(super) rule: &'static AdviceRule,
    /// The public path of the function.
    pub(super) function: String,
    pub(super) kind: FrameKind,
}

/// Returns the outermost call below the site for which the advice table has a
/// rule. That is not always the call in the site's line: `write_all` has no
/// rule, but the `<File as Write>::write` inside it has one. A name lookup is
/// preferred to the calls around it, because a `connect` that looks up a name
/// spends its time in the lookup.
pub(super) fn matched_call(stack: &[Frame]) -> Option<MatchedCall> {
    let matched = || {
        call_site::called_part(stack).iter().rev().filter_map(|frame| {
            let function = public_path::public_path(&frame.function);
            Some(MatchedCall { rule: advice::find(&function)?, function, kind: frame.kind })
        })
    };
    matched().find(|call| call.rule.cause == Some(Cause::Dns)).or_else(|| matched().next())
}

/// Returns whether the call wakes another thread. Runtimes wake through an
/// eventfd, by a write to a `std::fs::File`, which is no access to a file.
/// Locks and channels wake through a futex, which is no wait for a lock or a
/// message.
pub(super) fn is_wake(capture: &Capture, stack: &[Frame], call: &MatchedCall) -> bool {
    let fd = capture.call.as_ref().and_then(|call| call.fd.as_deref());
    fd == Some("anon_inode:[eventfd]") || is_wait(call.rule.cause) && is_futex_wake(capture, stack)
}

/// Returns whether the thread wakes another one through a futex.
fn is_futex_wake(capture: &Capture, stack: &[Frame]) -> bool {
    let is_innermost = || wake::is_innermost(call_site::called_part(stack));
    match &capture.call {
        // After a signal the operation is not known. The stack shows it.
        Some(call) => call.name == "futex" && (call.cause != Cause::Lock || is_innermost()),
        None => capture.on_cpu && is_innermost(),
    }
}

/// Returns whether a call of this cause waits for another thread or a time.
fn is_wait(cause: Option<Cause>) -> bool {
    matches!(cause, Some(Cause::Lock | Cause::Channel | Cause::Sleep))
}

/// Returns the cause by the matched call, the system call and the state of the
/// thread.
pub(super) fn cause_of(capture: &Capture, stack: &[Frame], matched_call: Option<&MatchedCall>) -> Cause {
    let by_function = matched_call.and_then(|call| call.rule.cause);
    if capture.on_cpu {
        return by_function.filter(|cause| is_inside_call(*cause, stack)).unwrap_or(Cause::Cpu);
    }
    let by_syscall = capture.call.as_ref().map(|call| match call.cause {
        // Only a thread that ran before the signal has such a capture.
        Cause::Lock if is_futex_wake(capture, stack) => Cause::Cpu,
        cause => cause,
    });
    let cause = by_function.or(by_syscall).unwrap_or(Cause::Other);
    if cause == Cause::Other && capture.uninterruptible { Cause::Uninterruptible } else { cause }
}

/// Returns whether a running thread runs only because it enters or leaves the
/// kernel for a call of this cause. A thread that walks a directory also runs
/// between its system calls, but that is no computation. A thread captured in
/// the system call of a lock waits for the lock.
fn is_inside_call(cause: Cause, stack: &[Frame]) -> bool {
    if is_wait(Some(cause)) && stack.first().is_some_and(|frame| frame.function == "syscall") {
        return true;
    }
    let is_kernel_request = matches!(cause, Cause::File | Cause::Network | Cause::Dns | Cause::Child);
    let mut called = call_site::called_part(stack).iter();
    // A resolver reads files and parses between its system calls; all of it is
    // the lookup.
    let is_resolver = |function: &str| function.starts_with("get") || function.starts_with("dns_lookup::");
    let is_lookup = |frame: &Frame| cause == Cause::Dns && is_resolver(&frame.function);
    let is_request = |frame: &Frame| frame.function.contains("std::sys::") || is_lookup(frame);
    is_kernel_request && called.any(is_request)
}
