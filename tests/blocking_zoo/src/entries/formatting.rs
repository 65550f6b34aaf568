//! Formats a large text.

use std::fmt::Write;
use std::time::{Duration, Instant};

pub(crate) async fn prepare(stall: Duration) {
    let end = Instant::now() + stall;
    let mut text = String::new();
    while Instant::now() < end {
        text.clear();
        for n in 0..100_000 {
            write!(text, "{n:>10} {:.3};", f64::from(n) / 7.0).unwrap(); // BLOCKS: cpu core::fmt::write_fmt
        }
    }
}
