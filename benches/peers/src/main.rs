//! One configuration, one workload, one process: prints nanoseconds a step.
//!
//! `run.py` in this folder runs them all in interleaved rounds and prints the
//! tables; a process each, since some peers set a global subscriber.

// The traced build holds the traced peers only.
#![cfg_attr(feature = "tracing", allow(dead_code, unused_imports))]

mod setup;
mod workload;

use std::{env, process::exit};

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [name, workload, flavour] = &arguments[..] else {
        for name in setup::NAMES {
            println!("{name}");
        }
        return;
    };
    let Some(mut setup) = setup::setup(name, flavour == "2") else {
        eprintln!("peers: there is no `{name}` in this build; without arguments it lists what there is");
        exit(2);
    };
    // The first round warms up.
    workload::run(workload, &mut setup, 0.2);
    println!("{:.2}", workload::run(workload, &mut setup, 1.0));
    // Some peers wait for their own threads; nothing here is to be kept.
    exit(0);
}
