//! Prints a backtrace, which std does with crates of its own.

use std::backtrace::Backtrace;
use std::time::{Duration, Instant};

pub(crate) async fn prepare(stall: Duration) {
    let end = Instant::now() + stall;
    while Instant::now() < end {
        let backtrace = Backtrace::force_capture(); // BLOCKS
        // BLOCKS: cpu <std::backtrace::Backtrace as core::fmt::Display>::fmt
        let text = backtrace.to_string();
        std::hint::black_box(text);
    }
}
