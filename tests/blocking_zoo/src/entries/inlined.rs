//! All functions are inlined into one.

use std::thread;
use std::time::Duration;

#[inline(always)]
fn innermost(stall: Duration) {
    thread::sleep(stall); // BLOCKS: sleep std::thread::sleep
    crate::stage::keep();
}

#[inline(always)]
fn between(stall: Duration) {
    innermost(stall);
}

#[inline(always)]
async fn outer(stall: Duration) {
    between(stall);
}

pub(crate) async fn prepare(stall: Duration) {
    outer(stall).await;
}
