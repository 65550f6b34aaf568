//! What several benchmarks need.

use std::env;
use std::hint::black_box;
use std::time::Instant;

/// Returns the nanoseconds that one reading of the counter takes.
pub(crate) fn read_nanos() -> f64 {
    const READS: u32 = 1_000_000;
    let clock = quanta::Clock::new();
    let begin = Instant::now();
    for _ in 0..READS {
        black_box(clock.raw());
    }
    begin.elapsed().as_nanos() as f64 / f64::from(READS)
}

/// Returns the value of `--rounds`, or the default.
pub(crate) fn rounds(default: usize) -> usize {
    let mut arguments = env::args().skip_while(|argument| argument != "--rounds").skip(1);
    arguments.next().map_or(default, |n| n.parse().expect("--rounds takes a number"))
}
