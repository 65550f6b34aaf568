//! A burst of stalls. Each stall is counted, and the capture budget is kept.
#![cfg(all(target_os = "linux", target_arch = "x86_64", tokio_unstable))]

mod common;

use std::time::{Duration, Instant};
use std::{fs, thread};

use common::{eventually, runtime, scope};
use loopscope::Cause;

const TASKS: u64 = 500;

fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn five_hundred_stalls_are_counted_within_the_capture_budget() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let begin = Instant::now();
    let run = |tasks: u64| {
        runtime.block_on(async {
            let stall = || async { thread::sleep(Duration::from_millis(20)) };
            let tasks: Vec<_> = (0..tasks).map(|_| loopscope::spawn("stall", stall())).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    };
    run(TASKS / 2);
    let before = resident_bytes();
    run(TASKS / 2);
    // On a busy machine the watchdog itself may not get a CPU in time. It
    // counts the stalls that it missed, and the stalls in which it found the
    // thread only waiting for a CPU.
    let dropped = || {
        let dropped = scope.snapshot().observer.dropped;
        dropped.iter().find(|(reason, _)| *reason == "ended_before_capture").map_or(0, |(_, n)| *n)
    };
    let missed = || dropped() + scope.findings().starved.count;
    let found = eventually("the count of all stalls", || {
        let findings = scope.findings().findings;
        let counted: u64 = findings.iter().map(|finding| finding.count).sum();
        (counted + missed() >= TASKS).then_some(findings)
    });
    let (dropped, missed) = (dropped(), missed());
    assert!(dropped <= TASKS / 10, "{dropped} stalls were dropped");
    assert!(missed <= TASKS / 2, "{missed} stalls were missed");
    let growth = resident_bytes().saturating_sub(before);
    let seconds = begin.elapsed().as_secs();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((found[0].cause, found[0].count), (Cause::Sleep, TASKS - missed));
    // A sleep never ends early. On a busy machine, a part may not be its own.
    let slept = found[0].total + found[0].split.not_own();
    assert!(slept >= Duration::from_millis(20) * found[0].count as u32, "{:#?}", found[0]);
    let captures: u64 = scope.snapshot().observer.captures.iter().map(|(_, n)| n).sum();
    assert!(captures <= 100 + 10 * (seconds + 1), "{captures} captures in {seconds} s");
    let pressure = scope.snapshot().pressure;
    assert!(
        pressure.full >= Duration::from_secs(2),
        "other tasks were ready nearly all the time: {pressure:?}"
    );
    assert!(pressure.full <= pressure.some && pressure.some <= begin.elapsed(), "{pressure:?}");
    assert!(growth < 8 << 20, "memory grew by {growth} bytes in the second half of the stalls");
}
