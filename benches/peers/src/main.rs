//! One configuration, one workload, one process: prints a line of JSON.
//!
//! `run.py` in this folder runs them all in interleaved rounds and prints the
//! tables; a process each, since some peers set a global subscriber.

// The traced build holds the traced peers only.
#![cfg_attr(feature = "tracing", allow(dead_code, unused_imports))]

mod sample;
mod setup;
mod workload;

use std::env;
use std::process::exit;
use std::time::{Duration, Instant};

use sample::Sample;

/// With two workers the first 300 ms of a process were seen to be up to 30 %
/// slower than what follows.
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
        _ => refuse(&format!("there are `1` worker (current-thread) or `2`, not `{workers}`")),
    };
    let Some(run) = workload::named(workload) else {
        refuse(&format!("the workload is `yield`, `pingpong` or `echo`, not `{workload}`"));
    };
    let Some(setup) = setup::setup(name, workers == 2) else {
        refuse(&format!("there is no `{name}` in this build; without arguments it lists what there is"));
    };
    let begin = Instant::now();
    while begin.elapsed() < WARM_UP {
        run(&setup, 0.2);
    }
    let samples: Vec<_> = (0..SAMPLES).map(|_| run(&setup, 1.0)).collect();
    println!("{}", Sample::line(name, workload, workers, &samples));
    // Some peers wait for their own threads; nothing here is to be kept.
    exit(0);
}

fn refuse(why: &str) -> ! {
    eprintln!("peers: {why}");
    exit(2);
}
