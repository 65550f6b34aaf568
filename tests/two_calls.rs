//! Two blocking calls of one poll are two findings, each with its own time.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use common::{STALL, compute, ended_findings, runtime, scope};
use loopscope::{Cause, Finding, FindingsDocument, Stall};

#[inline(never)]
fn first_nap() {
    thread::sleep(STALL);
    std::hint::black_box(());
}

#[inline(never)]
fn second_nap() {
    thread::sleep(STALL);
    std::hint::black_box(());
}

/// How many times a poll is run if the machine takes the CPU from it.
const MAX_RUNS: usize = 20;

/// Runs the poll. Returns its findings once the stall has ended and there are
/// `count` of them.
///
/// On a busy machine the watchdog or the poll may have waited for a CPU while
/// one of the calls lasted. Nothing can show that call, so the poll runs again.
fn findings(count: usize, poll: fn()) -> Vec<Finding> {
    for _ in 0..MAX_RUNS {
        let scope = scope();
        let runtime = runtime(&scope, 1);
        let task = async move { loopscope::spawn("twice", async move { poll() }).await };
        runtime.block_on(task).unwrap();
        let was_busy = |document: &FindingsDocument| {
            let not_own: Duration = document.findings.iter().map(|finding| finding.split.not_own()).sum();
            document.starved.total + not_own >= STALL / 4
        };
        let is_complete =
            |document: &FindingsDocument| document.findings.len() >= count || was_busy(document);
        let found = ended_findings(&scope, is_complete).findings;
        if found.len() >= count {
            assert_stalls(&scope.stalls(None).stalls, &found);
            return found;
        }
    }
    panic!("the machine took the CPU from each of {MAX_RUNS} polls");
}

/// Asserts that each finding has a stall, that the stalls follow one another,
/// and that no time is in two findings.
fn assert_stalls(stalls: &[Stall], found: &[Finding]) {
    assert_eq!(stalls.len(), found.len(), "{stalls:#?}");
    assert!(stalls.windows(2).all(|pair| pair[0].end == Some(pair[1].start)), "{stalls:#?}");
    let (first, last) = (stalls.first().unwrap(), stalls.last().unwrap());
    let length = last.end.unwrap().duration_since(first.start).unwrap();
    let all: Duration = found.iter().map(|finding| finding.total + finding.split.not_own()).sum();
    assert!(all.abs_diff(length) < Duration::from_millis(1), "{all:?} of {length:?}");
    assert!(found.iter().all(|finding| finding.total == finding.split.own()), "{found:#?}");
}

/// Returns the finding with this cause at this function.
fn at<'f>(found: &'f [Finding], cause: Cause, function: &str) -> &'f Finding {
    let is_at = |finding: &&Finding| {
        finding.cause == cause && finding.site.as_ref().unwrap().function.ends_with(function)
    };
    let finding = found.iter().find(is_at).unwrap_or_else(|| panic!("{function}: {found:#?}"));
    assert_eq!(finding.count, 1);
    finding
}

#[test]
fn a_wait_and_a_computation_of_one_poll_are_two_findings() {
    let found = findings(2, || {
        first_nap();
        compute(STALL);
    });
    let sleep = at(&found, Cause::Sleep, "first_nap");
    at(&found, Cause::Cpu, "compute");
    // Before the computation was seen, the sleep may have been shown with time
    // on a CPU, and no total falls.
    assert!(sleep.split.on_cpu < sleep.split.off_cpu / 2, "{sleep:#?}");
}

#[test]
fn two_waits_of_one_poll_are_two_findings() {
    let found = findings(2, || {
        first_nap();
        second_nap();
    });
    at(&found, Cause::Sleep, "first_nap");
    at(&found, Cause::Sleep, "second_nap");
}

#[test]
fn a_wait_that_is_shorter_than_the_time_until_the_next_capture_is_found() {
    let found = findings(2, || {
        first_nap();
        thread::sleep(STALL / 4);
        std::hint::black_box(());
    });
    at(&found, Cause::Sleep, "first_nap");
    assert!(found.iter().any(|finding| !finding.site.as_ref().unwrap().function.ends_with("first_nap")));
}

/// While the second call lasts, its time must not count for the first one.
#[test]
fn no_total_falls_and_the_second_call_is_named_while_it_lasts() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    // Reading the debug information takes seconds on a busy machine.
    let is_named = Arc::new(AtomicBool::new(false));
    let is_second_named = Arc::clone(&is_named);
    let task = async move {
        first_nap();
        let is_over = |naps: &usize| *naps >= 4 && is_second_named.load(Relaxed);
        (0..400).take_while(|naps| !is_over(naps)).for_each(|_| second_nap());
    };
    let handle = runtime.spawn(loopscope::Named::named(task, "twice"));
    let mut totals = HashMap::new();
    while !handle.is_finished() {
        for finding in scope.findings().findings {
            let before = totals.insert(finding.id.clone(), finding.total).unwrap_or_default();
            assert!(finding.total >= before, "{before:?} -> {finding:#?}");
            let is_second = finding.site.as_ref().is_some_and(|site| site.function.ends_with("second_nap"));
            is_named.fetch_or(is_second && finding.ongoing.is_some(), Relaxed);
        }
        thread::sleep(Duration::from_millis(5));
    }
    runtime.block_on(handle).unwrap();
    let found = ended_findings(&scope, |document| !document.findings.is_empty()).findings;
    assert!(is_named.load(Relaxed), "{found:#?}");
    for finding in found {
        let before = totals.remove(&finding.id).unwrap_or_default();
        assert!(finding.total >= before, "{before:?} -> {finding:#?}");
    }
    assert!(totals.is_empty(), "{totals:?}");
}

#[test]
fn a_short_call_beside_a_long_one_is_no_finding() {
    let found = findings(1, || {
        first_nap();
        compute(Duration::from_millis(1));
    });
    assert_eq!(found.len(), 1, "{found:#?}");
    at(&found, Cause::Sleep, "first_nap");
}
