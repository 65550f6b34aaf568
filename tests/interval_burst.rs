//! An interval that is late fires again and again in one poll.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod common;

use std::time::Duration;

use common::{compute, finding, runtime, scope};
use loopscope::Cause;

const MISSED_TICKS: u32 = 80;
const PERIOD: Duration = Duration::from_millis(5);

#[inline(never)]
fn work() {
    compute(Duration::from_millis(4));
    std::hint::black_box(());
}

async fn catches_up() {
    let mut ticks = tokio::time::interval(PERIOD);
    tokio::time::sleep(PERIOD * MISSED_TICKS).await;
    for _ in 0..MISSED_TICKS {
        ticks.tick().await;
        work();
    }
}

async fn computes_once() {
    tokio::time::sleep(PERIOD).await;
    compute(Duration::from_millis(300));
    std::hint::black_box(());
}

#[test]
fn the_advice_for_a_late_interval_says_that_its_ticks_may_have_run_at_once() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    runtime.block_on(async { loopscope::spawn("burst", catches_up()).await }).unwrap();
    let found = finding(&scope, "burst");
    assert_eq!(found.cause, Cause::Cpu, "{found:#?}");
    assert!(found.advice.contains("catches_up` awaits an interval"), "{}", found.advice);
    assert!(found.advice.contains("set_missed_tick_behavior"), "{}", found.advice);
}

#[test]
fn the_advice_for_a_computation_without_an_interval_names_none() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    runtime.block_on(async { loopscope::spawn("once", computes_once()).await }).unwrap();
    let found = finding(&scope, "once");
    assert!(!found.advice.contains("interval"), "{}", found.advice);
}
