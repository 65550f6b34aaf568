//! Runs one workload with one configuration and prints a line of JSON.
//!
//! `run.py` in this folder runs all of them in interleaved rounds and prints the
//! tables. Each runs in its own process, since some peers set a global
//! subscriber.

// The traced build contains only the traced peers.
#![cfg_attr(feature = "tracing", allow(dead_code, unused_imports))]

mod pollcatch;
mod sample;
mod setup;
mod workload;

use std::env;
use std::process::exit;
use std::time::{Duration, Instant};

use sample::Sample;

/// With two workers, the first 300 ms of a process were up to 30 % slower than
/// the rest.
const WARM_UP: Duration = Duration::from_millis(500);
const SAMPLES: usize = 5;

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [name, workload, workers] = &arguments[..] else {
        for name in setup::NAMES {
            println!("{name}");
        }
        return;
    };
    let workers = match workers.as_str() {
        "1" => 1,
        "2" => 2,
        _ => refuse(&format!("workers must be `1` (current-thread) or `2`, not `{workers}`")),
    };
    let Some(run) = workload::named(workload) else {
        refuse(&format!("the workload must be `yield`, `pingpong` or `echo`, not `{workload}`"));
    };
    let Some(setup) = setup::setup(name, workers == 2) else {
        refuse(&format!("this build has no configuration `{name}`; run it without arguments for a list"));
    };
    let begin = Instant::now();
    while begin.elapsed() < WARM_UP {
        run(&setup, 0.2);
    }
    let samples: Vec<_> = (0..SAMPLES).map(|_| run(&setup, 1.0)).collect();
    println!("{}", Sample::line(name, workload, workers, &samples));
    // Some peers wait for their own threads when dropped; nothing needs a drop.
    exit(0);
}

fn refuse(why: &str) -> ! {
    eprintln!("peers: {why}");
    exit(2);
}
