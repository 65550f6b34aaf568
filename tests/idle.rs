//! What the watchdog does while a program does almost nothing.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{STALL, eventually, flushed, scope};
use loopscope::Named;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// The time between two bursts of polls.
const PERIOD: Duration = Duration::from_millis(60);
/// A worker wakes the watchdog, and the watchdog looks once. The third wake is
/// a margin. A watchdog that does not sleep wakes six times or more.
const MAX_WAKES_PER_BURST: u64 = 3;

/// Returns how many times the watchdog has slept; `None` if its thread has no
/// name yet.
fn watchdog_sleeps() -> Option<u64> {
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
    let mut watchdogs = threads
        .filter(|path| fs::read_to_string(path.join("comm")).is_ok_and(|name| name == "loopscope-watch\n"));
    let watchdog = watchdogs.next()?;
    assert_eq!(watchdogs.next(), None, "one scope");
    let status = fs::read_to_string(watchdog.join("status")).unwrap();
    let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    Some(sleeps.unwrap().trim().parse().unwrap())
}

/// One test: the process has one watchdog.
#[test]
fn the_watchdog_sleeps_between_the_ticks_of_a_timer_and_finds_the_stall_of_one() {
    let scope = scope();
    let runtime = common::runtime(&scope, 2);
    let (send_tick, ticks) = mpsc::channel();
    let ticker = runtime.spawn(async move {
        let mut interval = interval(PERIOD);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while send_tick.send(()).is_ok() {
            interval.tick().await;
        }
    });
    // On a busy machine, the worker loses its CPU in some of the bursts.
    let mut sparse_bursts = 0;
    eventually("bursts with few wakes", || {
        // A burst of which nothing was counted says nothing.
        while ticks.try_recv().is_ok() {}
        let before = watchdog_sleeps()?;
        ticks.recv().unwrap();
        sparse_bursts += u32::from(watchdog_sleeps()? - before <= MAX_WAKES_PER_BURST);
        (sparse_bursts == 8).then_some(())
    });
    drop(ticks);
    runtime.block_on(ticker).unwrap();
    let stalls = async {
        for _ in 0..2 {
            sleep(PERIOD).await;
            thread::sleep(STALL);
        }
    };
    runtime.block_on(runtime.spawn(stalls.named("stalls after a sleep"))).unwrap();
    eventually("both stalls", || {
        let findings = flushed(&scope).findings;
        let of_task = findings.iter().filter(|finding| finding.task.kind == "stalls after a sleep");
        (of_task.map(|finding| finding.count).sum::<u64>() == 2).then_some(())
    });
}
