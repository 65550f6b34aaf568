//! A server without mistakes blames no code, although it lacks CPUs: beside
//! eight spinning threads, in a CPU quota of 30 %, and both at once.
//!
//! `LOOPSCOPE_CLEAN_SECONDS` and `LOOPSCOPE_CLEAN_RUNS` set the length and the
//! number of the runs. The quota needs root.
#![cfg(target_os = "linux")]

#[path = "../../tests/common/cgroup.rs"]
mod cgroup;
mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use cgroup::{CpuQuota, Version};
use serde_json::Value;
use support::program::{command, loadgen};

/// The share of one CPU that the server may use, for each period.
const QUOTA: Duration = Duration::from_millis(30);

fn setting(variable: &str, default: u64) -> u64 {
    env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// A process that ends when its standard input closes.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn hogs() -> Process {
    let spinners = "for i in 1 2 3 4 5 6 7 8; do while :; do :; done & done; read end; kill $(jobs -p)";
    Process::start(Command::new("bash").args(["-c", spinners]))
}

/// Returns the server's findings as JSON.
fn findings(telemetry: &str) -> Value {
    let mut stream = TcpStream::connect(telemetry).expect("telemetry");
    stream
        .write_all(b"GET /findings HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    serde_json::from_str(body).expect("JSON")
}

/// Puts a clean server under load, in the quota if there is one. Returns its
/// findings and how many of its polls were starved.
fn run(quota: Option<&CpuQuota>, seconds: u64) -> (Vec<Value>, u64) {
    let flags = ["--listen", "127.0.0.1:0", "--telemetry", "127.0.0.1:0", "--workers", "2"];
    let mut server = Process::start(&mut command(&[&["serve", "--"][..], &flags].concat()));
    if let Some(quota) = quota {
        fs::write(quota.procs(), server.0.id().to_string()).expect("the server enters the quota");
    }
    let mut ready = String::new();
    BufReader::new(server.0.stdout.take().expect("piped")).read_line(&mut ready).expect("a line");
    let address = |name: &str| {
        let word = ready.split_whitespace().find_map(|word| word.strip_prefix(name));
        word.unwrap_or_else(|| panic!("no {name} in {ready}")).trim_start_matches("http://").to_owned()
    };
    let (irc, telemetry) = (address("irc="), address("telemetry="));
    let duration = format!("{seconds}s");
    // The generator has no CPU either: it may be late.
    let outcome = loadgen(&[
        "run",
        "--target",
        &irc,
        "--quiet",
        "--json",
        "-",
        "--connections",
        "60",
        "--rooms",
        "2",
        "--rate",
        "400",
        "--ramp",
        "1s",
        "--duration",
        &duration,
        "--drain",
        "2s",
        "--timeout",
        "60s",
        "--max-send-lag",
        "60s",
    ]);
    assert!(outcome.count("/load/deliveries/delivered") > 0, "{}", outcome.stderr);
    let document = findings(telemetry.trim_end_matches('/'));
    let starved = document["starved"]["count"].as_u64().expect("a count");
    (document["findings"].as_array().expect("findings").clone(), starved)
}

fn assert_clean(condition: &str, quota: Option<&CpuQuota>) {
    let (seconds, runs) = (setting("LOOPSCOPE_CLEAN_SECONDS", 3), setting("LOOPSCOPE_CLEAN_RUNS", 1));
    let outcomes: Vec<_> = (0..runs).map(|_| run(quota, seconds)).collect();
    let clean = outcomes.iter().filter(|(findings, _)| findings.is_empty()).count();
    let starved: Vec<_> = outcomes.iter().map(|(_, starved)| *starved).collect();
    let throttled = quota.map_or(0, CpuQuota::throttled_periods);
    eprintln!(
        "{condition}: {clean} of {runs} runs of {seconds} s without a finding; starved polls {starved:?}, \
         {throttled} throttled periods"
    );
    let blamed: Vec<_> = outcomes.into_iter().flat_map(|(findings, _)| findings).collect();
    assert!(blamed.is_empty(), "{condition}: {}", serde_json::to_string_pretty(&blamed).expect("JSON"));
}

/// Runs the server in a quota of each version that this machine has.
fn in_quotas(condition: &str) {
    for version in [Version::V1, Version::V2] {
        match CpuQuota::new(version, QUOTA) {
            Ok(quota) => assert_clean(condition, Some(&quota)),
            Err(error) => eprintln!("NOT CHECKED: {condition}, cgroup {version:?}: {error}"),
        }
    }
}

/// One test, because each condition loads the whole machine.
#[test]
fn a_clean_server_that_lacks_cpus_has_no_finding() {
    in_quotas("in a quota");
    let _hogs = hogs();
    assert_clean("beside hogs", None);
    in_quotas("in a quota, beside hogs");
}
